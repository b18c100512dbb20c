"""What watches the edge, tested against the real thing: rules and alerts by promtool, and a real Prometheus, with the
configuration that ships, that scrapes a real edge while it serves the sample stream.

Runs by `python3 -m unittest` from this directory (scripts/test.sh does) and needs `prometheus` and `promtool`
(scripts/fetch-prometheus.sh), the release binaries and the sample film. All on loopback and free ports; what it starts it
ends, by process. About half a minute.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy/prometheus"
BOARD = ROOT / "deploy/grafana/acuity.json"
RUNBOOKS = ROOT / "docs/runbooks.md"
CACHE = ROOT / ".acuity"
BUILT = Path(os.environ.get("ACUITY_BUILT", ROOT / "target/release"))

# Nothing here takes longer unless it is broken.
PATIENCE_S = 120
# Series that only what this test does not do brings forth: interpolation, and refusals or restarts of what is whole.
MAY_BE_EMPTY = (
    "acuity_enhancer_between_frames_total",
    "acuity_models_refused",
    "process_start_time_seconds",
    # of workers that are lost, which is none here: a percentile of nothing
    "acuity_worker_recovery_seconds",
)

# Straight to loopback, whatever proxy the environment names.
WEB = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def tool(name):
    """A program of Prometheus': the one that is installed, else the one that was fetched."""
    found = shutil.which(name) or shutil.which(name, path=str(CACHE / "prometheus/usr/bin"))
    if found is None:
        raise FileNotFoundError(f"{name} is missing: scripts/fetch-prometheus.sh fetches it")
    return found


