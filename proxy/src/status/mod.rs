//! What a person who looks at one edge wants to see: `GET /status` and, for programs, `GET /status.json`, on the operators' address.
//!
//! Prometheus keeps figures and boards show them over time; this shows what no metric may have as a label: the streams that are watched
//! now, and the last fall-backs by name. Figures are those of the instruments ([`figures`]), differences over the last minutes come from a few
//! of them that are remembered ([`history`]). Nothing here grows with what strangers send, and everything of theirs is escaped by the library
//! that the page is written with.

mod figures;
mod history;
mod page;
mod recent;
mod streams;
mod view;

use std::sync::Weak;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::app::App;
use history::History;
pub use recent::Recent;
pub(crate) use streams::{Seen, Streams};
use view::View;

/// Between two looks at the instruments.
const PACE: Duration = Duration::from_secs(10);

/// Seconds between two loads of the page by itself; light, and soon enough for somebody who watches a change.
const REFRESH_SECONDS: u32 = 10;

/// What is remembered for the page.
pub struct Status {
    pub(crate) streams: Streams,
    history: History,
    started: Instant,
    began: SystemTime,
}

impl Default for Status {
    /// The edge starts now.
    fn default() -> Self {
        Self {
            streams: Streams::default(),
            history: History::default(),
            started: Instant::now(),
            began: SystemTime::now(),
        }
    }
}

/// Looks at the instruments now and then, for as long as there is an edge.
pub async fn remember(app: Weak<App>) {
    while let Some(app) = app.upgrade() {
        app.status.history.put(Instant::now(), &app.metrics.gather());
        drop(app);
        tokio::time::sleep(PACE).await;
    }
}

/// What `GET` of a path gives: its content type and text; `None`: nothing of this. `query`: `refresh=off` holds the page still.
pub async fn answer(app: &App, path: &str, query: Option<&str>) -> Option<(&'static str, String)> {
    match path {
        "/status" => {
            let refreshes = !query.is_some_and(|query| query.split('&').any(|pair| pair == "refresh=off"));
            let refresh = refreshes.then_some(REFRESH_SECONDS);
            Some(("text/html; charset=utf-8", page::html(&View::of(app).await, refresh)))
        }
        "/status.json" => {
            // Everything in it is text and numbers: it cannot fail.
            let text = serde_json::to_string_pretty(&View::of(app).await).unwrap_or_default();
            Some(("application/json", text + "\n"))
        }
        _ => None,
    }
}

/// Tells configurations apart: edges of one version that show the same are configured alike.
fn digest(config: &acuity_config::Config) -> String {
    let digest = Sha256::digest(format!("{config:?}"));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
