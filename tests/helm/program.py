"""Asks the program itself whether it takes what the chart renders: file and environment of each pod, by `runplane check`. Called
by `gate.py`; `live.py` starts it."""

import os
import subprocess
import tempfile
from pathlib import Path

from ledger import none
from pods import SECRETS
from render import ROOT, named, of_kind, pods, render, value_sets

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


def prepared(spec, configs, folder):
    """Arguments and environment of a pod's process, with its file and its secrets in this folder."""
    container = spec["containers"][0]
    mounted = next(volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "config")
    config = Path(folder) / "runplane.toml"
    config.write_text(configs[mounted]["data"]["runplane.toml"])
    env = {}
    for variable in container.get("env", []):
        name, value = variable["name"], variable.get("value", "of-the-pod")
        # The certificate is the cluster's, and the program reads it.
        if name.startswith("RUNPLANE__TLS__"):
            continue
        if value.startswith(SECRETS):
            file = value.removeprefix(SECRETS)
            (Path(folder) / file).write_text(HELD.get(file, "sk-a-key") + "\n")
            value = str(Path(folder) / file)
        env[name] = value
    return [*container["args"][:-1], str(config)], env


def asks(path, manifest, spec, configs):
    """What the program says of a pod's configuration; None when it takes it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments, env = prepared(spec, configs, folder)
        command = [path.resolve(), "check", *arguments[1:]]
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
    else:
        ledger.skip("`runplane check` of the rendered configuration: target/debug/runplane is not built, and RUNPLANE_BIN names no program")
