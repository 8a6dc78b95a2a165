"""Asks the program itself whether it takes what the chart renders: file and environment of each pod, by `runplane check`; and starts
what the embedded mode renders. Called by `gate.py`."""

import json
import os
import re
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path

from ledger import none
from pods import SECRETS
from render import ROOT, named, of_kind, pods, read, render, value_sets

# What a Secret may hold. `check` opens no connection.
HELD = {
    "store-url": "postgres://runplane:password@127.0.0.1:1/runplane", "redis-url": "redis://127.0.0.1:1/0",
    "pepper": "a-pepper-that-all-processes-share", "otlp-headers": "authorization=Bearer token",
}


def program():
    """Where it is, or None."""
    path = Path(os.environ.get("RUNPLANE_BIN", ROOT / "target/debug/runplane"))
    if not path.exists():
        assert "RUNPLANE_BIN" not in os.environ, f"{path} does not exist"
        return None
    return path


def asks(path, manifest, spec, configs):
    """What the program says of a pod's configuration; None when it takes it."""
    container = spec["containers"][0]
    mounted = next(volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "config")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "runplane.toml").write_text(configs[mounted]["data"]["runplane.toml"])
        env = {}
        for variable in container.get("env", []):
            name, value = variable["name"], variable.get("value", "of-the-pod")
            # The certificate is the cluster's, and `check` reads it.
            if name.startswith("RUNPLANE__TLS__"):
                continue
            if value.startswith(SECRETS):
                file = value.removeprefix(SECRETS)
                (folder / file).write_text(HELD.get(file, "sk-a-key") + "\n")
                value = str(folder / file)
            env[name] = value
        command = [path.resolve(), "check", "--config", folder / "runplane.toml"]
        answer = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    return None if answer.returncode == 0 else f"{named(manifest)}: {answer.stderr.strip()}"


def takes_all(path):
    """Every pod of every set."""
    faults, count = [], 0
    for name, values in value_sets().items():
        manifests = render(values)
        configs = {config["metadata"]["name"]: config for config in of_kind(manifests, "ConfigMap")}
        for manifest, _, spec in pods(manifests):
            if manifest["kind"] == "Pod":
                continue
            count += 1
            told = asks(path, manifest, spec, configs)
            faults += [f"{name}: {told}"] if told else []
    none(faults)
    return f"{count} pods, by {path}"


def answers(address, path):
    """Status and text of what the admin port says."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def is_probed(path):
    """The embedded rendering, started here on free ports: the probes of its pod find what they ask for, and it ends in its time."""
    manifests = render({})
    spec = next(spec for manifest, _, spec in pods(manifests) if manifest["kind"] == "StatefulSet")
    config = next(m for m in of_kind(manifests, "ConfigMap"))["data"]["runplane.toml"]
    container = spec["containers"][0]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        moved = config.replace("/var/lib/runplane", str(folder)).replace("0.0.0.0:9090", "127.0.0.1:0")
        (folder / "runplane.toml").write_text(moved)
        env = {e["name"]: e["value"].replace("0.0.0.0:8080", "127.0.0.1:0") for e in container["env"]}
        command = [path.resolve(), *container["args"][:-1], folder / "runplane.toml"]
        with subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            # A process that hangs is no reason to hang.
            timer = threading.Timer(60, server.kill)
            timer.start()
            try:
                address, lines = None, []
                for line in server.stderr:
                    lines.append(line)
                    told = json.loads(line) if line.startswith("{") else {}
                    address = told.get("admin", address)
                    if "address" in told:
                        break
                assert address, "".join(lines)
                probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
                none(f"{probe}: {answers(address, probe)}" for probe in probes if answers(address, probe)[0] != 200)
                page = answers(address, "/metrics")[1]
                server.terminate()
                assert "First admin key" in server.stdout.read(), "no first key, of which the notes tell"
                assert server.wait(spec["terminationGracePeriodSeconds"]) == 0, f"it ends with {server.returncode}"
            finally:
                timer.cancel()
                server.kill()
    series = set(re.findall(r"^# TYPE (\w+)", page, re.M))
    listed = {line.split()[0] for line in read("tests/helm/metrics.txt").splitlines() if not line.startswith("#")}
    assert series, page
    none(f"{name} is on the page and not in metrics.txt" for name in sorted(series - listed))
    return f"{len(set(probes))} paths, {len(series)} metrics"


def knows_its_commands(path):
    """What the pods run are commands of the program."""
    containers = [spec["containers"][0] for values in value_sets().values() for _, _, spec in pods(render(values))]
    seen = {container["args"][0] for container in containers if "args" in container}
    for command in sorted(seen):
        answer = subprocess.run([path, command, "--help"], capture_output=True, text=True, check=False)
        assert answer.returncode == 0 and "--config" in answer.stdout, answer.stderr or answer.stdout
    return " ".join(sorted(seen))


def check(ledger):
    """Asks it, if it is there."""
    path = program()
    if path:
        ledger.promise("program", "`runplane check` takes every configuration", lambda: takes_all(path))
        ledger.promise("program", "the commands of all pods are there", lambda: knows_its_commands(path))
        ledger.promise("program", "the embedded pod starts, is probed and ends", lambda: is_probed(path))
    else:
        ledger.skip("`runplane check` of the rendered configuration: target/debug/runplane is not built, and RUNPLANE_BIN names no program")
