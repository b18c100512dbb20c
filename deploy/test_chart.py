"""The Helm chart: linted and rendered by Helm itself (its library, from a wheel), what comes out by Kubernetes' own schemas, its rules and
those of the autoscaler by promtool. No cluster has seen it. How to run: test_deploy.py.
"""

import re
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

from chart import DEFAULTS, FOREIGN, HERE, KUBERNETES, examples, quiet, rendered
from test_deploy import BUILT, ROOT, run, scratch


def paths(values, before=""):
    """Names of values, as deep as the chart gives them a meaning of its own."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in ("podSecurityContext", "securityContext", "labels"):
            if before or key not in ("resources",):
                yield from paths(value, f"{before}{key}.")
            else:
                yield from (f"{key}.{each}" for each in value)
        else:
            yield before + key


class Linted(unittest.TestCase):
    def test_helm_lint_is_content(self):
        for name, values in examples():
            for version in KUBERNETES:
                with self.subTest(values=name, kubernetes=version), quiet():
                    report = lint(HERE, values, strict=True, kube_version=f"v{version}.0")
                    self.assertEqual(report["errors"], [])
                    # information alone: that there is no icon
                    self.assertLessEqual({each["severity"] for each in report["messages"]}, {1}, report)

    def test_kubernetes_takes_what_is_rendered(self):
        for name, values in examples():
            for file, resource in rendered(values):
                if resource["kind"] in FOREIGN:
                    continue
                for version in KUBERNETES:
                    with self.subTest(values=name, file=file, kind=resource["kind"], kubernetes=version):
                        kubernetes_validate.validate(resource, version, strict=True)

    def test_the_packed_chart_is_the_same(self):
        # links into deploy/ become files
        with tempfile.TemporaryDirectory() as folder, quiet():
            archive = Path(Chart.load(HERE).save(folder))
            values = yaml.safe_load((HERE / "ci/gpu.yaml").read_text())
            self.assertEqual(rendered(values, archive), rendered(values))

    def test_every_value_is_documented_and_in_the_schema(self):
        names = list(paths(DEFAULTS))
        self.assertGreater(len(names), 60)
        readme = (HERE / "README.md").read_text()
        documented = set(re.findall(r"`([\w.]+)`", " ".join(re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE))))
        self.assertEqual(documented, set(names))
        with quiet():
            schema = Chart.load(HERE).schema
        for name in names:
            at = schema
            for key in name.split("."):
                at = at.get("properties", at)
                self.assertTrue(key in at or at.get("type") == "object", f"{name} is not in the schema")
                at = at.get(key, {})


class Refused(unittest.TestCase):
    def refused(self, why, values):
        with self.subTest(why=why), self.assertRaisesRegex(Exception, why):
            rendered(values)

    def test_what_cannot_work_is_not_rendered(self):
        config = DEFAULTS["config"]
        self.refused("bogus", {"bogus": 1})
        self.refused("does not match pattern", {"config": "[server]"})
        self.refused("is not 0, but the configuration", {"gpu": {"count": 1}})
        self.refused("gpu.count is 0", {"config": config + '[enhancer]\nprovider = "cuda"\n'})
        self.refused("listens on no such port", {"ports": {"http": 8081}})
        self.refused("listens on no such port", {"ports": {"admin": 9091}})
        self.refused("listens on loopback", {"config": config.replace("0.0.0.0:8080", "127.0.0.1:8080")})
        self.refused("has no token_file", {"networkPolicy": {"enabled": False}})
        token = config.replace("unprotected = true", 'token_file = "/etc/acuity-secrets/a/token"')
        self.refused("Prometheus would get nothing", {"config": token, "serviceMonitor": {"enabled": True}})
        self.refused("no autoscaling", {"kind": "DaemonSet", "autoscaling": {"enabled": True}})
        self.refused("above maxReplicas", {"autoscaling": {"enabled": True, "minReplicas": 30}})
        self.refused("would be cut off", {"drain": {"terminationGracePeriodSeconds": 29}})
        longer = config.replace("[admin]", "drain_seconds = 60\n[admin]")
        self.refused("below 70 s", {"config": longer})
        self.refused("names no Secret", {"nodes": {"enabled": True}})
        self.refused("another port's already", {"nodes": {"enabled": True, "secret": "a", "port": 9090}})
        for written in ("[nodes]", "[nodes.tls]", "  [ nodes ]"):
            self.refused("which nodes.enabled writes", {"config": f"{config}\n{written}\n"})
        self.refused("pattern", {"nodes": {"address": "any"}})
        store, stored = {"url": "s3://models", "secret": "a"}, {"enabled": True}
        self.refused("names no Secret with", {"models": {"store": {"url": "s3://models"}}, "storage": stored})
        self.refused("storage is off", {"models": {"store": store}})
        both = {"store": store, "existingClaim": "b"}
        self.refused("from one of them", {"models": both, "storage": stored})
        written = {"config": f"{config}\n[models]\n", "models": {"store": store}, "storage": stored}
        self.refused("which models.store writes", written)
        self.refused("pattern", {"models": {"store": {"url": "file:///models"}}})
        pool = {"enabled": True, "workerSecret": "a", "edgeSecret": "b"}
        self.refused("names no Secret", {"workers": {"pool": {**pool, "edgeSecret": ""}}})
        self.refused("which workers.pool.enabled writes", {"config": config + "[workers]\n", "workers": {"pool": pool}})
        self.refused("which the chart writes", {"workers": {"pool": {**pool, "config": "[workers.listen]\n"}}})
        self.refused("whether there is a card", {"workers": {"pool": {**pool, "gpu": {"count": 1}}}})
        self.refused("are the same", {"workers": {"pool": {**pool, "port": 9091}}})
        grown = {"enabled": True, "minReplicas": 9}
        self.refused("is above maxReplicas", {"workers": {"pool": {**pool, "autoscaling": grown}}})
        costs = '[enhancer]\ncost_file = "/var/lib/acuity/costs.json"\n'
        self.refused("and that is off", {"workers": {"pool": {**pool, "config": costs}}})
        self.refused("missing property 'memory'", {"resources": {"limits": {"memory": None}}})
        self.refused("", {"kind": "Job"})
        self.refused("", {"replicas": -1})

    def test_what_is_just_enough_is_rendered(self):
        rendered({"drain": {"terminationGracePeriodSeconds": 30}})


class Rendered(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = {name: [each for _, each in rendered(values)] for name, values in examples()}

    def of(self, name, kind, which=0):
        return [each for each in self.all[name] if each["kind"] == kind][which]

    def pods(self):
        kinds = {"defaults": "Deployment", "gpu": "StatefulSet", "daemonset": "DaemonSet", "pool": "Deployment"}
        self.assertEqual(set(kinds), set(self.all))
        for name, kind in kinds.items():
            yield name, self.of(name, kind)["spec"]["template"]

    def test_pods_keep_to_the_restricted_standard(self):
        for name, pod in self.pods():
            spec = pod["spec"]
            self.assertIs(spec["automountServiceAccountToken"], False)
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for container in spec["initContainers"] + spec["containers"]:
                with self.subTest(values=name, container=container["name"]):
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertIs(context["readOnlyRootFilesystem"], True)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
            writable = [each for each in spec["volumes"] if "hostPath" in each]
            self.assertEqual(writable, [])

    def test_probes_ask_the_admin_port_and_wait_long_enough(self):
        # measured: 7 s; a card's first start compiles for minutes
        for name, least in (("defaults", 100), ("gpu", 1000)):
            container = dict(self.pods())[name]["spec"]["containers"][0]
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            self.assertEqual(ports["admin"], 9090)
            for probe, path in (
                ("startupProbe", "/readyz"),
                ("readinessProbe", "/readyz"),
                ("livenessProbe", "/livez"),
            ):
                self.assertEqual(container[probe]["httpGet"], {"path": path, "port": "admin"})
            start = container["startupProbe"]
            self.assertGreaterEqual(start["periodSeconds"] * start["failureThreshold"], least)

    def test_the_configuration_that_ships_has_no_faults(self):
        file = scratch(self) / "acuity.toml"
        file.write_text(self.of("defaults", "ConfigMap")["data"]["acuity.toml"])
        status, said = run(BUILT / "acuity", "check", "--config", file, cwd=ROOT)
        self.assertEqual(status, 0, said)

    def test_a_changed_configuration_is_a_roll_out(self):
        def sum_of(values):
            (pod,) = (each for _, each in rendered(values) if each["kind"] == "Deployment")
            return pod["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        changed = DEFAULTS["config"].replace("origin.example", "other.example")
        self.assertNotEqual(sum_of({}), sum_of({"config": changed}))
        self.assertEqual(sum_of({}), sum_of({"replicas": 5}))

    def test_everything_selects_the_pods_and_nothing_else(self):
        for name, pod in self.pods():
            labels = pod["metadata"]["labels"].items()
            for resource in self.all[name]:
                if resource["metadata"]["name"] == "edge-acuity-workers":
                    continue  # below
                spec = resource.get("spec", {})
                selector = spec.get("selector") or spec.get("podSelector") or {}
                selector = selector.get("matchLabels", selector)
                if resource["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
                    self.assertLessEqual(selector.items(), labels, resource["kind"])
                    self.assertEqual(len(selector), 2)
        monitor = self.of("gpu", "ServiceMonitor")["spec"]
        chosen = [
            each
            for each in self.all["gpu"]
            if each["kind"] == "Service"
            and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        ]
        self.assertEqual([each["metadata"]["name"] for each in chosen], ["edge-acuity-nodes"], "scraped once")
        ports = [each["name"] for each in chosen[0]["spec"]["ports"]]
        self.assertIn(monitor["endpoints"][0]["port"], ports)
        self.assertEqual(monitor["endpoints"][0]["relabelings"][0]["replacement"], "acuity", "what the rules ask for")
        shown = monitor["endpoints"][0]["authorization"]["credentials"]
        token = f"/etc/acuity-secrets/{shown['name']}/{shown['key']}"
        self.assertIn(f'token_file = "{token}"', self.of("gpu", "ConfigMap")["data"]["acuity.toml"])
        self.assertEqual(self.of("gpu", "StatefulSet")["spec"]["serviceName"], "edge-acuity-nodes")

    def test_names_inside_stay_out_of_reach(self):
        egress = self.of("defaults", "NetworkPolicy")["spec"]["egress"]
        world = [to["ipBlock"] for rule in egress for to in rule.get("to", []) if "ipBlock" in to]
        kept = {each for block in world for each in block["except"]}
        for inside in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"):
            self.assertIn(inside, kept)
        closed = self.of("daemonset", "NetworkPolicy")["spec"]["egress"]
        self.assertFalse([to for rule in closed for to in rule.get("to", []) if "ipBlock" in to])
