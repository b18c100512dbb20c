"""What keeps the node up: limits, what lies below memory."""

from panels import AT, graph, rate, recorded

ROW = (
    "Guarding the node",
    [
        graph(
            "Limits that were met",
            "Requests and connections, by limit. client_enhancements turns nobody away: that work waits.",
            [(rate("acuity_limited_total", by="limit") + " > 0", "{{limit}}")],
            "ops",
            stacked=True,
        ),
        graph(
            "Connections",
            "Of players, open now, and those that were ended before their time.",
            [
                (f"acuity_connections{{{AT}}}", "open, {{instance}}"),
                (rate("acuity_connections_cut_total", by="reason") + " > 0", "cut a second: {{reason}}"),
            ],
            "none",
        ),
        graph(
            "Requests without a good signature",
            "On routes that want one, by reason.",
            [(rate("acuity_signature_refusals_total", by="reason") + " > 0", "{{reason}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Looks below memory",
            "Disk or store, by what came of it.",
            [(rate("acuity_depot_reads_total", by="outcome") + " > 0", "{{outcome}}")],
            "ops",
            6,
            stacked=True,
        ),
        graph(
            "Answered from below memory",
            "Of the looks, those that found something, over half an hour.",
            [(recorded("instance:acuity_depot_hits:ratio_rate30m"), "{{instance}}")],
            "percentunit",
            6,
        ),
        graph(
            "Kept below memory",
            "Bytes of disk, and what waits to be written.",
            [
                (f"acuity_depot_bytes{{{AT}}}", "on disk, {{instance}}"),
                (f"acuity_depot_queued_bytes{{{AT}}}", "waiting, {{instance}}"),
            ],
            "bytes",
            6,
        ),
        graph(
            "Writes below memory",
            "By what came of them. While it is paused nothing is tried.",
            [
                (rate("acuity_depot_writes_total", by="outcome") + " > 0", "{{outcome}}"),
                (f"max by (what) (acuity_depot_paused{{{AT}}}) > 0", "paused: {{what}}"),
            ],
            "ops",
            6,
        ),
        graph(
            "Configuration",
            "Keys that wait for a restart, and whether the last reload succeeded.",
            [
                (f"acuity_config_restart_needed{{{AT}}}", "waiting, {{instance}}"),
                (f"acuity_config_last_reload_successful{{{AT}}}", "last reload good, {{instance}}"),
            ],
            "none",
        ),
        graph(
            "Hand-overs that failed",
            "Another edge was to take over, and did not.",
            [(rate("acuity_handover_failures_total"), "failed")],
            "ops",
        ),
        graph(
            "Spans of traces",
            "Taken by the collector, and dropped.",
            [
                (rate("acuity_trace_spans_exported_total"), "exported"),
                (rate("acuity_trace_spans_dropped_total", by="reason") + " > 0", "dropped: {{reason}}"),
            ],
            "ops",
        ),
    ],
)
