"""Starts what the chart renders, as processes of this machine on free ports: the embedded pod, and with a Postgres of its own the
job, a server and a worker. Called by `gate.py`; stops whatever it has started."""

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path

from ledger import none
from program import HELD, prepared, program
from render import named, of_kind, pods, read, render, value_sets

# Seconds after which a process that hangs is ended.
PATIENCE = 60


def answer(address, path):
    """What the admin port says; fails unless that is 200."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as said:
        return said.read().decode()


def workloads(values):
    """(what pods are made of by the name of what starts them, the config maps) of a rendering."""
    manifests = render(values)
    return {named(m): spec for m, _, spec in pods(manifests)}, {m["metadata"]["name"]: m for m in of_kind(manifests, "ConfigMap")}


def moved(spec, configs, folder, changes):
    """A pod's command and environment, away from fixed ports and folders."""
    arguments, env = prepared(spec, configs, folder)
    file = Path(arguments[-1])
    file.write_text(file.read_text().replace("/var/lib/runplane", str(folder)).replace("0.0.0.0:9090", "127.0.0.1:0"))
    env = {name: value.replace("0.0.0.0:8080", "127.0.0.1:0") for name, value in env.items()}
    env.update(changes)
    return [str(program().resolve()), *arguments], env


def once(spec, configs, changes=()):
    """A pod's process, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command, env = moved(spec, configs, folder, changes)
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@contextlib.contextmanager
def serving(spec, configs, changes=()):
    """A pod's process that serves: its admin address, and a function that ends it as Kubernetes does and tells its standard output."""
    with tempfile.TemporaryDirectory() as folder:
        command, env = moved(spec, configs, folder, changes)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=env, cwd=folder, **pipes) as server:
            timer = threading.Timer(PATIENCE, server.kill)
            timer.start()

            def end():
                server.terminate()
                said = server.communicate(timeout=spec["terminationGracePeriodSeconds"])[0]
                assert server.returncode == 0, f"it ends with {server.returncode}"
                return said

            try:
                yield admin_of(server), end
            finally:
                timer.cancel()
                server.kill()


def admin_of(server):
    """Where its admin port is, once it serves."""
    admin, lines = None, []
    for line in server.stderr:
        lines.append(line)
        told = json.loads(line) if line.startswith("{") else {}
        admin = told.get("admin", admin)
        if "address" in told:
            return admin
    raise AssertionError("it does not serve: " + "".join(lines))


def probes(spec, admin):
    """Asks what the probes of the pod ask."""
    paths = {spec["containers"][0][name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    for path in paths:
        answer(admin, path)
    return len(paths)


def embedded():
    """It starts without a value, is found by its probes, tells known metrics and the first key, and ends in its time."""
    specs, configs = workloads({})
    (spec,) = specs.values()
    with serving(spec, configs) as (admin, end):
        count, page = probes(spec, admin), answer(admin, "/metrics")
        assert "First admin key" in end(), "no first key, of which the notes tell"
    series = set(re.findall(r"^# TYPE (\w+)", page, re.M))
    listed = {line.split()[0] for line in read("tests/helm/metrics.txt").splitlines() if not line.startswith("#")}
    assert series, page
    none(f"{name} is on the page and not in metrics.txt" for name in sorted(series - listed))
    return f"{count} paths, {len(series)} metrics"


@contextlib.contextmanager
def postgres(programs):
    """A database of its own, reached by a socket in its folder. As root its programs are run as the user that Debian made for them."""
    folder = tempfile.mkdtemp()
    become = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []

    def do(name, *arguments):
        subprocess.run([*become, f"{programs}/{name}", *arguments], check=True, capture_output=True, cwd=folder)

    try:
        if become:
            shutil.chown(folder, "postgres")
            os.chmod(folder, 0o755)
        do("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "runplane", "--no-sync")
        do("pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgres://runplane@localhost/postgres?host={folder}"
        finally:
            do("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def split(programs):
    """Before the job no pod starts; the job brings the schema; then servers take calls and workers have room for runs."""
    specs, configs = workloads(value_sets()["split"])
    job, server, worker = (specs[name] for name in ("Job/agents-migrate", "Deployment/agents", "Deployment/agents-worker"))
    # Neither a Redis nor a collector is here.
    without = {"RUNPLANE__REDIS__URL_FILE": "", "RUNPLANE__TELEMETRY__OTLP_ENDPOINT": ""}
    with postgres(programs) as url, mine(url):
        early = once(server, configs, without)
        assert early.returncode and "run `runplane migrate`" in early.stderr, early.stderr
        done = once(job, configs)
        assert done.returncode == 0, done.stderr
        with serving(server, configs, without) as (front, end), serving(worker, configs, without) as (back, end_worker):
            count = probes(server, front) + probes(worker, back)
            slots = [re.search(r"^runplane_runs_slots (\d+)", answer(admin, "/metrics"), re.M)[1] for admin in (front, back)]
            assert slots == ["0", "64"], f"places for runs: {slots}"
            end()
            end_worker()
    return f"{count} paths, a job and 2 pods"


@contextlib.contextmanager
def mine(url):
    """Lets Secrets hold this address of a database."""
    usual = HELD["store-url"]
    HELD["store-url"] = url
    try:
        yield
    finally:
        HELD["store-url"] = usual


def check(ledger):
    """What can be started here."""
    if not program():
        return
    ledger.promise("live", "the embedded pod starts, is probed and ends", embedded)
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if programs:
        ledger.promise("live", "the job comes first, then servers and workers start", lambda: split(programs[-1]))
    else:
        ledger.skip("a start of layout split: there are no programs of PostgreSQL in /usr/lib/postgresql")
