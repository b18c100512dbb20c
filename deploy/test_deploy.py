"""What the edge is deployed with, each thing by the usual tool for it: image, compose file, unit. The chart's are in test_chart*.py.

Runs by `.acuity/lint/bin/python -m unittest test_deploy` from this directory (scripts/test.sh does, with the others here), with the
linters that scripts/fetch-lint.sh has fetched, promtool (scripts/fetch-prometheus.sh), systemd-analyze and the release binary. Starts
no container: there is nothing here that runs one.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
from pathlib import Path

import yaml

from test_observability import BUILT, ROOT, promtool

DEPLOY = ROOT / "deploy"
LINTERS = Path(sys.prefix) / "bin"
PATIENCE_S = 60
# systemd's own scale, 0 to 10; what README.md says of it
EXPOSURE, EXPOSURE_GPU = 1.5, 1.9
EXPOSURE_WORKER, EXPOSURE_WORKER_GPU = 1.4, 1.7
EXPOSURE_MODELS = 1.4


def run(*command, **options):
    """Exit status and all that was said."""
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )
    return done.returncode, done.stdout


def instructions(dockerfile):
    """A Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def scratch(test):
    folder = Path(tempfile.mkdtemp(prefix="acuity-deploy-"))
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Written(unittest.TestCase):
    def test_yaml_is_clean(self):
        chart = DEPLOY / "helm/acuity"
        files = [DEPLOY / each for each in ("compose", "prometheus", "grafana", "helm/prometheus-adapter.yaml")]
        files += [chart / "Chart.yaml", chart / "values.yaml", chart / "ci"]
        status, said = run(LINTERS / "yamllint", "--strict", "--config-file", DEPLOY / "yamllint.yml", *files)
        self.assertEqual((status, said), (0, ""))


class Image(unittest.TestCase):
    FILE = DEPLOY / "Dockerfile"

    def test_hadolint_is_content(self):
        status, said = run(LINTERS / "hadolint", "--no-color", "--failure-threshold", "style", self.FILE)
        self.assertEqual((status, said), (0, ""))

    def test_it_is_made_of_the_pack_alone(self):
        stages = []
        for word, rest in instructions(self.FILE):
            if word == "FROM":
                base, _, stage = rest.split()
                self.assertIn(base, ["scratch", *stages], "an image from outside would have to be pinned")
                stages.append(stage)
            self.assertNotEqual(word, "RUN", "there is no shell in it")
            if word == "COPY":
                self.assertNotIn("--from", rest)
        self.assertEqual(stages[-1], "cpu", "the default target")
        self.assertIn("cuda", stages)

    def test_it_runs_as_nobody_of_the_machines(self):
        users = [rest for word, rest in instructions(self.FILE) if word == "USER"]
        self.assertRegex(users[-1], r"^[1-9]\d{4,}:[1-9]\d{4,}$")
        values = yaml.safe_load((DEPLOY / "helm/acuity/values.yaml").read_text())
        pod = values["podSecurityContext"]
        self.assertEqual(users[-1], f"{pod['runAsUser']}:{pod['runAsGroup']}", "the chart's user is another one")

    def test_its_commands_are_the_programs(self):
        words = dict(instructions(self.FILE))
        entry, command = (json.loads(words[each]) for each in ("ENTRYPOINT", "CMD"))
        health = json.loads(re.search(r"CMD (\[.*\])", words["HEALTHCHECK"]).group(1))
        launcher = (DEPLOY / "launch.sh").read_text()
        for line in (entry, health):
            loader, program = line[0], line.index("/opt/acuity/libexec/acuity")
            self.assertEqual(loader, "/opt/acuity/loader/acuity")
            self.assertEqual(line[1:4], ["--argv0", "acuity", "--library-path"])
            self.assertEqual(program, 5)
        self.assertTrue(entry[4].startswith("/opt/acuity/lib:/opt/acuity/cuda:"))
        self.assertIn('"$top/lib:$top/cuda', launcher, "the launcher's order is another one")
        for said in (command, health[6:]):
            flags = [word for word in said[1:] if word.startswith("--")]
            status, text = run(BUILT / "acuity", said[0], "--help")
            self.assertEqual(status, 0, f"acuity {said[0]}: {text}")
            for flag in flags:
                self.assertIn(f"{flag} <", text)
        # Where its admin address is, the configuration says.
        self.assertEqual(health[6:], ["live", *command[1:]])


