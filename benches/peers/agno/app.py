"""agno's AgentOS, as its quickstart has it: an agent, a database, the app that serves it.

Measured: a run of one agent, asked over its REST API, waited for or streamed. Fair because it has its own default storage,
SQLite in a file, no tools, no history that would grow, and no telemetry that would be sent in vain.
"""

import os

from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.openai import OpenAIChat
from agno.os import AgentOS

agent = Agent(
    id="bench",
    name="bench",
    model=OpenAIChat(id="bench", base_url=os.environ["MODEL_URL"], api_key="none"),
    db=SqliteDb(db_file="agno.db"),
    instructions="Answer with pongs.",
    telemetry=False,
)

app = AgentOS(agents=[agent], telemetry=False).get_app()
