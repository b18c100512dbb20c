"""The node itself."""

from panels import AT, graph, rate, table

ROW = (
    "Cache, origin, node",
    [
        graph(
            "Memory",
            "Resident, and of that enhanced objects in the cache.",
            [
                (f"process_resident_memory_bytes{{{AT}}}", "resident, {{instance}}"),
                (f"acuity_cache_bytes{{{AT}}}", "cache, {{instance}}"),
            ],
            "bytes",
        ),
        graph(
            "Cache",
            "Requests for enhanced objects, from memory and not. Those that join work in hand count as not.",
            [(rate("acuity_cache_hits_total"), "hits"), (rate("acuity_cache_misses_total"), "misses")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Enhanced objects",
            "In memory, and being made or waited for.",
            [
                (f"acuity_cache_entries{{{AT}}}", "in memory, {{instance}}"),
                (f"acuity_flights{{{AT}}}", "being made, {{instance}}"),
            ],
            "none",
        ),
        graph(
            "The edge's requests to the origin",
            "By outcome; passed-through requests are not among them.",
            [(rate("acuity_origin_requests_total", by="outcome") + " > 0", "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        graph(
            "Models",
            "Sets in use, retired (replaced, still serving) and stopped.",
            [(f"sum by (state) (acuity_enhancer_model_sets{{{AT}}})", "{{state}}")],
            "none",
        ),
        graph(
            "Models from the store",
            "Looks by what came of them; whether another catalogue is wanted than the one in use. Nothing where models are files alone.",
            [
                (rate("acuity_model_store_looks_total", by="outcome") + " > 0", "looks: {{outcome}}"),
                (rate("acuity_model_store_refusals_total", by="reason") + " > 0", "refused: {{reason}}"),
                (f"acuity_model_store_behind{{{AT}}}", "behind, {{instance}}"),
            ],
            "none",
        ),
        graph(
            "File descriptors",
            "Open, by those that the process may have.",
            [(f"process_open_fds{{{AT}}} / process_max_fds{{{AT}}}", "{{instance}}")],
            "percentunit",
        ),
        graph(
            "Access log records dropped",
            "What reads the standard output does not keep up.",
            [(rate("acuity_access_log_dropped_total"), "dropped")],
            "ops",
        ),
        table(
            "Models in use",
            "What each network runs on.",
            f"acuity_enhancer_model_info{{{AT}}}",
        ),
        table(
            "Models refused or stopped",
            "Those of the catalogue by reason, and those that the guard has stopped.",
            f"acuity_models_refused{{{AT}}} > 0 or acuity_guard_stopped{{{AT}}} > 0",
        ),
    ],
)