class Compose(unittest.TestCase):
    FOLDER = DEPLOY / "compose"

    @classmethod
    def setUpClass(cls):
        cls.services = yaml.safe_load((cls.FOLDER / "compose.yaml").read_text())["services"]

    def test_it_is_what_the_specification_says(self):
        status, said = run(
            LINTERS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", self.FOLDER / "compose.yaml"
        )
        self.assertEqual(status, 0, said)

    def test_only_loopback_is_published(self):
        published = [port for service in self.services.values() for port in service.get("ports", [])]
        self.assertEqual(len(published), 3)
        for port in published:
            self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$")

    def test_what_is_mounted_is_there(self):
        mounts = [each for service in self.services.values() for each in service["volumes"] if each["type"] == "bind"]
        self.assertGreater(len(mounts), 6)
        for mount in mounts:
            source = (self.FOLDER / mount["source"]).resolve()
            fetched = source.is_relative_to((ROOT / ".acuity").resolve())
            self.assertTrue(source.exists() or fetched, f"{source} is not there")
            self.assertTrue(mount["read_only"], mount)

    def test_every_service_is_fenced_in_watched_and_of_one_version(self):
        for name, service in self.services.items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn("no-new-privileges:true", service["security_opt"])
                self.assertIn("mem_limit", service)
                if name != "acuity":  # whose check is the image's
                    self.assertIn("healthcheck", service)
                    self.assertRegex(service["image"], r"^\$\{[A-Z]+_IMAGE:-[a-z/-]+:v?\d+\.\d+\.\d+[a-z-]*\}$")

    def test_the_edges_configuration_has_no_faults(self):
        status, said = run(BUILT / "acuity", "check", "--config", self.FOLDER / "acuity.toml", cwd=ROOT)
        self.assertEqual(status, 0, said)

    def test_prometheus_configuration_is_valid_and_scrapes_the_edge(self):
        folder = scratch(self)
        for file in (self.FOLDER / "prometheus.yml", *(DEPLOY / "prometheus").glob("acuity.*.yml")):
            shutil.copy(file, folder)
        status, said = promtool("check", "config", folder / "prometheus.yml")
        self.assertEqual(status, 0, said)
        target = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"][0]
        self.assertEqual(target["job_name"], "acuity", "what the rules ask for")
        host, port = target["static_configs"][0]["targets"][0].split(":")
        self.assertIn(host, self.services)
        self.assertIn(f'listen = "0.0.0.0:{port}"', (self.FOLDER / "acuity.toml").read_text())
        self.assertTrue(set(self.services[host]["networks"]) & set(self.services["prometheus"]["networks"]))

    def test_the_region_is_what_the_specification_says(self):
        status, said = run(
            LINTERS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", self.FOLDER / "compose.nodes.yaml"
        )
        self.assertEqual(status, 0, said)

    def test_the_regions_edges_are_alike_and_its_network_is_theirs(self):
        region = yaml.safe_load((self.FOLDER / "compose.nodes.yaml").read_text())
        first, second = region["services"]["acuity"], region["services"]["acuity-2"]
        # laid over compose.yaml, the first is the second, but for the port on the host
        whole = {**self.services["acuity"], **first}
        self.assertEqual(whole.keys(), second.keys())
        self.assertEqual({key for key in whole if whole[key] != second[key]}, {"ports"})
        self.assertEqual(second["ports"], ["127.0.0.1:8082:8080"])
        self.assertLessEqual(set(self.services["acuity"]["networks"]), first["networks"].keys())
        self.assertIs(region["networks"]["region"]["internal"], True)
        for name in self.services.keys() - {"acuity"}:
            self.assertNotIn("region", {**self.services[name], **region["services"].get(name, {})}["networks"])

    def test_the_regions_nodes_are_those_of_the_network_and_its_configuration_has_no_faults(self):
        region = yaml.safe_load((self.FOLDER / "compose.nodes.yaml").read_text())
        text = (self.FOLDER / "acuity.nodes.toml").read_text()
        config = tomllib.loads(text)
        nodes = config.pop("nodes")
        self.assertEqual(config, tomllib.loads((self.FOLDER / "acuity.toml").read_text()))
        port = nodes["listen"].rsplit(":", 1)[1]
        for edge in ("acuity", "acuity-2"):
            aliases = region["services"][edge]["networks"]["region"]["aliases"]
            self.assertEqual(nodes["members"], [f"{alias}:{port}" for alias in aliases])
            self.assertEqual(
                [nodes["secret_file"]], [f"/run/secrets/{each}" for each in region["services"][edge]["secrets"]]
            )
        # never in the source tree
        self.assertIn("/deploy/compose/nodes.key\n", (ROOT / ".gitignore").read_text())
        self.assertEqual(region["secrets"], {"nodes.key": {"file": "./nodes.key"}})
        folder = scratch(self)
        secret = folder / "key"
        secret.touch(mode=0o600)
        secret.write_text("nobody else is a node of this region")
        (folder / "acuity.toml").write_text(text.replace(nodes["secret_file"], str(secret)))
        status, said = run(BUILT / "acuity", "check", "--config", folder / "acuity.toml", cwd=ROOT)
        self.assertEqual(status, 0, said)

    def test_the_regions_prometheus_scrapes_both_edges(self):
        alone, region = (
            yaml.safe_load((self.FOLDER / file).read_text()) for file in ("prometheus.yml", "prometheus.nodes.yml")
        )
        edges = region["scrape_configs"][0]["static_configs"][0].pop("targets")
        port = alone["scrape_configs"][0]["static_configs"][0].pop("targets")[0].rsplit(":", 1)[1]
        self.assertEqual(edges, [f"{edge}:{port}" for edge in ("acuity", "acuity-2")])
        self.assertEqual(region, alone)

    def test_the_source_of_data_is_the_one_that_ships_but_for_the_address(self):
        here, shipped = (
            yaml.safe_load(file.read_text())["datasources"][0]
            for file in (
                self.FOLDER / "grafana-datasource.yml",
                DEPLOY / "grafana/provisioning/datasources/prometheus.yml",
            )
        )
        self.assertEqual(here.pop("url"), "http://prometheus:9090")
        shipped.pop("url")
        self.assertEqual(here, shipped)