def promtool(*arguments, text=None):
    """Exit status and output."""
    done = subprocess.run(
        [tool("promtool"), *map(str, arguments)],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout


def get(url):
    with WEB.open(url, timeout=10) as answer:
        return answer.read().decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, ready):
    """What `ready` gives, as soon as that is something."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            if found := ready():
                return found
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.2)


def queries_of_board():
    """Every query of the dashboard with the panel it is of, variables filled in."""
    board = json.loads(BOARD.read_text())
    found = [("annotation", each["expr"]) for each in board["annotations"]["list"]]
    for panel in board["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series = re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])
            found.append((f"variable {variable['name']}", series.group(1)))
    filled = {"$job": "acuity", "$instance": ".*", "$__rate_interval": "1m"}
    for name, value in filled.items():
        found = [(panel, expr.replace(name, value)) for panel, expr in found]
    return found


def queries_of_runbooks():
    """Every query of the runbooks: a line each in blocks of PromQL, remarks behind `#` and all."""
    blocks = re.findall(r"^```promql\n(.*?)^```$", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL)
    return [("runbook", line) for block in blocks for line in block.splitlines()]


def names_in(expr):
    """The metrics that an expression asks for: names that begin as ours do, recorded ones (`level:...`) with their level."""
    return set(re.findall(r"\b(?:[a-z_]+:)?(?:acuity|process)_[a-z0-9_]+(?::[a-z0-9_]+)?\b", expr))


class Written(unittest.TestCase):
    """The files by themselves."""

    def test_rules_and_configuration_are_valid(self):
        for what, file in (("rules", "acuity.rules.yml"), ("rules", "acuity.alerts.yml"), ("config", "prometheus.yml")):
            status, said = promtool("check", what, RULES / file)
            self.assertEqual(status, 0, said)

    def test_alerts_fire_when_they_should_and_not_when_they_should_not(self):
        status, said = promtool("test", "rules", *sorted((RULES / "tests").glob("*.test.yml")))
        self.assertEqual(status, 0, said)

    def test_every_alert_is_tested_both_ways(self):
        tests = "".join(file.read_text() for file in (RULES / "tests").glob("*.test.yml"))
        for alert in self.alerts():
            self.assertRegex(tests, rf"alertname: {alert}\n(?: +\w.*\n)? +exp_alerts:\n", f"{alert}: never fires")

    def test_every_alert_has_a_severity_a_summary_and_a_runbook(self):
        text = (RULES / "acuity.alerts.yml").read_text()
        headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
        for rule in text.split("- alert: ")[1:]:
            alert = rule.split("\n", 1)[0].strip()
            self.assertRegex(rule, r"severity: (critical|warning|info) \}", alert)
            self.assertIn("summary: ", rule, alert)
            self.assertIn(f"runbook_url: docs/runbooks.md#{alert.lower()}\n", rule, alert)
            self.assertIn(alert, headings, "it has no runbook")
        self.assertEqual(sorted(headings), sorted(self.alerts()), "runbooks and alerts")

    def test_the_dashboard_is_what_its_program_writes(self):
        done = subprocess.run([sys.executable, ROOT / "deploy/grafana/board.py", "--check"], check=False)
        self.assertEqual(done.returncode, 0)
        panels = json.loads(BOARD.read_text())["panels"]
        taken = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        self.assertEqual(len(taken), len(set(taken)), "panels lie over each other")
        self.assertLess(max(x for x, _ in taken), 24, "a panel leaves the grid")

    @staticmethod
    def alerts():
        return re.findall(r"- alert: (\w+)", (RULES / "acuity.alerts.yml").read_text())


class Watched(unittest.TestCase):
    """A real Prometheus before a real edge and a real worker as on another machine."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="acuity-watched-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        # a worker of root is nobody, who has to get to the models
        cls.folder.chmod(0o755)
        origin, edge, admin, prometheus, node = (f"127.0.0.1:{free_port()}" for _ in range(5))
        listen, worker = (f"127.0.0.1:{free_port()}" for _ in range(2))
        cls.admin, cls.edge, cls.prometheus = (f"http://{each}" for each in (admin, edge, prometheus))
        cls.worker = f"http://{worker}"
        cls.start("origin", BUILT / "sample-origin", "--listen", origin, "--sample", CACHE / "sample")
        # A specialised model and a guard that checks all of its segments, so that what these tell is there too. The film
        # is not of its kind, so it is sure to be found out; and there is time for it however busy the machine is.
        config = cls.folder / "acuity.toml"
        config.write_text(
            f"""
            [server]
            listen = ["{edge}"]
            [admin]
            listen = "{admin}"
            [[route]]
            origin = "http://{origin}"
            cluster = "freedoom"
            [enhancer.deadline]
            fraction = 10.0
            startup_fraction = 10.0
            longest = "60s"
            [workers]
            count = 1
            spare = 0
            [cache.disk]
            path = "{cls.kept()}"
            [guard]
            rate = 1.0
            at_least = 1
            [models]
            directory = "{cls.folder / "models"}"
            [models.store]
            url = "{cls.stocked()}"
            interval = "1s"
            # a region of one: what is told of nodes is there, and nothing is asked
            [nodes]
            listen = "{node}"
            members = ["{node}"]
            secret_file = "{cls.secret()}"
            """
        )
        cls.start("edge", BUILT / "acuity", "serve", "--config", config)
        cls.start_worker(listen, worker)
        cls.start_prometheus(admin, worker, prometheus)
        eventually("the edge", lambda: get(f"{cls.admin}/readyz"))
        eventually("the worker", lambda: get(f"{cls.worker}/readyz"))
        # a rate needs a scrape from before what it is of
        eventually("the first scrape", lambda: cls.ask("acuity_player_bytes_total"))
        cls.play()
        eventually("the guard's first verdict", lambda: "acuity_guard_stopped{" in get(f"{cls.admin}/metrics"))
        cls.scraped_after_all()

    @classmethod
    def kept(cls):
        """A directory for segments, so that what is told of these is there too."""
        folder = cls.folder / "kept"
        folder.mkdir(mode=0o700)
        return folder

    @classmethod
    def stocked(cls):
        """A store with the models that ship, which the edge has already: it is ready with them, and what is told of a store is there too."""
        store = cls.folder / "store"
        store.mkdir()
        url = f"file://{store}"
        for command in (["push", ROOT / "models/zoo", "--to", url], ["pull", cls.folder / "models", "--from", url]):
            subprocess.run([BUILT / "acuity", "models", *map(str, command)], check=True, capture_output=True, cwd=ROOT)
        return url

    @classmethod
    def secret(cls):
        """What nodes know each other by."""
        file = cls.folder / "nodes.key"
        file.touch(mode=0o600)
        file.write_text("nobody else is a node of this region\n")
        return file

    @classmethod
    def start_worker(cls, listen, admin):
        """One that no edge asks for anything: what it tells is there all the same."""
        key, certificate = cls.folder / "worker.key", cls.folder / "worker.pem"
        made = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a")
        subprocess.run(["openssl", *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        config = cls.folder / "worker.toml"
        config.write_text(
            f"""
            [models]
            directory = "{cls.folder / "models"}"
            [workers.listen]
            address = "{listen}"
            admin = "{admin}"
            certificate = "{certificate}"
            key = "{key}"
            client_authority = "{certificate}"
            """
        )
        cls.start("worker", BUILT / "acuity", "worker", "--listen", "--config", config)

    @classmethod
    def start(cls, name, *command):
        log = (cls.folder / f"{name}.log").open("wb")
        cls.addClassCleanup(log.close)
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd=ROOT)
        cls.addClassCleanup(cls.end, process)

    @staticmethod
    def end(process):
        # SIGINT: now; SIGTERM would let the edge drain first
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @classmethod
    def start_prometheus(cls, admin, worker, listen):
        """With the configuration that ships, but for the target and the pace."""
        for rules in RULES.glob("acuity.*.yml"):
            shutil.copy(rules, cls.folder)
        text = (RULES / "prometheus.yml").read_text()
        for shipped, here in (
            ('targets: ["127.0.0.1:9090"]', f'targets: ["{admin}"]'),
            ("targets: []", f'targets: ["{worker}"]'),
            ("interval: 15s", "interval: 1s"),
        ):
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        config = cls.folder / "prometheus.yml"
        config.write_text(text)
        storage = f"--storage.tsdb.path={cls.folder / 'data'}"
        cls.start(
            "prometheus", tool("prometheus"), f"--config.file={config}", storage, f"--web.listen-address={listen}"
        )

    @classmethod
    def play(cls):
        """A viewer from the start, another one behind, one who asks for what is not there, one who takes it as it is."""
        master = get(f"{cls.edge}/sample/master.m3u8")
        enhanced = next(line for line in master.splitlines() if line.startswith("/~acuity/"))
        media = f"{cls.edge}{enhanced}"
        segments = [line for line in get(media).splitlines() if line and not line.startswith("#")][:3]
        for _ in range(2):
            for segment in segments:
                WEB.open(urllib.parse.urljoin(media, segment), timeout=30).read()
        for path in ("/sample/360p/index.m3u8", "/sample/360p/00000.ts"):
            WEB.open(cls.edge + path, timeout=30).read()
        try:
            get(f"{cls.edge}/sample/nothing.ts")
        except urllib.error.HTTPError as error:
            assert error.code == 404, error

    @classmethod
    def scraped_after_all(cls):
        """Rules have been evaluated on scrapes that came after all that happened."""
        enough = f"timestamp(instance:acuity_cache_hits:ratio_rate30m) > {time.time() + 3}"
        eventually("scrapes", lambda: cls.ask(enough))

    @classmethod
    def ask(cls, expr):
        """The samples that Prometheus has for a query."""
        url = f"{cls.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            return json.loads(get(url))["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from error

    def rules(self):
        groups = json.loads(get(f"{self.prometheus}/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def test_the_metrics_keep_to_the_conventions(self):
        for address in (self.admin, self.worker):
            status, said = promtool("check", "metrics", text=get(f"{address}/metrics"))
            self.assertEqual((status, said), (0, ""), address)

    def test_every_metric_that_is_asked_for_is_one_of_the_edges_or_the_workers(self):
        told = get(f"{self.admin}/metrics") + get(f"{self.worker}/metrics")
        families = re.findall(r"^# TYPE (\w+) (\w+)$", told, re.MULTILINE)
        there = {rule["name"] for rule in self.rules() if rule["type"] == "recording"}
        for name, kind in families:
            there |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
        asked = queries_of_board() + queries_of_runbooks()
        asked += [(rule["name"], rule["query"]) for rule in self.rules()]
        missing = {(where, name) for where, expr in asked for name in names_in(expr) - there}
        self.assertEqual(missing, set())
        self.assertGreater(len(set().union(*(names_in(expr) for _, expr in asked))), 40, "the test sees them")

    def test_rules_evaluate_and_give_data(self):
        for rule in self.rules():
            self.assertEqual((rule["health"], rule.get("lastError")), ("ok", None), rule["name"])
            if rule["type"] == "recording":
                self.assertTrue(self.ask(rule["name"]), f"{rule['name']} has no data")

    def test_queries_of_the_dashboard_evaluate_and_give_data(self):
        for panel, expr in queries_of_board():
            with self.subTest(panel=panel, expr=expr):
                result = self.ask(expr)
                # what is only shown when it is not zero is zero here
                result = result or self.ask(expr.removesuffix(" > 0"))
                if not any(name in expr for name in MAY_BE_EMPTY):
                    self.assertTrue(result, "no data")

    def test_queries_of_the_runbooks_evaluate_and_give_data(self):
        for _, expr in queries_of_runbooks():
            with self.subTest(expr=expr):
                self.assertTrue(self.ask(expr), "no data")

    def test_what_happened_is_what_is_told(self):
        def value(expr):
            return float(self.ask(expr)[0]["value"][1])

        self.assertEqual(value('sum(acuity_responses_total{kind="segment",status="2xx"})'), 6)
        self.assertEqual(value('sum(acuity_responses_total{kind="pass",status="4xx",by="origin"})'), 1)
        self.assertEqual(value('sum(acuity_responses_total{status="5xx"})'), 0)
        self.assertGreaterEqual(value("sum(acuity_cache_hits_total)"), 3)
        self.assertGreater(value("sum(rate(acuity_player_bytes_total[1m]))"), 0)
        # The network for another kind of film is caught, and that is the one alert that there is cause for.
        eventually("the alert", lambda: self.ask('ALERTS{alertname="AcuityGuardStoppedModel",alertstate="firing"}'))
        firing = {each["metric"]["alertname"] for each in self.ask('ALERTS{alertstate="firing"}')}
        self.assertEqual(firing, {"AcuityGuardStoppedModel"})


if __name__ == "__main__":
    unittest.main()
