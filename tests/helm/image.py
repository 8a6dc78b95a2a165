"""Reads the Dockerfile, its context and compose.yaml as far as a machine without an engine can: nothing is built or started. Called by
`gate.py`."""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import compose_spec
import yaml
from ledger import none
from program import HELD, program
from render import CHART, ROOT, chart, read, render

USER = "65532:65532"
SERVERS = ("runplane-a", "runplane-b")


def instructions():
    """(word, rest) of each instruction of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", read("Dockerfile"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def last_stage():
    """Those of the stage that becomes the image: word -> all of its rests."""
    found = instructions()
    start = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    stage = {}
    for word, rest in found[start:]:
        stage.setdefault(word, []).append(rest)
    return stage


def hadolint_is_content():
    """The linter for Dockerfiles, with every rule."""
    answer = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    version = subprocess.run(["hadolint", "--version"], capture_output=True, text=True, check=True).stdout
    return "hadolint " + version.split()[-1]


def the_image_is_as_it_should_be():
    """No shell, no root, the locked crates with their list within, where the chart expects it."""
    stage, words = last_stage(), instructions()
    built = " ".join(rest for word, rest in words if word == "RUN")
    assert "distroless" in stage["FROM"][0] and stage["FROM"][0].endswith(":nonroot"), stage["FROM"]
    assert "RUN" not in stage, "the image has no shell to run anything in"
    assert not [rest for word, rest in words if word == "ADD"], "ADD unpacks and fetches; COPY copies"
    assert "cargo auditable build --locked --release --bin runplane" in built, built
    assert re.search(r"cargo install --locked --version \d+\.\d+\.\d+ cargo-auditable", built), built
    assert stage["USER"] == [USER] and stage["ENTRYPOINT"] == ['["runplane"]'] and stage["HEALTHCHECK"] == ["NONE"], stage
    variables = dict(pair.split("=", 1) for rest in stage["ENV"] for pair in shlex.split(rest))
    assert variables == {"RUNPLANE__SERVER__LISTEN": "0.0.0.0:8080"}, f"{variables}: the environment goes before the file"
    labels = {pair.split("=")[0].rsplit(".", 1)[1] for rest in stage["LABEL"] for pair in shlex.split(rest)}
    assert {"title", "description", "licenses", "version", "revision"} <= labels, labels
    rust = tomllib.loads(read("Cargo.toml"))["package"]["rust-version"]
    assert f"rust:{rust}-" in words[0][1], f"Cargo.toml wants Rust {rust}, the builder is {words[0][1]}"
    # What the chart takes for granted.
    values = chart().values
    assert f"{values['podSecurityContext']['runAsUser']}:{values['podSecurityContext']['runAsGroup']}" == USER
    pod = next(m for m in render({}) if m["kind"] == "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert {str(port["containerPort"]) for port in pod["ports"]} == set(stage["EXPOSE"][0].split()), stage["EXPOSE"]
    assert set(variables) <= {variable["name"] for variable in pod["env"]}, "the chart does not set what the image sets"
    data = next(mount["mountPath"] for mount in pod["volumeMounts"] if mount["name"] == "data")
    assert stage["VOLUME"] == stage["WORKDIR"] == [data], f"{stage['VOLUME']} and {data}"
    return f"{len(words)} instructions"


def context(folder):
    """Copies what .dockerignore lets into the context. It is a list of what may, so the rules are few."""
    rules = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and all(re.fullmatch(r"![\w./-]+", rule) for rule in rules[1:]), "only `*`, then `!NAME`"
    for rule in rules[1:]:
        source, target = ROOT / rule[1:], Path(folder) / rule[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return rules[1:]


def the_context_is_enough():
    """Cargo reads the workspace in it, and every file that the sources include is there; nothing else is."""
    with tempfile.TemporaryDirectory() as folder:
        rules = context(folder)
        folder = Path(folder)
        if shutil.which("cargo"):
            command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1", "--manifest-path", folder / "Cargo.toml"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            assert answer.returncode == 0, answer.stderr
        files = [path for path in folder.rglob("*") if path.is_file()]
        for path in (folder / "services").rglob("*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()):
                assert (path.parent / name).exists(), f"{path.relative_to(folder)} includes {name}"
        for name in re.findall(r'"([\w./-]+/[\w./-]+)"', read("build.rs")):
            assert not (ROOT / name).exists() or (folder / name).exists(), f"build.rs names {name}"
        manifest = tomllib.loads((folder / "Cargo.toml").read_text())
        targets = [target["path"] for kind in ("bin", "test", "example") for target in manifest.get(kind, [])]
        targets += [manifest["package"]["build"], manifest["lib"]["path"]]
        none(f"{path} is not in the context" for path in targets if not (folder / path).exists())
        odd = [path for path in files if re.search(r"\.(pem|key|db|env|secrets\.json)$|^\.git", path.name)]
        assert not odd, f"secrets in the context? {odd}"
    return f"{len(rules)} names, {len(files)} files"


def compose():
    """The file as a table, merges done."""
    return yaml.safe_load(read("compose.yaml"))


def compose_parses():
    """By a parser of the Compose Specification, and by its model."""
    spec = compose_spec.PyCompose.from_json(json.dumps(compose())).to_spec()
    return f"{len(spec.services)} services"


def compose_is_as_it_should_be():
    """Images have a version, secrets are files, nobody has rights that it does not need, all that is named is there."""
    file, faults = compose(), []
    for name, service in file["services"].items():
        image = service["image"]
        if not re.search(r":\d[\w.]*$", image) and image != "runplane:local":
            faults.append(f"{name}: {image} has no version")
        for key, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|PEPPER|URL|KEY|TOKEN|HEADERS", key) and not key.endswith("_FILE")
            if secret and (key != "RUNPLANE__REDIS__URL" or "@" in value):
                faults.append(f"{name}: {key} shows in the environment")
        for other in service.get("depends_on", {}):
            if other not in file["services"]:
                faults.append(f"{name} waits for {other}, which is not there")
            condition = service["depends_on"][other]["condition"]
            if condition == "service_healthy" and "healthcheck" not in file["services"][other]:
                faults.append(f"{name} waits for the health of {other}, which tells none")
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        faults += [f"{name}: the volume {volume} is not there" for volume in named if volume not in file["volumes"]]
        configs = [config["source"] for config in service.get("configs", [])]
        faults += [f"{name}: the config {config} is not there" for config in configs if config not in file["configs"]]
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                faults.append(f"{name}: {port} is open to the network")
    drain = tomllib.loads(read("services/kernel/config/config.toml"))["server"]["drain_seconds"]
    for name in (*SERVERS, "migrate"):
        service = file["services"][name]
        if not service["read_only"] or service["cap_drop"] != ["ALL"] or "user" in service:
            faults.append(f"{name} has rights")
        if name in SERVERS and int(service["stop_grace_period"].rstrip("s")) <= drain:
            faults.append(f"{name} has no time to end")
    none(faults)
    collector = yaml.safe_load((ROOT / file["configs"]["collector"]["file"]).read_text())
    port = file["services"][SERVERS[0]]["environment"]["RUNPLANE__TELEMETRY__OTLP_ENDPOINT"].rsplit(":", 1)[1]
    assert collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(f":{port}"), "nobody listens for telemetry"
    for name, pipeline in collector["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            none(f"{name}: {kind} has no {part}" for part in pipeline[kind] if part not in collector[kind])
    return f"{len(file['services'])} services"


def secrets_are_made_once():
    """The first service, run here: it makes each file, with the same password in the address, and leaves what is there."""
    script = compose()["services"]["setup"]["command"][0].replace("$$", "$")
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for _ in range(2):
            subprocess.run(["bash", "-euc", script.replace("/secrets", folder)], check=True, capture_output=True)
            made.append({path.name: path.read_text() for path in Path(folder).iterdir()})
    assert made[0] == made[1], "a second start makes others"
    assert set(made[0]) == {"password", "pepper", "store-url"}, sorted(made[0])
    assert all(re.fullmatch(r"[0-9a-f]{64}", made[0][name]) for name in ("password", "pepper")), "no 32 random bytes"
    assert made[0]["password"] != made[0]["pepper"] and f":{made[0]['password']}@postgres:" in made[0]["store-url"]
    return f"{len(made[0])} files"


def compose_is_taken(path):
    """The program takes the environment that the file gives it."""
    with tempfile.TemporaryDirectory() as folder:
        env = {}
        for key, value in compose()["services"][SERVERS[0]]["environment"].items():
            file = value.removeprefix("/run/secrets/runplane/")
            if file != value:
                (Path(folder) / file).write_text(HELD[file])
                value = str(Path(folder) / file)
            env[key] = value
        answer = subprocess.run([path.resolve(), "check"], env=env, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert answer.returncode == 0, answer.stderr
    return f"{len(env)} variables"


def check(ledger):
    """All of them."""
    for name, promise in [
        ("hadolint has nothing to say", hadolint_is_content),
        ("the Dockerfile keeps to what the chart expects", the_image_is_as_it_should_be),
        ("the context is enough, and no more", the_context_is_enough),
        ("compose.yaml is right by the Compose Specification", compose_parses),
        ("compose.yaml makes its secrets once", secrets_are_made_once),
        ("compose.yaml keeps secrets in files and rights away", compose_is_as_it_should_be),
    ]:
        ledger.promise("image", name, promise)
    if program():
        ledger.promise("image", "`runplane check` takes what compose.yaml sets", lambda: compose_is_taken(program()))
    ledger.skip("a build of the image, a start of compose.yaml and an install of the chart: they need an engine and a cluster")