class Unit(unittest.TestCase):
    NAME = "acuity.service"
    COMMAND = "serve"
    # exposure without and with a card
    LIMITS = (EXPOSURE, EXPOSURE_GPU)

    @property
    def file(self):
        return DEPLOY / self.NAME

    def root(self, *, gpu):
        """A root with the unit, and the drop-in if it is for a card. The program is one that is there."""
        folder = scratch(self)
        units = folder / "etc/systemd/system"
        units.mkdir(parents=True)
        unit = self.file.read_text()
        self.assertIn(f"/opt/acuity/bin/acuity {self.COMMAND}", unit)
        (units / self.NAME).write_text(unit.replace("/opt/acuity/bin/acuity", "/bin/true"))
        if gpu:
            (units / f"{self.NAME}.d").mkdir()
            shutil.copy(DEPLOY / "acuity-gpu.conf", units / f"{self.NAME}.d/gpu.conf")
        return folder

    def test_it_is_valid(self):
        for gpu in (False, True):
            with self.subTest(gpu=gpu):
                units = self.root(gpu=gpu) / "etc/systemd/system"
                path = {"SYSTEMD_UNIT_PATH": f"{units}:"}
                status, said = run("systemd-analyze", "verify", units / self.NAME, env={**os.environ, **path})
                self.assertEqual((status, said), (0, ""))

    def test_it_is_as_closed_as_we_say(self):
        for gpu, limit in zip((False, True), self.LIMITS):
            with self.subTest(gpu=gpu):
                status, said = run(
                    "systemd-analyze",
                    "security",
                    "--offline=true",
                    f"--root={self.root(gpu=gpu)}",
                    f"--threshold={int(limit * 10)}",
                    self.NAME,
                )
                self.assertEqual(status, 0, said)
                self.assertIn(f"exposure level for {self.NAME}: {limit} ", said)
                self.assertTrue(f"exposure {limit}" in (DEPLOY / "README.md").read_text(), "README.md says otherwise")

    def test_processes_may_fence_themselves_in_further(self):
        allowed = " ".join(re.findall(r"^SystemCallFilter=([^~].*)$", self.file.read_text(), re.MULTILINE)).split()
        for call in ("seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"):
            self.assertIn(call, allowed)

    def test_its_commands_are_the_programs(self):
        commands = re.findall(r"^Exec\w+=/opt/acuity/bin/acuity ([a-z ]+) (.*)$", self.file.read_text(), re.MULTILINE)
        self.assertGreaterEqual(len(commands), 1)
        for subcommand, rest in commands:
            status, said = run(BUILT / "acuity", *subcommand.split(), "--help")
            self.assertEqual(status, 0, said)
            for flag in re.findall(r"--[\w-]+", rest):
                self.assertRegex(said, rf"{flag}( <|\n)")


