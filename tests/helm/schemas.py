"""Holds manifests against the JSON schemas of Kubernetes, and custom resources against the models of their projects. Called by
`gate.py`. Keeps by which schema each kind was checked."""

import json
import subprocess
from collections import defaultdict
from functools import lru_cache

import kubernetes_validate
from kubernetes_validate import utils
from ledger import none
from render import ROOT, lint, named, render, value_sets

# The oldest that Chart.yaml allows, and the newest that has schemas.
VERSIONS = ["1.27", "1.37"]
GATEWAY, PROMETHEUS = "gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1"
MODELS = {GATEWAY: "@kubernetes-models/gateway-api 2.0.0", PROMETHEUS: "@kubernetes-models/prometheus-operator 6.0.0"}

# The models pass over fields that they do not know, as the schemas of custom resources do; so here is every field that the chart may
# write, and a misspelled one is found. `*` is any name, `[]` each of a list.
FIELDS = {
    "HTTPRoute": "spec.parentRefs[].{name,namespace,sectionName,port,kind,group} spec.hostnames[] spec.rules[].timeouts.request"
    " spec.rules[].backendRefs[].{name,port}",
    "GRPCRoute": "spec.parentRefs[].{name,namespace,sectionName,port,kind,group} spec.hostnames[]"
    " spec.rules[].matches[].method.service spec.rules[].backendRefs[].{name,port}",
    "ServiceMonitor": "spec.selector.matchLabels.* spec.namespaceSelector.matchNames[] spec.podTargetLabels[]"
    " spec.endpoints[].{port,path,interval,scrapeTimeout}",
    "PrometheusRule": "spec.groups[].{name,interval} spec.groups[].rules[].{alert,expr,for,record} spec.groups[].rules[].labels.*"
    " spec.groups[].rules[].annotations.*",
}
META = "apiVersion kind metadata.{name,namespace} metadata.labels.* metadata.annotations.*"

# Each schema file is some megabytes: read once, not once a manifest.
utils.schema_contents = lru_cache(utils.schema_contents)


def fields(kind):
    """The paths that may be there."""
    for path in f"{META} {FIELDS[kind]}".split():
        head, brace, names = path.partition("{")
        yield from (head + name for name in names.rstrip("}").split(",")) if brace else [path]


def leaves(value, path=""):
    """Paths of all that is not a table or a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            free = path.endswith(("labels", "annotations", "matchLabels"))
            yield from leaves(inner, f"{path}.{'*' if free else key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path


def core(manifest):
    """Faults by the schemas of Kubernetes, of every version."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{named(manifest)} by {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{named(manifest)}: {error.message}"


def custom(manifests):
    """Faults by the models, asked all at once."""
    asked = json.dumps(manifests)
    program = ["node", str(ROOT / "target/helm/node/routes.mjs")]
    answer = subprocess.run(program, input=asked, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    for manifest, fault in zip(manifests, json.loads(answer.stdout)):
        if fault:
            yield f"{named(manifest)}: {fault}"
        unknown = set(leaves(manifest)) - set(fields(manifest["kind"]))
        yield from (f"{named(manifest)}: {path} is no field that the chart should write" for path in sorted(unknown))


def check(ledger):
    """All of them."""
    by, customs = defaultdict(int), []

    def right(manifests):
        core_ones = [m for m in manifests if m["apiVersion"] not in MODELS]
        customs.extend(m for m in manifests if m["apiVersion"] in MODELS)
        none([fault for manifest in core_ones for fault in core(manifest)])
        for manifest in manifests:
            by[manifest["apiVersion"], manifest["kind"]] += 1
        return f"{len(core_ones)} manifests, each by {' and '.join(VERSIONS)}"

    for name, values in value_sets().items():
        ledger.promise("lint", f"{name} has no warning", lambda v=values: none(lint(v)))
        ledger.promise("schemas", f"{name} is right by strict schemas", lambda v=values: right(render(v)))
    ledger.promise("schemas", "custom resources are right by their models", lambda: none(custom(customs)) or f"{len(customs)} manifests")
    return by


def told(by):
    """By which schema each kind was checked."""
    lines = [f"{'kind':<38} {'manifests':>9}  checked by"]
    for (version, kind), count in sorted(by.items()):
        model = MODELS.get(version)
        by_what = f"{model} (types), a list of fields in schemas.py (names)"
        by_what = by_what if model else f"strict JSON schemas of Kubernetes {', '.join(VERSIONS)}"
        lines.append(f"{version + ' ' + kind:<38} {count:>9}  {by_what}")
    return "\n".join(lines)
