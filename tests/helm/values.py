"""Compares values.yaml, values.schema.json and the server's configuration, and tries what must be refused. Called by `gate.py`."""

import json
import re
import shutil
import tempfile
import textwrap
import tomllib
from pathlib import Path

import yaml
from ledger import none
from render import CHART, chart, merged, of_kind, pack, read, refusal, render

# Keys of the server's configuration that the chart sets itself, and by which values. All others can be set below `config`.
OWNED = {
    "server.role": "layout", "server.listen": "listenHost", "admin.listen": "listenHost", "store.url": "mode",
    "store.migrate": "migration", "store.url_file": "secrets.store", "redis.url": "secrets.redis", "redis.url_file": "secrets.redis",
    "auth.pepper": "secrets.pepper", "auth.pepper_file": "secrets.pepper", "telemetry.otlp_headers": "secrets.otlpHeaders",
    "telemetry.otlp_headers_file": "secrets.otlpHeaders",
}
# Sections whose keys are names: what is below one of them is described by the schema, and config.toml has examples.
BY_NAME = {"plans", "models", "providers"}
POSTGRES = {"mode": "postgres", "secrets": {"store": {"existingSecret": "db"}, "pepper": {"existingSecret": "db"}}}
ROUTED = {"enabled": True, "parentRefs": [{"name": "a"}], "hostnames": ["a.b"]}
HUGE = {"requests": {"limit": 10, "per": "1m"}}


def server():
    """The server's own configuration."""
    return tomllib.loads(read("services/kernel/config/config.toml"))


def schema():
    """The schema of the values."""
    return json.loads((CHART / "values.schema.json").read_text())


def resolved(node, root):
    """What a reference means."""
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def objects(node, root, path=()):
    """(path, node) of every table that the schema describes."""
    node = resolved(node, root)
    if "properties" in node or "additionalProperties" in node or node.get("type") == "object":
        yield path, node
        for key, inner in node.get("properties", {}).items():
            yield from objects(inner, root, (*path, key))
        if isinstance(node.get("additionalProperties"), dict):
            yield from objects(node["additionalProperties"], root, (*path, "a"))
    elif node.get("type") == "array":
        yield from objects(node["items"], root, (*path, 0))


def leaves(node, root, path=()):
    """(path, node) of every value that is no table."""
    node = resolved(node, root)
    for key, inner in node.get("properties", {}).items():
        yield from leaves(inner, root, (*path, key))
    if isinstance(node.get("additionalProperties"), dict):
        yield from leaves(node["additionalProperties"], root, (*path, "a"))
    if "properties" not in node and "additionalProperties" not in node:
        yield path, node


def at(path, value):
    """Values that have this one there."""
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


def config_is_the_servers():
    """The sections and keys below `config` are those of config.toml, but for those that the chart sets."""
    root, toml, faults = schema(), server(), []
    known = root["properties"]["config"]["properties"]
    for section in sorted(known.keys() | toml.keys()):
        if section in BY_NAME:
            continue
        theirs = {key for key in toml.get(section, {}) if f"{section}.{key}" not in OWNED}
        ours = set(known.get(section, {}).get("properties", {}))
        faults += [f"config.{section}.{key} cannot be set" for key in sorted(theirs - ours)]
        faults += [f"config.{section}.{key} is no key of the server" for key in sorted(ours - theirs)]
    faults += [f"{key} is set by {by}, which is no value" for key, by in OWNED.items() if by.split(".")[0] not in root["properties"]]
    none(faults)
    none(f"values.yaml has no config.{section}" for section in known if section not in chart().values["config"])
    return f"{sum(len(v) for v in toml.values())} keys of {len(toml)} sections"


def config_passes_whole():
    """Every default of the server, given as a value, arrives in the file as it was: whole numbers, lists, tables."""
    toml = server()
    for key in OWNED:
        section, name = key.split(".")
        toml.get(section, {}).pop(name, None)
    toml = {section: table for section, table in toml.items() if table}
    toml.setdefault("plans", {})["by_month"] = {**HUGE, "tokens_per_month": 100_000_000_000}
    toml.setdefault("models", {})["fast"] = "openai/gpt-4o-mini"
    values = {**POSTGRES, "config": toml}
    assert not refusal(values), refusal(values)
    text = next(m for m in of_kind(render(values), "ConfigMap") if "runplane.toml" in m["data"])["data"]["runplane.toml"]
    got = tomllib.loads(text)
    assert not re.search(r"= \d+\.0$|\de\+", text, re.M), f"a whole number has lost its form:\n{text}"
    for key in ("admin", "store"):
        got[key] = {name: value for name, value in got.get(key, {}).items() if f"{key}.{name}" not in OWNED}
    got = {section: table for section, table in got.items() if table}
    other = [section for section in toml.keys() | got.keys() if got.get(section) != toml.get(section)]
    none(f"{section}: {got.get(section)} instead of {toml.get(section)}" for section in other)
    return f"{len(toml)} sections"