class WorkerUnit(Unit):
    NAME = "acuity-worker.service"
    COMMAND = "worker --listen"
    LIMITS = (EXPOSURE_WORKER, EXPOSURE_WORKER_GPU)

    def test_it_has_time_to_drain(self):
        said = re.search(r'^#drain_within = "(\d+)m"$', (ROOT / "config/acuity.example.toml").read_text(), re.MULTILINE)
        stop = re.search(r"^TimeoutStopSec=(\d+)s$", self.file.read_text(), re.MULTILINE)
        self.assertGreater(int(stop.group(1)), 60 * int(said.group(1)))


class ModelsUnit(Unit):
    NAME = "acuity-models.service"
    COMMAND = "models keep"
    LIMITS = (EXPOSURE_MODELS,)

    def test_processes_may_fence_themselves_in_further(self):
        self.skipTest("it reads no stranger's media, and has no fence of its own")

    def test_the_worker_sees_what_is_kept(self):
        state = re.search(r"^StateDirectory=(.*)$", self.file.read_text(), re.MULTILINE).group(1)
        place = re.search(r'directory = "(.*?)"', self.file.read_text()).group(1)
        worker = (DEPLOY / WorkerUnit.NAME).read_text()
        self.assertIn(f"--models /var/lib/{state} ", self.file.read_text())
        self.assertIn(f"\nBindReadOnlyPaths=-/var/lib/private/{state}:{place}\n", worker)


class Reload(unittest.TestCase):
    def test_a_reload_finds_the_edge_and_shows_its_token(self):
        """The unit's own commands, on a configuration that asks for a token."""
        folder = scratch(self)
        token, config = folder / "token", folder / "acuity.toml"
        token.write_text("a token of 24 characters\n")
        token.chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            players, operators = one.getsockname()[1], other.getsockname()[1]
        config.write_text(f"""[server]
listen = ["127.0.0.1:{players}"]
drain_notice_seconds = 0
[admin]
listen = "127.0.0.1:{operators}"
token_file = "{token}"
[[route]]
origin = "http://127.0.0.1:9"
cluster = "plain"
""")
        lines = (DEPLOY / Unit.NAME).read_text().splitlines()
        said = {
            name: line.split("/opt/acuity/bin/acuity ", 1)[1].replace("/etc/acuity/acuity.toml", str(config)).split()
            for name in ("ExecStart", "ExecReload")
            for line in lines
            if line.startswith(f"{name}=")
        }
        runtime = os.environ.get("ACUITY_ONNXRUNTIME", ROOT / ".acuity/onnxruntime/libonnxruntime.so")
        env = {**os.environ, "ACUITY_ONNXRUNTIME": str(runtime)}
        env.pop("ACUITY_ADMIN_TOKEN_FILE", None)
        with open(folder / "log", "w") as log:
            edge = subprocess.Popen([BUILT / "acuity", *said["ExecStart"]], cwd=ROOT, env=env, stdout=log, stderr=log)
        self.addCleanup(lambda: (edge.kill(), edge.wait()))
        for _ in range(300):
            if run(BUILT / "acuity", "live", "--config", config)[0] == 0:
                break
            time.sleep(0.1)
        status, text = run(BUILT / "acuity", *said["ExecReload"], env=env)
        self.assertEqual(status, 0, text + (folder / "log").read_text())
        self.assertIn("restart_needed", text)
        token.write_text("another token of some characters\n")
        status, text = run(BUILT / "acuity", *said["ExecReload"], env=env)
        self.assertEqual(status, 1, "a wrong token is no way in")


if __name__ == "__main__":
    unittest.main()
