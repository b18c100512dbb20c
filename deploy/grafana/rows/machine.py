"""Whether the machine keeps up."""

from panels import AT, graph, mean, quantile, rate, recorded

ROW = (
    "Machine",
    [
        graph(
            "Lanes at work",
            "Part of the lanes that was busy. The scheduler spends spare time on dearer tiers, so much is normal; together with late segments it is too much.",
            [(recorded("instance:acuity_lanes_busy:ratio_rate5m"), "{{instance}}")],
            "percentunit",
        ),
        graph(
            "Queue",
            "Segments that wait for a lane. Alert: more than two for each lane, most of ten minutes.",
            [(f"acuity_enhancer_queue_depth{{{AT}}}", "{{instance}}")],
            "none",
        ),
        graph(
            "Wait for a lane",
            "95 of 100 segments waited no longer.",
            [(recorded("instance:acuity_queue_seconds:p95_rate5m"), "{{instance}}")],
            "s",
        ),
        graph(
            "Reserve",
            "Part of the machine's time that was left over lately; tiers are chosen by it. At 0 everything is plain.",
            [(f"acuity_enhancer_reserve_ratio{{{AT}}}", "{{instance}}")],
            "percentunit",
            least=None,
        ),
        graph(
            "Busy seconds for a segment, by stage",
            "Mean. Stages overlap, so they add up to more than total.",
            [
                (mean("acuity_enhancer_stage_seconds", by="stage"), "{{stage}}"),
            ],
            "s",
        ),
        graph(
            "Times real time",
            "Seconds of film made in a second, by tier: the middle one. Below 1 a lone stream cannot be kept up with.",
            [(quantile(0.5, "acuity_enhancer_realtime_ratio", by="tier"), "{{tier}}")],
            "none",
        ),
        graph(
            "Took by predicted",
            "How long segments took by what was predicted: the middle one. Above 1.5 for long, the machine has become slower.",
            [(recorded("instance:acuity_prediction_ratio:p50_rate15m"), "{{instance}}")],
            "none",
        ),
        graph(
            "Processor and card",
            "Segments by what decoded and encoded them. A card's own load comes from its vendor's exporter, not from here.",
            [(rate("acuity_enhancer_codec_segments_total", by="stage, by"), "{{stage}} by {{by}}")],
            "ops",
        ),
        graph(
            "Processors",
            "Kept busy by the process, decoding, networks and encoding together.",
            [(rate("process_cpu_seconds_total", by="instance"), "processors, {{instance}}")],
            "none",
        ),
    ],
)
