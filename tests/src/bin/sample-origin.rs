//! The origin of `make run`: the sample ladder, and the page that compares the origin's rendition with the edge's.
//!
//! It is the test origin with folders put in: what is demonstrated is what is tested.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use acuity_tests::Result;
use acuity_tests::origin::Origin;
use clap::Parser;

/// Serves a folder with HLS below /sample/ and the comparison page at /.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Folder with master.m3u8.
    #[arg(long)]
    sample: PathBuf,
    /// The edge in front of this origin, as the page shall address it.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    edge: String,
    /// Folder of the page.
    #[arg(long, default_value = "tests/page")]
    page: PathBuf,
    /// The player the page uses.
    #[arg(long, default_value = "tests/browser/node_modules/hls.js/dist/hls.min.js")]
    hls_js: PathBuf,
    /// Shown on the page beside the picture.
    #[arg(long, default_value = "Film: Big Buck Bunny, (c) Blender Foundation, CC-BY 3.0.")]
    credit: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: sample-origin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<()> {
    let master = arguments.sample.join("master.m3u8");
    if !master.is_file() {
        return Err(format!("{} is missing: scripts/fetch-sample.sh makes it", master.display()).into());
    }
    let origin =
        Origin::start_at(arguments.listen).await.map_err(|error| format!("{}: {error}", arguments.listen))?;
    // absent before `npm ci`; the stream itself can be served without
    if let Ok(script) = std::fs::read(&arguments.hls_js) {
        origin.put("/hls.min.js", script);
    }
    let config = serde_json::json!({
        "original": origin.url("/sample/master.m3u8"),
        "enhanced": format!("{}/sample/master.m3u8", arguments.edge.trim_end_matches('/')),
        "credit": arguments.credit,
    });
    origin.put("/config.json", config.to_string());
    origin.folder("/sample", arguments.sample);
    origin.folder("", arguments.page);
    println!("listening on http://{}", origin.address());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
