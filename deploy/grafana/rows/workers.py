"""Who makes segments, on this machine and on others."""

from panels import AT, graph, quantile, rate

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
    ],
)
