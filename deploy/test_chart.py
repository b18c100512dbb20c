"""The Helm chart: linted and rendered by Helm itself (its library, from a wheel), what comes out by Kubernetes' own schemas, its rules and
those of the autoscaler by promtool. No cluster has seen it. How to run: test_deploy.py.
"""

import contextlib
import os
import re
import tempfile
import tomllib
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

from test_deploy import BUILT, DEPLOY, ROOT, promtool, run, scratch
from test_observability import names_in, queries_of_board

HERE = DEPLOY / "helm/acuity"
ADAPTER = DEPLOY / "helm/prometheus-adapter.yaml"
# The oldest that Chart.yaml allows, and a new one that the schemas know.
KUBERNETES = ("1.30", "1.34")
# Resources of Prometheus' operator, of which Kubernetes knows nothing.
FOREIGN = ("ServiceMonitor", "PrometheusRule")
DEFAULTS = yaml.safe_load((HERE / "values.yaml").read_text())


@contextlib.contextmanager
def quiet():
    """Helm tells of each link in the chart, on the process' own stderr."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def rendered(values, chart=HERE):
    """What Helm makes of the chart with these values: file and resource."""
    with quiet():
        loaded = Chart.load(chart)
        loaded.validate_schema(values)
        files = loaded.render(values, name="edge", namespace="video")
    return [
        (name, each)
        for name, text in sorted(files.items())
        if not name.endswith(".txt")
        for each in yaml.safe_load_all(text)
        if each
    ]


def examples():
    """The chart as it is, and with each of the examples' values."""
    yield "defaults", {}
    for file in sorted((HERE / "ci").glob("*.yaml")):
        yield file.stem, yaml.safe_load(file.read_text())


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

    def test_nodes_find_each_other_and_nobody_else_finds_them(self):
        config = tomllib.loads(self.of("gpu", "ConfigMap")["data"]["acuity.toml"])
        nodes = config["nodes"]
        services = {each["metadata"]["name"]: each for each in self.all["gpu"] if each["kind"] == "Service"}
        service = services["edge-acuity-nodes"]
        (member,) = nodes["members"]
        self.assertEqual(member, f"{service['metadata']['name']}.video.svc:7070")
        self.assertEqual((nodes["discover"], nodes["listen"], nodes["hot_share"]), (True, "0.0.0.0:7070", 0.4))
        self.assertEqual(service["spec"]["clusterIP"], "None")
        # before its models are loaded a node has to find itself
        self.assertIs(service["spec"]["publishNotReadyAddresses"], True)
        self.assertEqual(service["spec"]["ipFamilyPolicy"], "SingleStack")
        self.assertIn({"name": "nodes", "port": 7070, "targetPort": "nodes"}, service["spec"]["ports"])
        self.assertNotIn("nodes", str(services["edge-acuity"]["spec"]["ports"]), "players do not come in there")
        pod = self.of("gpu", "StatefulSet")["spec"]["template"]
        for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
            mounted = [each["mountPath"] for each in container["volumeMounts"]]
            self.assertEqual(mounted.count("/etc/acuity-secrets/acuity-nodes"), 1)
        self.assertEqual(nodes["secret_file"], "/etc/acuity-secrets/acuity-nodes/key")
        (volume,) = (each for each in pod["spec"]["volumes"] if each["name"] == "secret-acuity-nodes")
        self.assertEqual(volume["secret"], {"secretName": "acuity-nodes", "defaultMode": 0o440})
        ports = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0]["ports"]}
        self.assertEqual(ports["nodes"], 7070)
        policy = self.of("gpu", "NetworkPolicy")["spec"]
        peers = [{"podSelector": policy["podSelector"]}]
        self.assertLessEqual(policy["podSelector"]["matchLabels"].items(), pod["metadata"]["labels"].items())
        into = [each for each in policy["ingress"] if any(port["port"] == "nodes" for port in each["ports"])]
        self.assertEqual([each["from"] for each in into], [peers])
        out = [each for each in policy["egress"] if any(port["port"] == 7070 for port in each["ports"])]
        self.assertEqual([each["to"] for each in out], [peers])

    def test_pods_are_no_nodes_unless_they_are_told(self):
        for name in ("defaults", "daemonset"):
            self.assertNotIn("nodes", tomllib.loads(self.of(name, "ConfigMap")["data"]["acuity.toml"]))
            for resource in self.all[name]:
                self.assertNotIn("7070", str(resource))

    def test_the_nodes_section_has_no_faults(self):
        folder = scratch(self)
        secret = folder / "key"
        secret.touch(mode=0o600)
        secret.write_text("nobody else is a node of this region")
        for address, listens in (("0.0.0.0", "0.0.0.0:7070"), ("::", "[::]:7070")):
            # a secret that is mounted already is not mounted twice
            values = {
                "nodes": {"enabled": True, "secret": "a", "address": address, "settings": "hot_share = 0.4"},
                "secrets": [{"name": "a"}, {"name": "b"}],
            }
            found = {each["kind"]: each for _, each in rendered(values)}
            names = [each["name"] for each in found["Deployment"]["spec"]["template"]["spec"]["volumes"]]
            self.assertEqual(names, ["config", "tmp", "secret-a", "secret-b"])
            text = found["ConfigMap"]["data"]["acuity.toml"]
            self.assertEqual(tomllib.loads(text)["nodes"]["listen"], listens)
            self.assertIn('"/etc/acuity-secrets/a/key"', text)
            file = folder / "acuity.toml"
            file.write_text(text.replace("/etc/acuity-secrets/a/key", str(secret)))
            status, said = run(BUILT / "acuity", "check", "--config", file, cwd=ROOT)
            self.assertEqual(status, 0, said)

    def test_the_models_section_has_no_faults(self):
        folder = scratch(self)
        for name in ("id", "key"):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text("AKIAEDGE")
        store = {"url": "s3://models/region-1", "secret": "s", "settings": 'interval = "5m"', "pin": "ab" * 32}
        values = {"models": {"store": store | {"endpoint": "https://minio.example"}}, "storage": {"enabled": True}}
        found = {each["kind"]: each for _, each in rendered(values)}
        text = found["ConfigMap"]["data"]["acuity.toml"]
        section = tomllib.loads(text)["models"]["store"]
        self.assertEqual((section["channel"], section["interval"], section["pin"]), ("stable", "5m", "ab" * 32))
        pod = found["Deployment"]["spec"]["template"]["spec"]
        mounted = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        self.assertLessEqual({"/etc/acuity-secrets/s", "/var/lib/acuity"}, mounted)
        file = folder / "acuity.toml"
        text = text.replace("/etc/acuity-secrets/s", str(folder)).replace("/var/lib/acuity", str(folder))
        file.write_text(text)
        status, said = run(BUILT / "acuity", "check", "--config", file, cwd=ROOT)
        self.assertEqual(status, 0, said)
        self.assertIn("nothing has come from the store yet", said)

    def test_what_the_readme_shows_has_no_faults_and_a_way_out(self):
        text = (HERE / "README.md").read_text()
        (values,) = (
            each for each in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "[tracing]" in each
        )
        values = yaml.safe_load(values)
        head = DEFAULTS["config"].split("[[route]]")[0]
        values["config"] = head + values["config"].split("\n", 1)[1]
        found = {each["kind"]: each for _, each in rendered(values)}
        text = found["ConfigMap"]["data"]["acuity.toml"]
        config = tomllib.loads(text)
        self.assertTrue(config["route"][0]["backup_origins"] and config["route"][0]["health_check"])
        folder = scratch(self)
        headers = folder / "headers"
        headers.touch(mode=0o600)
        headers.write_text("Authorization: Bearer nobody\n")
        self.assertIn("/etc/acuity-secrets/acuity-collector/", text)
        (folder / "acuity.toml").write_text(text.replace(config["tracing"]["headers_file"], str(headers)))
        status, said = run(BUILT / "acuity", "check", "--config", folder / "acuity.toml", cwd=ROOT)
        self.assertEqual(status, 0, said)
        port = int(config["tracing"]["endpoint"].rsplit(":", 1)[1])
        out = [each["port"] for rule in found["NetworkPolicy"]["spec"]["egress"] for each in rule["ports"]]
        self.assertIn(port, out)

    def test_workers_are_found_by_edges_and_reached_by_nobody_else(self):
        edge, worker = (self.of("pool", "Deployment", which)["spec"]["template"] for which in (0, 1))
        config = tomllib.loads(self.of("pool", "ConfigMap")["data"]["acuity.toml"])["workers"]
        listen = tomllib.loads(self.of("pool", "ConfigMap", 1)["data"]["worker.toml"])["workers"]["listen"]
        services = {each["metadata"]["name"]: each["spec"] for each in self.all["pool"] if each["kind"] == "Service"}
        self.assertEqual(config["remote"], ["https://edge-acuity-workers.video.svc:7443"])
        self.assertEqual(config["silence_limit"], "2s")
        self.assertEqual((listen["address"], listen["permitted"]), ("0.0.0.0:7443", ["*.edges.example"]))
        self.assertEqual(services["edge-acuity-workers"]["clusterIP"], "None")
        # their files are mounted
        for pod, files in ((edge, config["tls"].values()), (worker, (v for v in listen.values() if "/etc" in str(v)))):
            mounted = {each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
            for file in files:
                self.assertIn(str(Path(file).parent), mounted)
        # nothing of the edges' selects workers, nor the other way
        labels = {"edge": edge["metadata"]["labels"].items(), "worker": worker["metadata"]["labels"].items()}
        self.assertFalse(services["edge-acuity"]["selector"].items() <= labels["worker"])
        self.assertFalse(services["edge-acuity-workers"]["selector"].items() <= labels["edge"])
        self.assertLessEqual(services["edge-acuity-workers"]["selector"].items(), labels["worker"])
        ours, theirs = (self.of("pool", "NetworkPolicy", which)["spec"] for which in (0, 1))
        self.assertLessEqual(theirs["podSelector"]["matchLabels"].items(), labels["worker"])
        self.assertEqual(theirs["egress"], [])
        into = [each["from"] for each in theirs["ingress"] if {"port": "grpc", "protocol": "TCP"} in each["ports"]]
        self.assertEqual(into, [[{"podSelector": ours["podSelector"]}]])
        out = [each["to"] for each in ours["egress"] if any(port["port"] == 7443 for port in each["ports"])]
        self.assertEqual(out, [[{"podSelector": theirs["podSelector"]}]])
        # the restricted standard, and cards where they are asked for
        spec = worker["spec"]
        self.assertEqual(spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], 1)
        self.assertIn("-cuda", spec["containers"][0]["image"])
        self.assertNotIn("-cuda", edge["spec"]["containers"][0]["image"])
        self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
        context = spec["containers"][0]["securityContext"]
        self.assertIs(context["readOnlyRootFilesystem"], True)
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    def test_a_pools_files_have_no_faults(self):
        folder = scratch(self)
        key, certificate = folder / "tls.key", folder / "tls.crt"
        made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a")
        status, said = run("openssl", *made, "-keyout", key, "-out", certificate)
        self.assertEqual(status, 0, said)
        (folder / "ca.crt").write_text(certificate.read_text())
        self.revocations(folder, "-cert", certificate, "-keyfile", key, "-gencrl", "-out", folder / "ca.crl")
        for which, name, options in ((0, "acuity.toml", ()), (1, "worker.toml", ("--worker",))):
            text = self.of("pool", "ConfigMap", which)["data"][name]
            self.assertIn("ca.crl", text)
            file = folder / name
            file.write_text(re.sub("/etc/acuity-secrets/[a-z-]+", str(folder), text))
            status, said = run(BUILT / "acuity", "check", *options, "--config", file, cwd=ROOT)
            self.assertEqual(status, 0, said)

    def revocations(self, folder, *options):
        """An authority's books, as docs/workers.md has them."""
        (folder / "ca.index").touch()
        (folder / "ca.crlnumber").write_text("01\n")
        settings = {"database": folder / "ca.index", "crlnumber": folder / "ca.crlnumber"}
        settings |= {"default_md": "sha256", "default_crl_days": 30}
        lines = ["[ca]", "default_ca = this", "[this]", *(f"{name} = {value}" for name, value in settings.items())]
        (folder / "ca.cnf").write_text("\n".join(lines) + "\n")
        status, said = run("openssl", "ca", "-config", folder / "ca.cnf", *options)
        self.assertEqual(status, 0, said)

    def test_there_is_no_pool_unless_it_is_told(self):
        for name in ("defaults", "daemonset", "gpu"):
            for one in self.all[name]:
                self.assertNotIn("workers", one["metadata"]["name"], name)
                self.assertNotIn("[workers", one.get("data", {}).get("acuity.toml", ""), name)

    def test_a_card_and_its_files_are_there(self):
        spec = self.of("gpu", "StatefulSet")["spec"]
        container = spec["template"]["spec"]["containers"][0]
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 1)
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        config = self.of("gpu", "ConfigMap")["data"]["acuity.toml"]
        files = re.findall(r'"(/(?:etc|var|models)[^"]*)"', config)
        self.assertGreaterEqual(len(files), 5)
        for file in files:
            self.assertTrue(any(Path(file).is_relative_to(mount) for mount in mounted), f"{file} is mounted nowhere")
        self.assertEqual(spec["volumeClaimTemplates"][0]["metadata"]["name"], "storage")


