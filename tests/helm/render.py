"""Charts and what they render to. The only file that calls Helm's engine; asserts nothing."""

import copy
from functools import lru_cache
from pathlib import Path

import helm_python as helm
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
RELEASE, NAMESPACE = "demo", "agents"


def read(path):
    """A file of the repository."""
    return (ROOT / path).read_text()


def value_sets():
    """Name -> values of each file of helm/ci."""
    return {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted(CHART.glob("ci/*.yaml"))}


def merged(values, changes):
    """Values with changes, deep; lists are replaced."""
    out = copy.deepcopy(values)
    for key, value in changes.items():
        deep = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if deep else copy.deepcopy(value)
    return out


@lru_cache
def chart(folder=CHART):
    """The loaded chart."""
    return helm.Chart.load(folder)


def render(values, name=RELEASE, folder=CHART):
    """The manifests, in order; each knows its template by `_from`."""
    out = []
    for template, text in chart(folder).render(values, name=name, namespace=NAMESPACE).items():
        if template.endswith(".txt"):
            continue
        for manifest in yaml.safe_load_all(text):
            if manifest:
                out.append(manifest)
    return out


def notes(values):
    """What is told after the install."""
    texts = chart().render(values, name=RELEASE, namespace=NAMESPACE)
    return texts["runplane/templates/NOTES.txt"]


def refusal(values, folder=CHART):
    """Why these values are refused, or None."""
    try:
        # As an install does: the schema, then the templates.
        chart(folder).validate_schema(values)
        chart(folder).render(values, name=RELEASE, namespace=NAMESPACE)
    except helm.HelmError as error:
        return str(error)
    return None


def lint(values):
    """Whatever `helm lint --strict` has to say that is more than a wish."""
    report = helm.lint(CHART, values, strict=True)
    return report["errors"] + [m["error"] for m in report["messages"] if m["severity"] > 1]


def engine():
    """Version of Helm."""
    return helm.helm_sdk_version()


def is_hook(manifest):
    """Whether it comes and goes with a hook."""
    return "helm.sh/hook" in (manifest["metadata"].get("annotations") or {})


def pods(manifests):
    """(manifest, metadata of the pod, spec of the pod) of everything that starts pods."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest, manifest["metadata"], manifest["spec"]
        elif manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield manifest, manifest["spec"]["template"]["metadata"], manifest["spec"]["template"]["spec"]


def named(manifest):
    """How a fault names it."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests, kind):
    """All of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]
