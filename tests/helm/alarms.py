"""Checks the dashboard, the alarms and their runbooks: every expression parses by a PromQL parser with types, asks only for metrics
and labels that exist, and every alarm has its section. Called by `gate.py`."""

import json
import re
from pathlib import Path

import promql_parser
import yaml
from ledger import none
from render import CHART, merged, of_kind, read, render

# Labels that Prometheus adds.
SCRAPED = {"job", "instance", "namespace", "pod", "component"}
# Metrics of Prometheus itself.
OWN = {"up": ("gauge", set())}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
RUNBOOKS = "docs/runbooks.md"


def metrics():
    """Name in an expression -> (type, labels)."""
    found = dict(OWN)
    for line in read("tests/helm/metrics.txt").splitlines():
        if line.strip() and not line.startswith("#"):
            name, kind, *labels = line.split()
            mine = set(labels[0].split(",")) if labels else set()
            for suffix in SUFFIXES[kind]:
                found[name + suffix] = (kind, mine | ({"le"} if suffix == "_bucket" else set()))
    return found


def the_list_is_the_page():
    """Names and labels of metrics.txt are those of docs/telemetry.md."""
    page, listed = {}, {}
    for name, labels in re.findall(r"^\| `[\w.]+` \| `(\w+)` \| `[^`]+` \| ([^|]*)\|", read("docs/telemetry.md"), re.M):
        page[name] = {label.replace(".", "_") for label in re.findall(r"`([\w.]+)`", labels)}
    for line in read("tests/helm/metrics.txt").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, *labels = line.split()
            listed[name] = set(labels[0].split(",")) if labels else set()
    other = [name for name in page.keys() | listed.keys() if page.get(name) != listed.get(name)]
    none(f"{name}: {page.get(name)} on the page, {listed.get(name)} in the list" for name in other)
    return f"{len(page)} metrics"


def rules():
    """Every alarm."""
    return [rule for group in yaml.safe_load(read("helm/alerts/runplane.yaml"))["groups"] for rule in group["rules"]]


def dashboard():
    """The dashboard."""
    return json.loads(read("helm/dashboards/runplane.json"))


