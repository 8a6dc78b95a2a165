"""The A2A Python SDK's server, as its tutorial builds it, with an executor that asks the model.

Measured: `SendMessage`, which answers with the finished task, and `SendStreamingMessage`. Fair because tasks are kept in memory
only, the tutorial's default, and the model is asked by httpx alone, which is lighter than any of the agent frameworks.
"""

import json
import os

import httpx
from a2a.helpers import new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

URL = os.environ["MODEL_URL"] + "/chat/completions"
CLIENT = httpx.AsyncClient(limits=httpx.Limits(max_connections=None, max_keepalive_connections=200), timeout=120)


class Executor(AgentExecutor):
    """Passes the text of the model on, each piece as a part of one artifact."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        task = context.current_task or new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        messages = [
            {"role": "system", "content": "Answer with pongs."},
            {"role": "user", "content": context.get_user_input()},
        ]
        question = {"model": "bench", "messages": messages, "stream": True}
        told = False
        async with CLIENT.stream("POST", URL, json=question) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        await updater.add_artifact([new_text_part(text)], artifact_id="answer", append=told)
                        told = True
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError


card = AgentCard(
    name="bench",
    description="Answers with pongs.",
    version="1.0.0",
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    capabilities=AgentCapabilities(streaming=True),
    supported_interfaces=[
        AgentInterface(protocol_binding="JSONRPC", protocol_version="1.0", url=f"http://127.0.0.1:{os.environ['PORT']}/")
    ],
    skills=[AgentSkill(id="pong", name="pong", description="Answers with pongs.", tags=["pong"])],
)
handler = DefaultRequestHandler(agent_executor=Executor(), task_store=InMemoryTaskStore(), agent_card=card)
app = Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