def every_value_is_described():
    """Each key of values.yaml is in the schema, the other way round, and has a comment above it."""
    root, values = schema(), chart().values
    faults = []
    for path, node in leaves(root, root):
        if "a" in path or path[0] in ("config", "global") or path[-1] == "ephemeral-storage":
            continue
        here = values
        for key in path:
            here = here.get(key, KeyError) if isinstance(here, dict) else KeyError
        if here is KeyError and path[-2:] != ("limits", "cpu"):
            faults.append(f"{'.'.join(path)} has no default in values.yaml")
    none(faults)
    lines, count, item = (CHART / "values.yaml").read_text().splitlines(), 0, None
    for above, line in zip(["", *lines], lines):
        indent = len(line) - len(line.lstrip())
        # What an item of a list is made of, Kubernetes explains.
        item = indent if line.lstrip().startswith("- ") else item if item is not None and indent > item else None
        key = re.match(r" *([^ #:-][^:]*):", line)
        if key and item is None:
            count += 1
            if not above.lstrip().startswith("#"):
                faults.append(f"{key[1]} has no comment: {line.strip()}")
    none(faults)
    assert not refusal({}), refusal({})
    return f"{count} keys"


def schema_is_closed():
    """No table of the schema takes whatever it is given, save those that are Kubernetes' own."""
    root, closed, theirs, names = schema(), 0, 0, 0
    for path, node in objects(root, root):
        extra = node.get("additionalProperties")
        comment = node.get("$comment", "")
        if extra is False:
            closed += 1
        elif isinstance(extra, dict):
            names += 1
        else:
            assert comment.startswith("as "), f"{path} is open"
            theirs += 1
    return f"{closed} closed, {names} of names, {theirs} of Kubernetes"


def unknown_is_refused():
    """A value that the schema does not have is refused, wherever it stands, and named."""
    root, count = schema(), 0
    for path, node in objects(root, root):
        if node.get("additionalProperties") is False:
            told = refusal(at(path, {"nonsense": 1})) or ""
            assert "nonsense" in told, f"{path} takes nonsense: {told}"
            count += 1
    return f"{count} places"


def wrong_types_are_refused():
    """A value of another type is refused."""
    root, count = schema(), 0
    for path, node in leaves(root, root):
        if node.get("type") == "object" or not path:
            continue
        wrong = 7 if node.get("type") == "string" or "enum" in node else "x!"
        told = refusal(at(path, wrong)) or ""
        assert "at '/" in told, f"{path} takes {wrong}: {told}"
        count += 1
    return f"{count} values"


# Combinations that cannot work, and a word of why.
REFUSED = [
    ({"layout": "split"}, "layout must be all"),
    ({"server": {"replicas": 2}}, "server.replicas must be 1"),
    ({"server": {"autoscaling": {"enabled": True}}}, "server.autoscaling off"),
    ({"secrets": {"store": {"existingSecret": "db"}}}, "mode embedded does not use"),
    ({"mode": "postgres"}, "secrets.store.existingSecret"),
    ({"mode": "postgres", "secrets": {"store": {"existingSecret": "db"}}}, "needs a pepper"),
    (merged(POSTGRES, {"secrets": {"store": {"url": "postgres://db/runplane"}}}), "only one of both"),
    ({"secrets": {"redis": {"url": "redis://a", "existingSecret": "b"}}}, "only one of both"),
    ({"secrets": {"providers": {"openai": {}}}}, "either value or existingSecret"),
    ({"secrets": {"providers": {"openai": {"value": "a", "existingSecret": "b"}}}}, "either value or existingSecret"),
    ({"secrets": {"providers": {"local": {"value": "a"}}}}, "config.providers.local"),
    ({"extraEnv": [{"name": "RUNPLANE__STORE__URL", "value": "a"}]}, "use secrets"),
    ({"extraEnv": [{"name": "RUNPLANE__PROVIDERS__OPENAI__API_KEY", "value": "a"}]}, "use secrets"),
    ({"extraEnv": [{"name": "RUNPLANE__SERVER__ROLE", "value": "worker"}]}, "set by the chart itself"),
    ({"ingress": {"enabled": True}}, "ingress.hosts"),
    ({"gateway": {"enabled": True}}, "gateway.parentRefs"),
    ({"gateway": {**ROUTED, "grpc": {"enabled": True, "hostnames": ["a.b"]}}}, "accepts only one"),
    ({"gateway": {**ROUTED, "grpc": {"enabled": True}}}, "accepts only one"),
]
# What the schema alone can say, and where.
BY_SCHEMA = [
    ({"layout": "split"}, "at '/layout': value must be 'all'"),
    ({"server": {"replicas": 2}}, "at '/server/replicas': value must be 1"),
    ({"server": {"autoscaling": {"enabled": True}}}, "at '/server/autoscaling/enabled'"),
    ({"mode": "sqlite"}, "'/mode'"),
    ({"secrets": {"store": {"url": "mysql://a"}}}, "'/secrets/store/url'"),
    ({"config": {"server": {"role": "worker"}}}, "role"),
    ({"config": {"store": {"url": "postgres://a"}}}, "url"),
    ({"config": {"auth": {"pepper": "a"}}}, "pepper"),
    ({"config": {"providers": {"openai": {"kind": "openai", "api_key": "a"}}}}, "api_key"),
    ({"image": {"digest": "latest"}}, "'/image/digest'"),
    ({"server": {"resources": {"limits": {"memory": "lots"}}}}, "memory"),
]


