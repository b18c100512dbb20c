"""Rules, alerts and the autoscaler of the chart: promtool judges them, as those that Prometheus gets elsewhere."""

import unittest

import yaml

from chart import HERE, rendered
from test_deploy import DEPLOY, promtool, scratch
from test_observability import names_in, queries_of_board

ADAPTER = DEPLOY / "helm/prometheus-adapter.yaml"


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
