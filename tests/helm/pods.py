"""What every rendering promises beyond its schemas: secrets, rights, probes, names that meet. Called by `gate.py` for each set."""

import base64
import re
from collections import Counter

from ledger import none
from render import NAMESPACE, is_hook, merged, named, of_kind, pods, render, value_sets

SECRETS = "/run/secrets/runplane/"
INLINE = ("url", "value")
SELECTOR = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}


def inline_secrets(values):
    """Secrets that are written in the values."""
    given = values.get("secrets", {})
    groups = [*(g for name, g in given.items() if name != "providers"), *given.get("providers", {}).values()]
    return [group[key] for group in groups for key in INLINE if group.get(key)]


def no_secret_shows(manifests, values):
    """Secrets stand in Secrets alone, plain or coded."""
    secrets = inline_secrets(values)
    shown = [text for s in secrets for text in (s, base64.b64encode(s.encode()).decode())]
    open_ones = [m for m in manifests if m["kind"] != "Secret"]
    none(f"{named(m)} shows {text}" for m in open_ones for text in shown if text in str(m))
    kept = [base64.b64decode(data).decode() for m in of_kind(manifests, "Secret") for data in m["data"].values()]
    none(f"no Secret keeps {secret}" for secret in secrets if secret not in kept)
    assert bool(kept) == bool(secrets), "a Secret without a secret of the values"
    return f"{len(secrets)} secrets {len(open_ones)} other manifests"


def secret_files_are_there(manifests, _values):
    """Each variable that names a file of a secret finds it, read-only and for the group alone."""
    count = 0
    for manifest, _, spec in pods(manifests):
        there, mounts = set(), {}
        for volume in spec.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                there |= {SECRETS + item["path"] for item in source["secret"]["items"]}
            assert volume.get("projected", {}).get("defaultMode", 0o440) == 0o440, f"{named(manifest)}: mode of {volume['name']}"
        for container in spec["containers"]:
            mounts = {m["name"]: m for m in container.get("volumeMounts", [])}
            asked = {e["value"] for e in container.get("env", []) if e["name"].endswith("_FILE")}
            assert asked == there, f"{named(manifest)}: files {sorted(there)}, asked for {sorted(asked)}"
            assert not asked or mounts["secrets"]["readOnly"], f"{named(manifest)}: secrets can be written"
            count += len(asked)
    return f"{count} files"


def no_rights(manifests, _values):
    """Every pod is nobody, writes to volumes alone, has no token and no variables of services."""
    count = 0
    for manifest, _, spec in pods(manifests):
        count += 1
        pod, where = spec["securityContext"], named(manifest)
        assert pod["runAsNonRoot"] and pod["runAsUser"] == 65532 == pod["fsGroup"], f"{where}: {pod}"
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: {pod}"
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, f"{where}: token or links"
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"], f"{where}: {own}"
            assert own["capabilities"] == {"drop": ["ALL"]}, f"{where}: {own}"
            assert {"requests", "limits"} <= container["resources"].keys(), f"{where}: resources"
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False, f"{named(account)} mounts a token"
    return f"{count} pods"


def volumes_meet(manifests, _values):
    """What is mounted is there, and what is there is mounted; no variable and no port is there twice."""
    for manifest, _, spec in pods(manifests):
        there = [volume["name"] for volume in spec.get("volumes", [])]
        mounted = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", [])}
        assert len(there) == len(set(there)) and set(there) == mounted, f"{named(manifest)}: {there} and {mounted}"
        for container in spec["containers"]:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            names = [variable["name"] for variable in container.get("env", [])]
            for one in (paths, names):
                assert len(one) == len(set(one)), f"{named(manifest)}: one is there twice: {one}"


def probed(manifests, values):
    """Servers and workers are looked at where the configuration opens the admin port, and get the time that they need to end."""
    configs = [m for m in of_kind(manifests, "ConfigMap") if "runplane.toml" in m["data"]]
    server = {"drain_notice_seconds": 5, "drain_seconds": 25, **values.get("config", {}).get("server", {})}
    drain = server["drain_notice_seconds"] + server["drain_seconds"]
    for config in configs:
        assert re.search(r'listen = ".+:9090"', config["data"]["runplane.toml"]), f"{named(config)}: no admin port"
    for manifest, _, spec in pods(manifests):
        if manifest["kind"] not in ("Deployment", "StatefulSet"):
            continue
        container = spec["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"api": 8080, "admin": 9090}, f"{named(manifest)}: {ports}"
        listen = next(e["value"] for e in container["env"] if e["name"] == "RUNPLANE__SERVER__LISTEN")
        assert listen.endswith(":8080"), listen
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "admin"}, f"{named(manifest)}: {probe}"
        grace = spec["terminationGracePeriodSeconds"]
        assert grace > drain + 5, f"{named(manifest)}: {grace} s to end, of which {drain} to drain"


