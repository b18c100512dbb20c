"""What the chart writes for parts that are off by default: nodes, the store of models, traces, the pool of workers, cards."""

import re
import tomllib
import unittest
from pathlib import Path

import yaml

from chart import DEFAULTS, HERE, examples, rendered
from test_deploy import BUILT, ROOT, run, scratch


class Parts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = {name: [each for _, each in rendered(values)] for name, values in examples()}

    def of(self, name, kind, which=0):
        return [each for each in self.all[name] if each["kind"] == kind][which]

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

    def test_a_pool_grows_by_itself_and_is_watched(self):
        worker = self.of("pool", "Deployment", 1)
        labels = worker["spec"]["template"]["metadata"]["labels"].items()
        name = worker["metadata"]["name"]
        self.assertNotIn("replicas", worker["spec"], "the autoscaler's figure would be undone with each upgrade")
        scaler = self.of("pool", "HorizontalPodAutoscaler")["spec"]
        self.assertEqual((scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"]), ("Deployment", name))
        self.assertEqual((scaler["minReplicas"], scaler["maxReplicas"]), (3, 8))
        budgets = {each["metadata"]["name"]: each for each in self.all["pool"] if each["kind"] == "PodDisruptionBudget"}
        self.assertEqual(len(budgets), 2)
        self.assertLessEqual(budgets[name]["spec"]["selector"]["matchLabels"].items(), labels)
        monitors = [each["spec"] for each in self.all["pool"] if each["kind"] == "ServiceMonitor"]
        services = [each for each in self.all["pool"] if each["kind"] == "Service"]
        found = {}
        for monitor in monitors:
            wanted = monitor["selector"]["matchLabels"].items()
            (service,) = (each for each in services if wanted <= each["metadata"]["labels"].items())
            (endpoint,) = monitor["endpoints"]
            self.assertIn(endpoint["port"], [port["name"] for port in service["spec"]["ports"]])
            found[endpoint["relabelings"][0]["replacement"]] = service["metadata"]["name"]
        self.assertEqual(found["acuity-worker"], name)
        self.assertEqual(len(found), 2)
        # what networks were compiled to, and what they cost
        config = tomllib.loads(self.of("pool", "ConfigMap", 1)["data"]["worker.toml"])["enhancer"]
        mounted = {each["mountPath"] for each in worker["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
        self.assertLessEqual({config["gpu"]["engine_cache"], str(Path(config["cost_file"]).parent)}, mounted)

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
            text = re.sub("/var/(cache|lib)/acuity", str(folder), text)
            file.write_text(re.sub("/etc/acuity-secrets/[a-z-]+", str(folder), text))
            status, said = run(BUILT / "acuity", "check", *options, "--config", file, cwd=ROOT)
            self.assertEqual(status, 0, said)

    def test_a_pool_has_the_models_of_the_store(self):
        values = yaml.safe_load((HERE / "ci/pool.yaml").read_text())
        store = {"url": "s3://models/region-1", "secret": "s"}
        values |= {"models": {"store": store}, "storage": {"enabled": True}, "networkPolicy": {"egressToWorld": True}}
        found = [each for _, each in rendered(values) if each["metadata"]["name"].endswith("-workers")]
        found = {each["kind"]: each for each in found}
        text = found["ConfigMap"]["data"]["worker.toml"]
        models = tomllib.loads(text)["models"]
        spec = found["Deployment"]["spec"]["template"]["spec"]
        (keeper,), (worker,) = spec["initContainers"], spec["containers"]
        self.assertEqual(keeper["args"][:4], ["models", "keep", "--config", "/etc/acuity/worker.toml"])
        self.assertEqual(keeper["restartPolicy"], "Always", "it would end before the worker begins")
        self.assertNotIn("-cuda", keeper["image"])
        self.assertEqual(keeper["securityContext"], worker["securityContext"])
        # the one writes where the other reads, below a directory that is not everybody's
        mounts = [{each["mountPath"]: each.get("readOnly", False) for each in one["volumeMounts"]} for one in (keeper, worker)]
        place = str(Path(models["directory"]).parent)
        self.assertEqual([mount.get(place) for mount in mounts], [False, True])
        # keys are the keeper's alone
        keys = str(Path(models["store"]["secret_key_file"]).parent)
        self.assertEqual([keys in mount for mount in mounts], [True, False])
        volumes = {each["name"]: each for each in spec["volumes"]}
        self.assertEqual(volumes["models-key"]["secret"]["secretName"], "s")
        port = keeper["ports"][0]
        self.assertIn(f"0.0.0.0:{port['containerPort']}", keeper["args"])
        self.assertIn(port["name"], [each["targetPort"] for each in found["Service"]["spec"]["ports"]])
        self.assertEqual(len(found["ServiceMonitor"]["spec"]["endpoints"]), 2)
        out = [each["port"] for rule in found["NetworkPolicy"]["spec"]["egress"] for each in rule["ports"]]
        self.assertLessEqual({53, 443}, set(out))

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
