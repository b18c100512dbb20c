"""Who makes segments, on this machine and on others."""

from panels import AT, graph, quantile, rate

# Workers on other machines serve several edges: the dashboard's instances are none of theirs.
POOL = 'job="acuity-worker"'

ROW = (
    "Workers",
    [
        graph(
            "Workers",
            "Processes that make segments, and those that start, wait or leave. Nothing where the edge makes them itself.",
            [(f"sum by (state) (acuity_workers{{{AT}}})", "{{state}}")],
            "none",
            6,
        ),
        graph(
            "Workers that ended",
            "recycled and stopped are by plan.",
            [(rate("acuity_worker_exits_total", by="reason") + " > 0", "{{reason}}")],
            "ops",
            6,
        ),
        graph(
            "Memory of workers",
            "Resident, by place.",
            [(f"acuity_worker_resident_bytes{{{AT}}}", "{{worker}}, {{instance}}")],
            "bytes",
            6,
        ),
        graph(
            "Workers lost and replaced",
            "From the last sign of life until as many made segments as should: 95 of 100.",
            [(quantile(0.95, "acuity_worker_recovery_seconds"), "95 %")],
            "s",
            6,
        ),
        graph(
            "Workers on other machines",
            "By what they are to these edges. Alerts: none is active for a minute; one is distrusted for five. Nothing where all are here.",
            [(f"sum by (state) (acuity_remote_workers{{{AT}}})", "{{state}}")],
            "none",
            12,
        ),
        graph(
            "Troubles with other machines",
            "Between edges and workers there, by reason. turned_away is a worker with enough to do; certificates' reasons are in the runbooks.",
            [(rate("acuity_remote_worker_troubles_total", by="reason") + " > 0", "{{reason}}")],
            "ops",
            12,
        ),
        graph(
            "What workers of the pool are asked for",
            "As they count it themselves, all of job acuity-worker: full and draining are turned away and asked of another. Alert: 5 % full at one of them. Nothing where there is no pool.",
            [(f"sum by (outcome) (rate(acuity_worker_calls_total{{{POOL}}}[$__rate_interval])) > 0", "{{outcome}}")],
            "ops",
            12,
        ),
        graph(
            "What waits at workers of the pool",
            "Segments for each lane, by worker.",
            [(f"acuity_enhancer_queue_depth{{{POOL}}} / acuity_enhancer_lanes{{{POOL}}}", "{{instance}}")],
            "none",
            12,
        ),
    ],
)
