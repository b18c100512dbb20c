#!/usr/bin/env python3
"""Writes Grafana's dashboard, acuity.json beside this file: `board.py` writes it, `board.py --check` says whether it is as
this file says. Kept as a program because a board's JSON is a thousand lines of which a hundred are meant.

Queries ask for job="$job" and instance=~"$instance"; recorded series (instance:...) are those of
deploy/prometheus/acuity.rules.yml, so Prometheus needs these rules for the board to be whole.
"""

import argparse
import json
import sys
from pathlib import Path

from panels import AT, SOURCE, graph, mean, placed, quantile, rate, recorded, stat, table, variable

FILE = Path(__file__).resolve().parent / "acuity.json"

# Shares that are good when small, and when large: where green ends and where yellow does.
SMALL_IS_GOOD = ("green", (0.02, "yellow"), (0.15, "red"))
LARGE_IS_GOOD = ("red", (0.3, "yellow"), (0.6, "green"))

ROWS = [
    (
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
    ),
    (
        "Quality",
        [
            graph(
                "Segments by what enlarged them",
                "The tier of the network, or plain.",
                [(rate("acuity_enhancer_segments_total", by="made_by, tier"), "{{made_by}} {{tier}}")],
                "ops",
                stacked=True,
            ),
            graph(
                "Why not a better tier",
                "best: there is none better. haste: a start or a seek. deadline, crowd and reserve: no time.",
                [(rate("acuity_enhancer_choices_total", by="why"), "{{why}}")],
                "ops",
                stacked=True,
            ),
            graph(
                "Gain that the guard measured",
                "Mean luma PSNR of specialised models over the generic one and over plain scaling, against the origin's own high rendition. Empty while guard.rate is 0.",
                [(f"acuity_guard_gain_db{{{AT}}}", "{{cluster}} x{{scale}} {{tier}} over {{over}}")],
                "dB",
                least=None,
            ),
            graph(
                "Checks of the guard by outcome",
                "won and lost are verdicts; the rest says why nothing could be compared.",
                [(rate("acuity_guard_checks_total", by="outcome") + " > 0", "{{outcome}}")],
                "ops",
            ),
            graph(
                "Pictures between pictures",
                "By what is seen there; made are those of the interpolator. Empty where no route has [route.frame_rate].",
                [(rate("acuity_enhancer_between_frames_total", by="shown"), "{{shown}}")],
                "ops",
            ),
            graph(
                "Pictures held",
                "Repeated because the source's own could not be decoded.",
                [(rate("acuity_enhancer_held_frames_total"), "held")],
                "ops",
            ),
        ],
    ),
    (
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
    ),
    (
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
    ),
    (
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
    ),
    (
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
    ),
    (
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
    ),
]


def board():
    return {
        "uid": "acuity",
        "title": "Acuity",
        "description": "Edges that enhance video in flight: what viewers get, what it gains, what it costs.",
        "tags": ["acuity"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "timezone": "",
        "annotations": {"list": [annotation()]},
        "links": [],
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Data source",
                    "query": "prometheus",
                    "current": {},
                },
                variable("job", "Job", "label_values(acuity_build_info, job)", False),
                variable("instance", "Instance", 'label_values(acuity_build_info{job="$job"}, instance)', True),
            ]
        },
        "panels": placed(ROWS),
    }


def annotation():
    """A line where a process started."""
    return {
        "name": "Starts",
        "enable": True,
        "datasource": SOURCE,
        "expr": f"changes(process_start_time_seconds{{{AT}}}[2m]) > 0",
        "iconColor": "blue",
        "titleFormat": "{{instance}} started",
    }


def main():
    arguments = argparse.ArgumentParser(description="Writes acuity.json beside this file.")
    arguments.add_argument(
        "--check", action="store_true", help="write nothing; 1 if the file is not as it would be written"
    )
    check = arguments.parse_args().check
    text = json.dumps(board(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        FILE.write_text(text)
        return 0
    if FILE.read_text() == text:
        return 0
    print(f"{FILE.name} is not what board.py writes: run it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
