"""Starts a server with data in it, and schemathesis against it. Called by `schemathesis` beside it."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from beyond import BEYOND

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = """
[server]
listen = "127.0.0.1:0"
drain_seconds = 1
# A run that schemathesis makes may never end by itself; nobody waits for it.
deadline_seconds_max = 20
[limits]
# Wrong keys are part of what it tries.
unauthenticated = { limit = 1000000, per = "1s" }
failed_logins = { limit = 1000000, per = "1s" }
[engine]
drain_ms = 500
[log]
filter = "info"
format = "json"
"""


def start(folder):
    """The process of a server on a fresh database, its root URL, its first key and its operator's."""
    config = folder / "runplane.toml"
    store = f"[store]\nurl = \"sqlite:{folder / 'runplane.db'}\"\nsynchronous = \"normal\"\n"
    config.write_text(CONFIG + store)
    # The debug build unless another is named.
    program = os.environ.get("RUNPLANE_PROGRAM", ROOT / "target/debug/runplane")
    making = [program, "keys", "create", "--operator", "--config", config]
    made = subprocess.run(making, stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [program, "serve", "--config", config],
            stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder,
        )
    key = server.stdout.readline().split()[-1]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = re.search(r'"address":"([^"]+)"', (folder / "log").read_text())
        if found:
            return server, f"http://{found[1]}", key, made.stdout.split()[-1]
        time.sleep(0.05)
    raise SystemExit("the server does not serve: " + (folder / "log").read_text())


class Seeds:
    """Things that exist: ids that the document cannot know."""

    def __init__(self, root, key, operator):
        self.root, self.http = root, requests.Session()
        self.http.headers["Authorization"] = f"Bearer {key}"
        self.operator = {"Authorization": f"Bearer {operator}"}

    def post(self, path, headers=None, **body):
        answer = self.http.post(self.root + path, json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def plant(self):
        """Makes them; their ids by what they are."""
        greeter = self.post(
            "/v1/agents", name="Greeter", model="sim",
            sim={"turns": [{"text": "Hello, {{ input }}!"}]},
            parameters=[{"name": "language", "type": "string", "default": "English"}],
        )
        asker = self.post(
            "/v1/agents", name="Asker", model="sim",
            tools=[{"name": "approve", "client": {}}],
            sim={"turns": [
                {"tool_calls": [{"name": "approve", "arguments": {"sum": 7}}]},
                {"text": "Approved: {{ result }}"},
            ]},
        )
        # Many, for they are deleted one by one.
        counters = [
            self.post(
                "/v1/agents", name="Counter", model="sim", sim={"turns": [{"text": "Ready."}]},
                parameters=[{"name": "count", "type": "number", "required": True}],
            )
            for _ in range(60)
        ]
        done = self.post(f"/v1/agents/{greeter['id']}/invoke", query="Ada")
        waiting = [self.post("/v1/runs", agent_id=asker["id"], input="pay") for _ in range(40)]
        keys = [self.post("/v1/keys", name="spare", scopes=["read"]) for _ in range(200)]
        owner = [
            self.post("/v1/organisations", self.operator, name=f"organisation {n}")
            for n in range(60)
        ]
        projects = [
            self.post("/v1/projects", self.operator, organisation_id=owner[0]["id"], name="p")
            for _ in range(60)
        ]
        ids = lambda things: [thing["id"] for thing in things]
        return {
            "agents": ids([greeter, asker, *counters]),
            "runs": ids([done, *waiting]),
            "keys": ids(keys),
            "organisations": ids(owner),
            "projects": ids(projects),
            "calls": {run["id"]: self.call(run["id"]) for run in waiting},
        }

    def call(self, run_id):
        """The id of the call that a run waits for."""
        run = self.http.get(f"{self.root}/v1/runs/{run_id}?wait=10", timeout=30).json()
        return run["required_action"]["tool_calls"][0]["id"]

    def own(self):
        """Ids of the key that all is done with, and of its project and organisation."""
        me = self.http.get(self.root + "/v1/me", timeout=30).json()
        return [me["key_id"], me["project_id"], me["organisation_id"]]

    def document(self, path):
        """Keeps the document in a file."""
        path.write_text(self.http.get(self.root + "/openapi.json", timeout=30).text)
        return str(path)


def unbroken(path):
    """1 when a rule was never broken, with a line for each."""
    broken = {int(line.split()[0]) for line in path.open()}
    left = [rule for at, rule in enumerate(BEYOND) if at not in broken]
    for operations, code, field, why in left:
        print(f"never broken, so take it out of beyond.py: {code} {field} of {operations} ({why})")
    return int(bool(left))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        server, root, key, operator = start(folder)
        try:
            seeds = Seeds(root, key, operator)
            environment = os.environ | {
                "RUNPLANE_KEY": key,
                "RUNPLANE_OPERATOR": operator,
                "RUNPLANE_OWN": json.dumps(seeds.own()),
                "RUNPLANE_DOCUMENT": seeds.document(folder / "openapi.json"),
                "RUNPLANE_SEEDS": json.dumps(seeds.plant()),
                "RUNPLANE_BROKEN": str(folder / "broken"),
                "PYTHONPATH": str(HERE),
            }
            begun = time.monotonic()
            run = subprocess.run(
                [
                    Path(sys.executable).parent / "schemathesis",
                    "--config-file", HERE / "schemathesis.toml",
                    "run", root + "/openapi.json",
                    "--max-examples", str(asked.examples), "--seed", str(asked.seed),
                    *rest,
                ],
                env=environment, cwd=folder, stdin=subprocess.DEVNULL,
            )
            print(f"\n== schemathesis: {time.monotonic() - begun:.0f} s")
            alive = server.poll() is None
            if not alive:
                print((folder / "log").read_text()[-5000:])
            code = run.returncode if alive else 1
            # Part of a run breaks part of the rules.
            if not rest:
                code = code or unbroken(folder / "broken")
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
    raise SystemExit(code)


if __name__ == "__main__":
    main()
