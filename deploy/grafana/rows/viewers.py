"""What viewers get, and what they are spared."""

from panels import AT, LARGE_IS_GOOD, SMALL_IS_GOOD, graph, quantile, rate, recorded, stat

ROW = (
    "What viewers get",
    [
        stat(
            "Late segments",
            "Of the segments that somebody waited for, those ready after their deadline. Alerts: 2 %, 15 %.",
            recorded("instance:acuity_late_segments:ratio_rate5m"),
            "percentunit",
            SMALL_IS_GOOD,
        ),
        stat(
            "Errors",
            "Answers with a status of 5xx, whoever is to blame. Alert: 5 %.",
            recorded("instance:acuity_server_errors:ratio_rate5m"),
            "percentunit",
            ("green", (0.01, "yellow"), (0.05, "red")),
        ),
        stat(
            "Broken off",
            "Requests whose answer began and never ended. Alert: 1 %.",
            recorded("instance:acuity_broken_answers:ratio_rate5m"),
            "percentunit",
            ("green", (0.001, "yellow"), (0.01, "red")),
        ),
        stat(
            "Plain segments",
            "Segments made without any network: watchable, not better than the player's own scaling.",
            recorded("instance:acuity_plain_segments:ratio_rate5m"),
            "percentunit",
            ("green", (0.1, "yellow"), (0.5, "red")),
        ),
        stat(
            "Answered from memory",
            "Requests for enhanced objects that memory answered, over half an hour.",
            recorded("instance:acuity_cache_hits:ratio_rate30m"),
            "percentunit",
            LARGE_IS_GOOD,
        ),
        stat(
            "Ready",
            "1 once all models are loaded and warmed.",
            f"acuity_enhancer_ready{{{AT}}}",
            "none",
            ("red", (1, "green")),
        ),
        graph(
            "First byte of enhanced segments",
            "From the request's headers to the answer's: the middle one and 95 of 100, made and out of memory. Players give up at 10 s.",
            [
                (
                    quantile(0.5, "acuity_first_byte_seconds", 'kind="segment"', "cached"),
                    "50 %, cached: {{cached}}",
                ),
                (
                    quantile(0.95, "acuity_first_byte_seconds", 'kind="segment"', "cached"),
                    "95 %, cached: {{cached}}",
                ),
            ],
            "s",
        ),
        graph(
            "Deadlines",
            "Segments by who waited and whether they were ready in time. Work ahead that is late hurts nobody.",
            [(rate("acuity_enhancer_deadlines_total", by="who, kept"), "{{who}}, kept: {{kept}}")],
            "ops",
            stacked=True,
        ),
        graph(
            "Requests for segments by outcome",
            "hit and joined cost nothing; made is a lane's work; source_bytes, origin_error and broke_off are trouble.",
            [(rate("acuity_requests_total", 'kind="segment"', "outcome"), "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Fall-backs by reason",
            "Segments that are less than their rendition promised. deadline_short is a machine with too much to do; the rest is in the runbooks.",
            [(rate("acuity_fallbacks_total", by="reason") + " > 0", "{{reason}}")],
            "ops",
            12,
            stacked=True,
        ),
        graph(
            "Answers by status",
            "All kinds of requests; `by` says whose status it is.",
            [(rate("acuity_responses_total", by="status, by") + " > 0", "{{status}} by {{by}}")],
            "reqps",
            12,
        ),
    ],
)