def wrong_combinations_are_refused():
    """With the schema, and by the templates when somebody leaves the schema out."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "runplane"
        shutil.copytree(CHART, bare)
        (bare / "values.schema.json").unlink()
        for values, why in REFUSED:
            assert refusal(values), f"{values} passes"
            told = refusal(values, bare) or "it passes"
            assert why in told, f"{values}: {told}"
    for values, where in BY_SCHEMA:
        told = refusal(values) or "it passes"
        assert where in told, f"{values}: {told}"
    right = merged(POSTGRES, {"layout": "split", "server": {"replicas": 2}, "gateway": {
        "enabled": True, "parentRefs": [{"name": "a", "sectionName": "https"}], "hostnames": ["a.b"],
        "grpc": {"enabled": True, "parentRefs": [{"name": "a", "sectionName": "grpc"}], "hostnames": ["a.b"]}}})
    assert not refusal(right), refusal(right)
    return f"{len(REFUSED)} by the templates, {len(BY_SCHEMA)} by the schema"


def selectors_are_for_ever():
    """No value changes a selector, so no upgrade is refused for it."""
    def selectors(values):
        found = {}
        for manifest in render(values):
            if manifest["kind"] in ("Deployment", "StatefulSet"):
                found[manifest["metadata"]["name"]] = manifest["spec"]["selector"]
        return found

    split = merged(POSTGRES, {"layout": "split"})
    changed = {"commonLabels": {"a": "b"}, "image": {"tag": "2"}, "server": {"podLabels": {"c": "d"}}, "worker": {"podLabels": {"c": "d"}}}
    assert selectors(split) == selectors(merged(split, changed))
    assert selectors(POSTGRES).items() <= selectors(split).items(), "from layout all to split the servers are others"
    names = [m["metadata"]["name"] for m in render({}, name="a" * 53)]
    assert max(map(len, names)) <= 63, names
    return f"{len(selectors(split))} workloads"


def facts_are_those_of_the_tree():
    """Versions are Cargo.toml's; services of gRPC are those of the contract."""
    version = tomllib.loads(read("Cargo.toml"))["package"]["version"]
    assert chart().metadata["appVersion"] == version == chart().metadata["version"], f"Chart.yaml does not name version {version}"
    everything = yaml.safe_load((CHART / "ci/everything.yaml").read_text())
    route = of_kind(render(everything), "GRPCRoute")[0]
    routed = {match["method"]["service"] for rule in route["spec"]["rules"] for match in rule["matches"]}
    protos = "".join(path.read_text() for path in sorted((CHART.parent / "proto/runplane/v1").glob("*.proto")))
    contract = {f"runplane.v1.{name}" for name in re.findall(r"^service (\w+)", protos, re.M)}
    assert contract == {name for name in routed if name.startswith("runplane.")}, f"proto has {sorted(contract)}, the routes {sorted(routed)}"
    return f"{len(contract)} services"


def examples_render():
    """Whatever our pages show as values is taken."""
    shown = re.findall(r"<<'VALUES'\n(.*?)\n    VALUES", read("docs/deploy.md"), re.S)
    shown += re.findall(r"\n\n((?:    (?:secrets|ingress):\n)(?:    .*\n)+)", read("helm/README.md"))
    assert len(shown) == 3, f"{len(shown)} examples"
    for text in shown:
        told = refusal(yaml.safe_load(textwrap.dedent(text)))
        assert not told, f"{text}\n{told}"
    files = set(re.findall(r"helm/ci/[\w-]+\.yaml", read("docs/deploy.md")))
    none(f"docs/deploy.md names {file}" for file in files if not (CHART.parent / file).exists())
    return f"{len(shown)} examples"


def the_packed_chart_is_the_same():
    """What `helm package` makes renders as the folder does, and has no value sets of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(pack(folder))
        everything = yaml.safe_load((CHART / "ci/everything.yaml").read_text())
        assert render(everything, folder=packed) == render(everything), "it renders otherwise"
        names = {file["name"] for file in chart(packed).files}
    assert {"README.md", "alerts/runplane.yaml", "dashboards/runplane.json"} <= names, names
    none(name for name in names if name.startswith("ci/"))
    return f"{len(names)} files beside templates"


def check(ledger):
    """All of them."""
    for name, promise in [
        ("config has every key of the server", config_is_the_servers),
        ("config arrives as it was given", config_passes_whole),
        ("every value is described and has a default", every_value_is_described),
        ("the schema is closed", schema_is_closed),
        ("a value that is not in the schema is refused", unknown_is_refused),
        ("a value of another type is refused", wrong_types_are_refused),
        ("what cannot work is refused", wrong_combinations_are_refused),
        ("no value changes a selector", selectors_are_for_ever),
        ("what the pages show as values is taken", examples_render),
        ("the packed chart is the same", the_packed_chart_is_the_same),
        ("versions and services are those of the tree", facts_are_those_of_the_tree),
    ]:
        ledger.promise("values", name, promise)
