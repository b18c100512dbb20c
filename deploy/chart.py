"""What Helm makes of the chart, for the tests that look at it."""

import contextlib
import os

import yaml
from helm_python.chart import Chart

from test_deploy import DEPLOY

HERE = DEPLOY / "helm/acuity"
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
