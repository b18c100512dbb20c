//! The page: one document without a script, an image or anything from elsewhere.
//!
//! `maud` escapes whatever is put into it; what is not escaped (the style, and two symbols) is a constant of this program.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::view::{Counted, Depot, FallbackView, Gain, Lately, Route, StreamView, View, Workers};

const STYLE: &str = include_str!("page.css");

/// Rows of a table; the JSON has all.
const ROWS: usize = 50;

/// The page; it loads itself again after `refresh` seconds, if that is given.
pub(super) fn html(view: &View, refresh: Option<u32>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { "Acuity: " (view.state) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(view, refresh))
                main {
                    (tiles(view))
                    (shares(&view.lately))
                    (streams(&view.streams))
                    (fallbacks(&view.fallbacks, view.now_seconds))
                    div.pair {
                        (gains(&view.gain))
                        (makers(&view.workers))
                        (kept(view))
                        (limits(&view.limits))
                        (routes(&view.routes))
                    }
                }
                footer {
                    p {
                        "Figures are of the last " (duration(view.window_seconds)) " unless they say otherwise. "
                        a href="/status.json" { "The same as JSON" } " · " a href="/metrics" { "metrics" }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn head(view: &View, refresh: Option<u32>) -> Markup {
    html! {
        header {
            h1 { "Acuity " span.state data-state=(view.state) { (view.state) } }
            dl.facts {
                div { dt { "version" } dd { (view.version) } }
                div { dt { "up" } dd { (duration(view.uptime_seconds)) } }
                div { dt { "configuration" } dd { code { (view.config_digest) } } }
                div { dt { "connections" } dd { (whole(view.connections)) } }
                div { dt { "requests" } dd { (view.requests_in_progress) " in progress" } }
            }
            p.refresh {
                @match refresh {
                    Some(seconds) => { "Loads again every " (seconds) " s · " a href="/status?refresh=off" { "hold" } },
                    None => { "Held · " a href="/status" { "load again by itself" } },
                }
            }
            @if view.restart_needed > 0.0 {
                p.notice role="status" {
                    (whole(view.restart_needed)) " keys of the configuration wait for a restart"
                }
            }
        }
    }
}

/// The few figures that tell whether all is well.
fn tiles(view: &View) -> Markup {
    let Lately { saved_ratio, cache_hit_ratio, late_ratio, .. } = view.lately;
    let clients: usize = view.streams.iter().map(|stream| stream.clients).sum();
    let fell_back: f64 = view.lately.fallbacks.iter().map(|one| one.count).sum();
    html! {
        section.tiles aria-label="At a glance" {
            (tile("streams now", &view.streams.len().to_string(), &format!("{clients} clients"), ""))
            (tile("saved", &percent(saved_ratio),
                &format!("{} to players, {} from origins", bytes(view.lately.player_bytes), bytes(view.lately.origin_bytes)), ""))
            (tile("out of memory", &percent(cache_hit_ratio), "of enhanced objects", ""))
            (tile("late segments", &percent(late_ratio), "of those waited for", alarm(late_ratio, 0.02)))
            (tile("fall-backs", &whole(fell_back), "less than was promised", ""))
            (tile("errors", &whole(view.lately.origin_errors + view.lately.own_errors),
                &format!("{} of the edge's own, in {} answers", whole(view.lately.own_errors), whole(view.lately.answers)),
                if view.lately.own_errors > 0.0 { "bad" } else { "" }))
        }
    }
}

fn tile(name: &str, figure: &str, more: &str, class: &str) -> Markup {
    html! {
        div class={ "tile " (class) } {
            h2 { (name) }
            p.figure { (figure) }
            p.more { (more) }
        }
    }
}

fn alarm(ratio: Option<f64>, above: f64) -> &'static str {
    if ratio.is_some_and(|ratio| ratio > above) { "bad" } else { "" }
}

/// What segments were made by, as parts of a bar.
fn shares(lately: &Lately) -> Markup {
    let all: f64 = lately.segments.iter().map(|one| one.count).sum();
    html! {
        section {
            h2 { "What segments were made by" }
            @if all > 0.0 {
                div.bar aria-hidden="true" {
                    @for (place, one) in lately.segments.iter().enumerate() {
                        span class={ "part c" (place % 8) } style={ "flex-grow:" (one.count / all) } {}
                    }
                }
                ul.legend {
                    @for (place, one) in lately.segments.iter().enumerate() {
                        li { span class={ "dot c" (place % 8) } aria-hidden="true" {} (one.name) " "
                            b { (percent(Some(one.count / all))) } " " span.dim { (whole(one.count)) } }
                    }
                }
            } @else {
                p.dim { "None was made." }
            }
        }
    }
}

fn streams(streams: &[StreamView]) -> Markup {
    html! {
        section {
            h2 { "Streams now" }
            @if streams.is_empty() {
                p.dim { "Nobody has asked for an enhanced rendition in the last two minutes." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Streams now" {
                    table {
                        thead { tr {
                            th scope="col" { "stream" }
                            th scope="col" { "rendition" }
                            th scope="col" { "cluster" }
                            th scope="col" { "made by" }
                            th.number scope="col" { "clients" }
                            th.number scope="col" { "sent" }
                            th.number scope="col" { "last" }
                        } }
                        tbody {
                            @for stream in streams.iter().take(ROWS) {
                                tr {
                                    th.path scope="row" { @if !stream.host.is_empty() { span.dim { (stream.host) } } (stream.playlist) }
                                    td { (stream.width) "×" (stream.height) " " span.dim { (format!("{:.2}", stream.frames_per_second)) " fps" } }
                                    td { span.tag { (stream.cluster) } }
                                    td { (made_by(&stream.made_by)) }
                                    td.number { (stream.clients) }
                                    td.number { (bytes(stream.bytes as f64)) }
                                    td.number { (stream.last_seconds_ago) " s" }
                                }
                            }
                        }
                    }
                }
                @if streams.len() > ROWS { p.dim { "and " (streams.len() - ROWS) " more, in the JSON" } }
            }
        }
    }
}

fn made_by(all: &[Counted]) -> Markup {
    let total: f64 = all.iter().map(|one| one.count).sum();
    html! {
        @for (place, one) in all.iter().enumerate() {
            @if place > 0 { ", " }
            (one.name)
            @if all.len() > 1 { " " span.dim { (percent(Some(one.count / total))) } }
        }
    }
}

fn fallbacks(all: &[FallbackView], now_seconds: u64) -> Markup {
    html! {
        section {
            h2 { "Recent fall-backs" }
            @if all.is_empty() {
                p.dim { "None since the edge began." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Recent fall-backs" {
                    table {
                        thead { tr {
                            th scope="col" { "ago" }
                            th scope="col" { "reason" }
                            th scope="col" { "segment" }
                            th scope="col" { "rendition" }
                            th scope="col" { "cluster" }
                            th.number scope="col" { "in a row" }
                        } }
                        tbody {
                            @for one in all {
                                tr {
                                    td.nowrap { (duration(now_seconds.saturating_sub(one.at_seconds))) }
                                    td { span.tag.warn { (one.reason) } }
                                    th.path scope="row" { @if !one.host.is_empty() { span.dim { (one.host) } } (one.path) }
                                    td.nowrap { (one.rendition) }
                                    td { span.tag { (one.cluster) } }
                                    td.number { (one.count) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn gains(all: &[Gain]) -> Markup {
    html! {
        section {
            h2 { "Gain where the guard measured" }
            @if all.is_empty() {
                p.dim { "Nothing was measured: guard.rate says how much is." }
            } @else {
                table {
                    thead { tr {
                        th scope="col" { "model" } th scope="col" { "over" } th.number scope="col" { "luma PSNR" }
                    } }
                    tbody { @for one in all { tr {
                        th scope="row" { (one.cluster) " ×" (one.scale) " " (one.tier)
                            @if one.task != "upscale" { " " span.dim { (one.task) } }
                            @if one.is_stopped { " " span.tag.warn { "stopped" } } }
                        td { (one.over) }
                        td class={ "number " (if one.gain_db < 0.0 { "bad" } else { "good" }) } { (format!("{:+.2} dB", one.gain_db)) }
                    } } }
                }
            }
        }
    }
}

fn makers(workers: &Workers) -> Markup {
    html! {
        section {
            h2 { "What makes segments" }
            dl.list {
                div { dt { "processes" } dd {
                    @if workers.configured == 0 && !workers.remote.is_empty() { "on other machines" }
                    @else if workers.configured == 0 { "the edge's own" }
                    @else { (whole(workers.active)) " of " (workers.configured) " workers, " (whole(workers.other)) " beside them" }
                } }
                div { dt { "lanes" } dd { (whole(workers.lanes)) ", " (whole(workers.waiting)) " segments wait" } }
                div { dt { "time left over" } dd { (percent(Some(workers.reserve_ratio))) } }
                div { dt { "models" } dd { (workers.models) } }
                @for one in &workers.resident_bytes { div { dt { "memory, place " (one.name) } dd { (bytes(one.count)) } } }
                @for one in &workers.remote { div { dt { "other machines: " (one.name) } dd { (whole(one.count)) } } }
                @for one in &workers.exits { div { dt { "ended: " (one.name) } dd { (whole(one.count)) } } }
            }
        }
    }
}

fn kept(view: &View) -> Markup {
    html! {
        section {
            h2 { "What is kept" }
            (meter("memory", view.cache.bytes, Some(view.cache.budget_bytes), view.cache.objects))
            @if let Some(Depot { place, bytes, budget_bytes, objects, paused }) = &view.depot {
                @if *place == "disk" { (meter(place, *bytes, *budget_bytes, *objects)) }
                @else { p { "A store is shared below memory." } }
                @for what in paused { p { span.tag.warn { (what) " paused: it fails" } } }
            }
            p.dim { (whole(view.objects_being_made)) " objects are being made" }
        }
    }
}

fn meter(name: &str, used: f64, budget: Option<u64>, objects: f64) -> Markup {
    let of = budget.map_or(0.0, |budget| used / (budget.max(1) as f64));
    html! {
        p.meter {
            span { (name) }
            meter value=(of.clamp(0.0, 1.0)) aria-label=(name) {}
            span.dim { (bytes(used)) @if let Some(budget) = budget { " of " (bytes(budget as f64)) } ", " (whole(objects)) " objects" }
        }
    }
}

fn limits(all: &[Counted]) -> Markup {
    html! {
        section {
            h2 { "Limits that were met" }
            @if all.is_empty() { p.dim { "None." } }
            @else { dl.list { @for one in all { div { dt { (one.name) } dd { (whole(one.count)) } } } } }
        }
    }
}

fn routes(all: &[Route]) -> Markup {
    html! {
        section {
            h2 { "Routes" }
            table {
                thead { tr { th scope="col" { "name" } th scope="col" { "origin" } th scope="col" { "enhancement" } } }
                tbody { @for route in all.iter().take(ROWS) { tr {
                    th scope="row" { (route.name) }
                    td.path { (route.origin) }
                    td {
                        @if route.is_switched_off { span.tag.warn { "switched off" } }
                        @else if route.is_off { span.tag { "off" } }
                        @else { span.tag.good { "on" } }
                    }
                } } }
            }
        }
    }
}

/// Seconds, as people say it.
fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

fn percent(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio.abs() < 0.0005 => "0 %".to_owned(),
        Some(ratio) => format!("{:.1} %", ratio * 100.0),
        None => "–".to_owned(),
    }
}

fn bytes(bytes: f64) -> String {
    let mut left = bytes.max(0.0);
    for unit in ["B", "kB", "MB", "GB"] {
        if left < 1000.0 {
            return if unit == "B" { format!("{left:.0} B") } else { format!("{left:.1} {unit}") };
        }
        left /= 1000.0;
    }
    format!("{left:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(whole(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!((whole(12.0), whole(-1.0)), ("12".to_owned(), "0".to_owned()));
        assert_eq!([0, 61, 3_700, 200_000].map(duration), ["0 s", "1 min 1 s", "1 h 1 min", "2 d 7 h"]);
        assert_eq!(
            [0.0, 999.0, 1500.0, 2.5e9, 4e12].map(bytes),
            ["0 B", "999 B", "1.5 kB", "2.5 GB", "4.0 TB"]
        );
        assert_eq!([None, Some(0.0), Some(0.123)].map(percent), ["–", "0 %", "12.3 %"]);
    }

    #[test]
    fn what_strangers_write_is_text() {
        let odd = "/<script>alert(1)</script>\"'&/a.m3u8";
        let stream = StreamView {
            host: "<b>".to_owned(),
            playlist: odd.to_owned(),
            width: 1280,
            height: 720,
            frames_per_second: 29.97,
            cluster: "generic".to_owned(),
            clients: 1,
            requests: 1,
            bytes: 1,
            made_by: vec![Counted { name: "<i>".to_owned(), count: 1.0 }],
            last_seconds_ago: 0,
        };
        let fallback = FallbackView {
            at_seconds: 0,
            reason: "no_video",
            host: odd.to_owned(),
            path: odd.to_owned(),
            rendition: "1280×720".to_owned(),
            cluster: "generic".to_owned(),
            count: 1,
        };
        let page = streams(&[stream]).into_string() + &fallbacks(&[fallback], 0).into_string();
        for tag in ["<script", "<b>", "<i>", "\"'"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }
}