class Measured(unittest.TestCase):
    """What the operator's resources and the autoscaler ask Prometheus for."""

    def test_rules_and_alerts_are_those_that_are_tested(self):
        values = yaml.safe_load((HERE / "ci/gpu.yaml").read_text())
        found = {each["metadata"]["name"]: each for _, each in rendered(values) if each["kind"] == "PrometheusRule"}
        for part in ("rules", "alerts"):
            shipped = (DEPLOY / f"prometheus/acuity.{part}.yml").read_text()
            shipped = shipped.replace("docs/runbooks.md", values["prometheusRule"]["runbookUrl"])
            spec = found[f"edge-acuity-{part}"]["spec"]
            self.assertEqual(spec, yaml.safe_load(shipped))
            file = scratch(self) / "rules.yml"
            file.write_text(yaml.safe_dump(spec))
            status, said = promtool("check", "rules", file)
            self.assertEqual(status, 0, said)

    def queries(self):
        custom = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
        return {rule["name"]["as"]: rule for rule in custom}

    def test_the_autoscaler_asks_for_what_the_adapter_makes(self):
        values = yaml.safe_load((HERE / "ci/gpu.yaml").read_text())
        (scaler,) = (each for _, each in rendered(values) if each["kind"] == "HorizontalPodAutoscaler")
        asked = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"]]
        self.assertEqual(sorted(asked), sorted(self.queries()))
        self.assertEqual(scaler["spec"]["scaleTargetRef"]["kind"], "StatefulSet")

    def test_the_adapter_asks_for_what_the_edge_has(self):
        known = set().union(*(names_in(expr) for _, expr in queries_of_board()))
        known |= names_in((DEPLOY / "prometheus/acuity.rules.yml").read_text())
        known |= names_in((DEPLOY / "prometheus/acuity.alerts.yml").read_text())
        known |= {name.removesuffix("_bucket") + "_count" for name in known if name.endswith("_bucket")}
        for name, rule in self.queries().items():
            asked = names_in(rule["seriesQuery"]) | names_in(rule["metricsQuery"])
            self.assertTrue(asked)
            self.assertEqual(asked - known, set(), name)

    def test_the_adapters_figures_are_right(self):
        # as the adapter fills them in, for two pods
        rules = [
            {
                "record": name,
                "expr": rule["metricsQuery"]
                .replace("<<.LabelMatchers>>", 'namespace="video",pod=~"a|b"')
                .replace("<<.GroupBy>>", "pod"),
            }
            for name, rule in self.queries().items()
        ]
        folder = scratch(self)
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "adapter", "rules": rules}]}))

        def series(name, values, pod, **labels):
            labels = {"namespace": "video", "pod": pod, **labels}
            inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
            return {"series": f"{name}{{{inside}}}", "values": values}

        # a: six segments wait for two lanes, ten new ones begin each 15 s, all between one and two seconds; b: nothing happens
        uncached = {"kind": "segment", "cached": "no"}
        given = [
            series("acuity_enhancer_queue_depth", "6x40", "a"),
            series("acuity_enhancer_queue_depth", "0x40", "b"),
            series("acuity_enhancer_lanes", "2x40", "a"),
            series("acuity_enhancer_lanes", "2x40", "b"),
        ]
        for le, values in (("1", "0x40"), ("2", "0+10x40"), ("+Inf", "0+10x40")):
            given.append(series("acuity_first_byte_seconds_bucket", values, "a", le=le, **uncached))
            given.append(series("acuity_first_byte_seconds_bucket", "0x40", "b", le=le, **uncached))
            # what was in memory is quick, and is none of it
            given.append(
                series("acuity_first_byte_seconds_bucket", "0+900x40", "a", le=le, kind="segment", cached="yes")
            )

        def expected(name, **pods):
            samples = [{"labels": f'{{pod="{pod}"}}', "value": value} for pod, value in pods.items()]
            return {"expr": f"round({name}, 0.01)", "eval_time": "9m", "exp_samples": samples}

        test = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": "15s",
            "tests": [
                {
                    "interval": "15s",
                    "input_series": given,
                    "promql_expr_test": [
                        expected("acuity_queue_depth_per_lane", a=3, b=0),
                        expected("acuity_first_byte_p95_seconds", a=1.95),
                    ],
                }
            ],
        }
        (folder / "test.yml").write_text(yaml.safe_dump(test))
        status, said = promtool("test", "rules", folder / "test.yml")
        self.assertEqual(status, 0, said)


if __name__ == "__main__":
    unittest.main()