def expressions():
    """(where, expression) of all."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$job", "any")
            yield f"panel {panel['title']}", expr


class Reader:
    """Walks an expression and keeps what is wrong in it."""

    def __init__(self, where, known):
        self.where, self.known, self.faults, self.names = where, known, [], set()
        self.counting = []

    def before(self, node):
        """Called before what is within a node."""
        kind = type(node).__name__
        if kind == "Call":
            self.counting.append(node.func.name)
        if kind == "VectorSelector":
            self.selector(node)
        if kind == "AggregateExpr" and node.modifier:
            self.grouped(node)

    def after(self, node):
        """Called after it."""
        if type(node).__name__ == "Call":
            self.counting.pop()

    def fault(self, what):
        """Keeps one."""
        self.faults.append(f"{self.where}: {what}")

    def selector(self, node):
        """A metric must be known, with these labels, and counted as what it is."""
        self.names.add(node.name)
        if node.name not in self.known:
            self.fault(f"{node.name} is no metric of ours")
            return
        kind, labels = self.known[node.name]
        wrong = {matcher.name for matcher in node.matchers.matchers} - labels - SCRAPED
        if wrong:
            self.fault(f"{node.name} has no label {sorted(wrong)}")
        counts = kind in ("counter", "histogram")
        rated = {"rate", "increase", "resets"} & set(self.counting)
        if counts != bool(rated):
            self.fault(f"{node.name} is a {kind}, and {'is not rated' if counts else 'is rated'}")

    def grouped(self, node):
        """What is grouped by must be a label of one of the metrics within."""
        inner = Reader(self.where, self.known)
        promql_parser.walk(node.expr, inner.before, inner.after)
        labels = set().union(*(self.known[name][1] for name in inner.names if name in self.known), SCRAPED)
        wrong = set(node.modifier.labels) - labels
        if wrong:
            self.fault(f"grouped by {sorted(wrong)}, which {sorted(inner.names)} do not have")


def all_parse():
    """Every expression."""
    known, faults, used = metrics(), [], set()
    for where, text in expressions():
        try:
            tree = promql_parser.parse(text)
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        reader = Reader(where, known)
        promql_parser.walk(tree, reader.before, reader.after)
        faults += reader.faults
        used |= reader.names
    whole = lambda names: {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    unused = whole(known) - whole(used) - OWN.keys()
    none([*faults, *(f"{name} is shown nowhere" for name in sorted(unused))])
    return f"{len(list(expressions()))} expressions, {len(used)} series"


def sections():
    """Title -> text of each section of the runbooks."""
    parts = re.split(r"^## (.+)$", read(RUNBOOKS), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def every_alarm_has_its_runbook():
    """And every runbook its alarm; both are whole."""
    written, named, faults = sections(), [rule["alert"] for rule in rules()], []
    faults += [f"{name} has no section in {RUNBOOKS}" for name in named if name not in written]
    faults += [f"{name} is a section of {RUNBOOKS} without an alarm" for name in written if name not in named]
    assert len(named) == len(set(named)), "an alarm is there twice"
    for name, text in written.items():
        faults += [f"{RUNBOOKS} {name}: no word of {word}" for word in ("**Means**", "**Look**", "**Do**") if word not in text]
    for rule in rules():
        notes = rule["annotations"]
        if notes["runbook_url"] != f"{RUNBOOKS}#{rule['alert'].lower()}":
            faults.append(f"{rule['alert']} links to {notes['runbook_url']}")
        if rule["labels"].get("severity") not in ("critical", "warning") or not notes.get("summary"):
            faults.append(f"{rule['alert']} has no severity or no summary")
    anchors = {title.lower() for title in written}
    faults += [f"{RUNBOOKS} links to {link}" for link in re.findall(r"\]\(#([^)]+)\)", read(RUNBOOKS)) if link not in anchors]
    shown = {panel["title"].split(",")[0] for panel in dashboard()["panels"]}
    panels = re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", " ".join(read(RUNBOOKS).split()))
    faults += [f"{RUNBOOKS} names the panel {panel}, which is not there" for panel in panels if panel not in shown | {"Last State"}]
    none(faults)
    return f"{len(named)} alarms"


def the_dashboard_is_whole():
    """Ids are there once, panels do not lie on each other, all ask the chosen source for the chosen installation."""
    panels, taken, faults = dashboard()["panels"], {}, []
    assert len({panel["id"] for panel in panels}) == len(panels), "an id is there twice"
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    faults.append(f"{panel['title']} lies on {other}")
        assert place["x"] + place["w"] <= 24, panel["title"]
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}" or 'job=~"$job"' not in target["expr"]:
                faults.append(f"{panel['title']} asks for more than was chosen")
        if panel["type"] != "row" and not (panel["description"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]):
            faults.append(f"{panel['title']} has no description, target or unit")
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert variables == {"datasource", "job"}, variables
    none(sorted(set(faults)))
    return f"{len(panels)} panels"


def the_chart_ships_them():
    """Whole, and with the address of the runbooks."""
    on = {"metrics": {"rules": {"enabled": True, "runbooks": "https://wiki/x"}, "dashboard": {"enabled": True}}}
    manifests = render(merged({}, on))
    shipped = [rule for group in of_kind(manifests, "PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]]
    assert [rule["expr"] for rule in shipped] == [rule["expr"] for rule in rules()], "other expressions"
    links = [rule["annotations"]["runbook_url"] for rule in shipped]
    assert all(link.startswith("https://wiki/x#") for link in links), links
    config = next(m for m in of_kind(manifests, "ConfigMap") if "runplane.json" in m["data"])
    assert json.loads(config["data"]["runplane.json"]) == dashboard(), "another dashboard"
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1", config["metadata"]["labels"]
    assert {path.name for path in Path(CHART).glob("*/runplane.*")} == {"runplane.json", "runplane.yaml"}


def check(ledger):
    """All of them."""
    for name, promise in [
        ("the list of metrics is that of docs/telemetry.md", the_list_is_the_page),
        ("every expression parses, and asks for what there is", all_parse),
        ("every alarm has its runbook", every_alarm_has_its_runbook),
        ("the dashboard is whole", the_dashboard_is_whole),
        ("the chart ships alarms and dashboard", the_chart_ships_them),
    ]:
        ledger.promise("alarms", name, promise)
