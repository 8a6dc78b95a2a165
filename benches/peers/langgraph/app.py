"""A graph of one node that asks the model, for LangGraph's in-memory server (`langgraph dev`).

Measured: a stateless run of it over the server's REST API, waited for or streamed. Fair because the graph does the least that
a graph can, and the server may drive as many runs at once as there are clients.
"""

import os

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

model = ChatOpenAI(model="bench", base_url=os.environ["MODEL_URL"], api_key="none")


async def answer(state: MessagesState):
    system = {"role": "system", "content": "Answer with pongs."}
    return {"messages": [await model.ainvoke([system, *state["messages"]])]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