def selected(labels, selector):
    """Whether the selector takes these labels."""
    return selector.items() <= labels.items()


def selectors_meet(manifests, values):
    """Workloads, services, budgets, policies and the monitor select what they should, and services no job."""
    all_pods = list(pods(manifests))
    serving = {named(m): meta["labels"] for m, meta, _ in all_pods if m["kind"] in ("Deployment", "StatefulSet")}
    others = {named(m): meta["labels"] for m, meta, _ in all_pods if named(m) not in serving}
    for manifest, meta, _ in all_pods:
        if named(manifest) in serving:
            match = manifest["spec"]["selector"]["matchLabels"]
            assert selected(meta["labels"], match), f"{named(manifest)} does not select its own pods"
            assert set(match) == SELECTOR, f"{named(manifest)}: selectors are for ever, and this has {sorted(match)}"
            mine = [name for name, labels in serving.items() if selected(labels, match)]
            assert mine == [named(manifest)], f"{named(manifest)} selects {mine}"
    for service in of_kind(manifests, "Service"):
        match = service["spec"]["selector"]
        takes = [name for name, labels in serving.items() if selected(labels, match)]
        metrics = service["metadata"]["name"].endswith("-metrics")
        want = list(serving) if metrics else [name for name in serving if not name.endswith("-worker")]
        assert takes == want, f"{named(service)} takes {takes}"
        strangers = [name for name, labels in others.items() if selected(labels, match)]
        assert not strangers, f"{named(service)} takes {strangers}"
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        match = budget["spec"]["selector"]["matchLabels"]
        assert len([1 for labels in serving.values() if selected(labels, match)]) == 1, named(budget)
    for policy in of_kind(manifests, "NetworkPolicy"):
        match = policy["spec"]["podSelector"]["matchLabels"]
        pool = others if is_hook(policy) else serving
        assert any(selected(labels, match) for labels in pool.values()), f"{named(policy)} is for nobody"
    for monitor in of_kind(manifests, "ServiceMonitor"):
        match = monitor["spec"]["selector"]["matchLabels"]
        takes = [m for m in of_kind(manifests, "Service") if selected(m["metadata"]["labels"], match)]
        assert [m["spec"]["ports"][0]["name"] for m in takes] == [monitor["spec"]["endpoints"][0]["port"]], named(monitor)
    embedded = values.get("mode", "embedded") == "embedded"
    assert [m["kind"] for m, *_ in all_pods if named(m) in serving].count("StatefulSet") == int(embedded), "the kind of workload"
    return f"{len(serving)} workloads"


def backends_meet(manifests, _values):
    """Ingress, routes and autoscalers point to what is there."""
    services = {m["metadata"]["name"]: m for m in of_kind(manifests, "Service")}
    kinds = {named(m) for m in manifests}
    api = [service["spec"]["ports"][0] for name, service in services.items() if not name.endswith("-metrics")]
    assert [(port["name"], port["appProtocol"]) for port in api] in ([("api", "kubernetes.io/h2c")], [("api", "https")]), api
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                to = path["backend"]["service"]
                assert to["port"]["name"] == services[to["name"]]["spec"]["ports"][0]["name"], f"{named(ingress)}: {to}"
    for route in of_kind(manifests, "HTTPRoute") + of_kind(manifests, "GRPCRoute"):
        for to in (to for rule in route["spec"]["rules"] for to in rule["backendRefs"]):
            assert to["port"] == services[to["name"]]["spec"]["ports"][0]["port"], f"{named(route)}: {to}"
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert f"{target['kind']}/{target['name']}" in kinds, f"{named(scaler)}: {target}"
        workload = next(m for m in manifests if named(m) == f"{target['kind']}/{target['name']}")
        assert "replicas" not in workload["spec"], f"{named(workload)} sets replicas beside its autoscaler"


def references(spec):
    """(kind, name) of all that a pod needs of its namespace."""
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        for source in volume.get("projected", {}).get("sources", []):
            yield "Secret", source["secret"]["name"]


def weight(manifest):
    """When the hook makes it."""
    return int(manifest["metadata"]["annotations"].get("helm.sh/hook-weight", "0"))


