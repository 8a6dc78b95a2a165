"""agentscope-runtime's `AgentApp`, as its quickstart has it: a `ReActAgent` for each call, whose messages are streamed.

Measured: its one endpoint, read to its end. Fair because the agent has no tools, its state is loaded from and saved to nothing,
where the quickstart has a pretended Redis, and nothing is printed.
"""

import logging
import os

from agentscope.agent import ReActAgent
from agentscope.formatter import OpenAIChatFormatter
from agentscope.memory import InMemoryMemory
from agentscope.model import OpenAIChatModel
from agentscope.pipeline import stream_printing_messages
from agentscope_runtime.engine import AgentApp
from agentscope_runtime.engine.schemas.agent_schemas import AgentRequest

logging.getLogger("httpx").setLevel(logging.WARNING)

app = AgentApp(app_name="bench", app_description="Answers with pongs.")
model = OpenAIChatModel("bench", api_key="none", stream=True, client_kwargs={"base_url": os.environ["MODEL_URL"]})


@app.query(framework="agentscope")
async def query(self, msgs, request: AgentRequest = None, **kwargs):
    agent = ReActAgent(
        name="bench", model=model, sys_prompt="Answer with pongs.", memory=InMemoryMemory(), formatter=OpenAIChatFormatter()
    )
    agent.set_console_output_enabled(enabled=False)
    async for message, last in stream_printing_messages(agents=[agent], coroutine_task=agent(msgs)):
        yield message, last
