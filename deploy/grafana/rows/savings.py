"""What it costs and saves."""

from panels import graph, rate, recorded

ROW = (
    "Cost and savings",
    [
        graph(
            "Bytes from the origin and to players",
            "What lies between the two lines never left the origin.",
            [
                (rate("acuity_player_bytes_total"), "to players"),
                (rate("acuity_player_bytes_total", 'kind="segment"'), "of these enhanced segments"),
                (rate("acuity_origin_bytes_total"), "from the origin"),
            ],
            "Bps",
        ),
        graph(
            "Origin's share of the bytes",
            "Bytes from the origin by bytes to players: the smaller, the more is saved. Above 100 % the edge fetches more than it gives (probes, work ahead, the guard).",
            [(recorded("instance:acuity_origin_bytes:ratio_rate5m"), "{{instance}}")],
            "percentunit",
        ),
        graph(
            "Processor for a second of film",
            "Processor seconds of the whole process by seconds of enhanced film, at 25 pictures a second.",
            [(f"{rate('process_cpu_seconds_total')} / ({rate('acuity_enhancer_frames_total')} / 25)", "seconds")],
            "s",
        ),
        graph(
            "Renditions offered and refused",
            "By multivariant playlist answered, with the reason of refusals.",
            [
                (rate("acuity_variants_offered_total"), "offered"),
                (rate("acuity_variants_refused_total", by="reason") + " > 0", "refused: {{reason}}"),
            ],
            "ops",
        ),
        graph(
            "Who named the cluster",
            "auto is by looks; a fallback other than none is a stream that got less than was meant.",
            [
                (
                    rate("acuity_cluster_choices_total", by="by, cluster, fallback"),
                    "{{by}}: {{cluster}} ({{fallback}})",
                )
            ],
            "ops",
        ),
        graph(
            "Work ahead",
            "made_and_waited_for came just in time; made may have been for nobody.",
            [(rate("acuity_ahead_total", by="outcome"), "{{outcome}}")],
            "ops",
            stacked=True,
        ),
    ],
)
