"""Origins, and other nodes and machines."""

from panels import AT, graph, quantile, rate, recorded

ROW = (
    "Origins, and nodes of the region",
    [
        graph(
            "Origins that are well",
            "1: well; 0: left alone, because its breaker is open or its health check finds it down. Alert: five minutes.",
            [(f"acuity_origin_up{{{AT}}}", "{{origin}}, {{instance}}")],
            "none",
        ),
        graph(
            "Asked of origins",
            "By origin and outcome, passed-through requests included.",
            [(rate("acuity_origin_attempts_total", by="origin, outcome") + " > 0", "{{origin}}: {{outcome}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Went to another origin",
            "From the one that is named: after it was asked, or at once.",
            [
                (rate("acuity_origin_retries_total", by="origin, reason") + " > 0", "{{origin}}: {{reason}}"),
                (
                    rate("acuity_origin_skipped_total", by="origin, reason") + " > 0",
                    "{{origin}}: at once, {{reason}}",
                ),
                (rate("acuity_origin_retry_budget_exhausted_total"), "not made again: none left"),
            ],
            "reqps",
            stacked=True,
        ),
        graph(
            "Passed through",
            "Requests now, and those a second for which there was no room (origin.max_passed_through).",
            [
                (f"acuity_origin_passing_requests{{{AT}}}", "{{origin}}, {{instance}}"),
                (rate("acuity_origin_full_total", by="origin") + " > 0", "no room a second: {{origin}}"),
            ],
            "none",
        ),
        graph(
            "Origins left alone, probed and checked",
            "Times an hour that an origin was found to fail, and probes and checks a second that failed.",
            [
                (
                    f"sum by (origin) (increase(acuity_origin_breaker_opened_total{{{AT}}}[1h]))",
                    "left alone: {{origin}}",
                ),
                (
                    rate("acuity_origin_probes_total", 'outcome="failed"', "origin") + " > 0",
                    "probe failed: {{origin}}",
                ),
                (
                    rate("acuity_origin_checks_total", 'outcome="failed"', "origin") + " > 0",
                    "check failed: {{origin}}",
                ),
            ],
            "none",
        ),
        graph(
            "Other nodes",
            "As each node sees the others. Empty from here on where there is no [nodes].",
            [(f"acuity_node_members{{{AT}}}", "{{state}}, {{instance}}")],
            "none",
        ),
        graph(
            "Asked of other nodes",
            "fetched came; what is late, silent, broken or busy is made once more.",
            [(rate("acuity_node_requests_total", by="outcome") + " > 0", "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Did not come from other nodes",
            "Of what was asked of them, that which was made once more. Alert: 10 %.",
            [(recorded("instance:acuity_node_misses:ratio_rate5m"), "{{instance}}")],
            "percentunit",
        ),
        graph(
            "Given to other nodes",
            "Their requests, by what came of them.",
            [(rate("acuity_node_served_total", by="outcome") + " > 0", "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Other nodes' answers",
            "Until first and last byte, making included: 95 of 100.",
            [
                (quantile(0.95, "acuity_node_first_byte_seconds"), "first byte, 95 %"),
                (quantile(0.95, "acuity_node_request_seconds"), "last byte, 95 %"),
            ],
            "s",
            6,
        ),
        graph(
            "Bytes between nodes",
            "Objects alone.",
            [
                (rate("acuity_node_received_bytes_total"), "received"),
                (rate("acuity_node_sent_bytes_total"), "sent"),
            ],
            "Bps",
            6,
        ),
        graph(
            "Copies of what others own",
            "In memory, a part of the cache (nodes.hot_share).",
            [(f"acuity_node_copies_bytes{{{AT}}}", "{{instance}}")],
            "bytes",
            6,
        ),
        graph(
            "Nodes that do not agree",
            "Requests to the nodes' port that are no node's, names that do not resolve, and what others could not be told.",
            [
                (rate("acuity_node_refusals_total", by="reason") + " > 0", "refused: {{reason}}"),
                (rate("acuity_node_resolve_failures_total"), "names not resolved"),
                (rate("acuity_node_launches_total", 'outcome="failed"') + " > 0", "work ahead not told"),
                (rate("acuity_node_purges_total", 'outcome="failed"') + " > 0", "purges not told"),
            ],
            "ops",
            6,
        ),
    ],
)