def hook_has_what_it_needs(manifests, values):
    """The job's things come with the hook and before it; the others' things are no part of it, for it takes them away again."""
    hooks = {(m["kind"], m["metadata"]["name"]): m for m in manifests if is_hook(m)}
    normal = {(m["kind"], m["metadata"]["name"]): m for m in manifests if not is_hook(m)}
    text, needed = str(values), 0
    for manifest, _, spec in pods(manifests):
        for reference in references(spec):
            needed += 1
            external = reference[1] == "default" or f"'{reference[1]}'" in text
            where = f"{named(manifest)} needs {'/'.join(reference)}"
            if manifest["kind"] == "Job":
                assert external or reference in hooks, f"{where}, which is not there yet when the hook runs"
                assert external or weight(hooks[reference]) < weight(manifest), f"{where}, which comes no earlier"
            elif manifest["kind"] != "Pod":
                assert external or reference in normal, f"{where}, which is not there"
    jobs = of_kind(manifests, "Job")
    migrates = values.get("mode") == "postgres" and values.get("migration", {}).get("enabled", True)
    assert len(jobs) == int(migrates), f"{len(jobs)} jobs"
    for job in jobs:
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade", named(job)
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert container["args"][0] == "migrate", container["args"]
        assert "RUNPLANE__STORE__URL_FILE" in [e["name"] for e in container["env"]], "the job does not know the store"
    for config in (m for m in of_kind(manifests, "ConfigMap") if "runplane.toml" in m["data"]):
        assert f"migrate = {str(not migrates).lower()}" in config["data"]["runplane.toml"], f"{named(config)}: store.migrate"
    return f"{needed} references"


def named_well(manifests, _values):
    """All have the conventional labels, the namespace, and a name that is there once."""
    names = [(m["apiVersion"], named(m)) for m in manifests]
    assert len(names) == len(set(names)), f"one is there twice: {sorted(names)}"
    for manifest in manifests:
        meta = manifest["metadata"]
        assert meta["namespace"] == NAMESPACE, named(manifest)
        want = {*(f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "managed-by")), "helm.sh/chart"}
        assert want <= meta["labels"].keys(), f"{named(manifest)}: {sorted(meta['labels'])}"
    return f"{len(manifests)} manifests"


def checksums(manifests, values):
    """Another configuration and another secret are other pods; another number of them is not."""
    def sums(changes):
        found = {}
        for manifest, meta, _ in pods(render(merged(values, changes))):
            if manifest["kind"] in ("Deployment", "StatefulSet"):
                found[named(manifest)] = {k: v for k, v in meta["annotations"].items() if k.startswith("checksum/")}
        return found

    now = sums({})
    assert all(s.get("checksum/config") for s in now.values()), now
    other = sums({"config": {"retention": {"live_days": 7}}})
    assert all(other[name] != now[name] for name in now), "another configuration changes no pod"
    assert sums({"service": {"port": 8081}}) == now, "another port of the service changes pods"
    if inline_secrets(values):
        key = "pepper" if values.get("mode") == "postgres" else "providers"
        other = {"pepper": {"value": "another-pepper-of-all"}, "providers": {"openai": {"value": "sk-other"}}}
        change = {key: other[key]}
        other = sums({"secrets": change})
        assert all(other[name] != now[name] for name in now), "another secret changes no pod"
    return f"{len(now)} workloads"


PROMISES = [
    ("shows no secret outside of Secrets", no_secret_shows),
    ("finds each secret in a file", secret_files_are_there),
    ("has no rights", no_rights),
    ("mounts what is there", volumes_meet),
    ("is probed, and gets time to end", probed),
    ("selects what it should", selectors_meet),
    ("points to what is there", backends_meet),
    ("gives its hook what it needs", hook_has_what_it_needs),
    ("names and labels all", named_well),
    ("starts pods again for a new configuration", checksums),
]


def total(seen):
    """What was looked at, over all sets."""
    sums = Counter()
    for number, what in re.findall(r"(\d+) (\D+)", " ".join(seen)):
        sums[what.strip()] += int(number)
    return ", ".join([f"{len(seen)} sets", *(f"{count} {what}" for what, count in sums.items())])


def check(ledger):
    """Every promise for every set of values."""
    for what, promise in PROMISES:
        def all_sets(promise=promise):
            faults, seen = [], []
            for name, values in value_sets().items():
                try:
                    seen.append(promise(render(values), values) or "")
                except AssertionError as error:
                    faults.append(f"{name}: {error}")
            none(faults)
            return total(seen)

        ledger.promise("pods", f"each rendering {what}", all_sets)
