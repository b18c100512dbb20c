//! `acuity reload`, `acuity purge`, `acuity route`, `acuity live`: what a running edge is asked, over its admin address.
//!
//! They print the edge's answer, which is JSON, and end with 1 where it refuses and 2 where nobody answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use acuity_config::{AdminConfig, Config};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};

use super::{Failure, say, serve, with_causes};
use crate::secret;

/// A reload reads files and may load an embedding network; everything else is quicker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom to ask.
#[derive(ClapArgs, Debug)]
pub(super) struct Where {
    /// The edge's admin address [default: admin.listen of --config, else 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR", global = true)]
    admin: Option<String>,

    /// File with the operators' token, where the edge's admin.token_file asks for one [default: that of --config]
    #[arg(long, value_name = "FILE", env = "ACUITY_ADMIN_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,

    /// Configuration file of the edge: of it only admin.listen and admin.token_file count here
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Whom to ask, as it comes of flags and file.
struct Edge {
    admin: String,
    token_file: Option<PathBuf>,
}

/// Have a running edge read its configuration again
///
/// The whole file is checked first: a bad one changes nothing, and all that is wrong with it is printed (exit code 1). Requests in
/// progress finish with the configuration they began with. Keys that need a restart are named.
#[derive(ClapArgs, Debug)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    at: Where,
}

/// Have a running edge forget enhanced objects
///
/// They are made anew from the origin when they are next asked for; what is being made meanwhile is not kept. The other nodes of its
/// region are told; the answer names those that were not reached. Caches behind the edge are not reached.
#[derive(ClapArgs, Debug)]
#[group(skip)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    what: What,

    /// Only what is kept for this host (with --prefix, --cluster and --all)
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    #[command(flatten)]
    at: Where,
}

#[derive(ClapArgs, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// All that is made of one source: its URL or path at the edge, or an enhanced one's
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// All that is made of sources below this path, in whole segments
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,

    /// All of renditions for this cluster of models
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Everything
    #[arg(long)]
    all: bool,
}

/// See a running edge's routes, and switch enhancement off and on for one
///
/// Off holds at once: new playlists offer nothing enhanced, and who plays something enhanced gets the source's bytes. It lasts until it is
/// switched on again or the process ends; `enhance = "off"` in the configuration lasts longer.
#[derive(ClapArgs, Debug)]
pub(super) struct RouteArgs {
    #[command(subcommand)]
    action: Option<RouteAction>,

    #[command(flatten)]
    at: Where,
}

#[derive(Subcommand, Debug)]
enum RouteAction {
    /// Switch enhancement for a route
    Enhance {
        /// The route's name, as `acuity route` lists it
        name: String,
        /// Off, or on again
        state: State,
    },
}

#[derive(ValueEnum, Debug, Clone, Copy)]
enum State {
    On,
    Off,
}

/// See whether a running edge answers
///
/// Exit code 0 if it does, 2 if nobody does. No token is needed, and a configuration file that cannot be read is none. Whether it is ready for
/// players is `/readyz` on the same address.
#[derive(ClapArgs, Debug)]
pub(super) struct LiveArgs {
    #[command(flatten)]
    at: Where,
}

pub(super) fn live(args: &LiveArgs) -> Result<(), Failure> {
    let edge = args.at.edge().unwrap_or_else(|_| args.at.over(AdminConfig::default()));
    Edge { token_file: None, ..edge }.ask(Method::GET, "/livez")
}

pub(super) fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    args.at.edge()?.ask(Method::POST, "/reload")
}

pub(super) fn purge(args: &PurgeArgs) -> Result<(), Failure> {
    let What { url, prefix, cluster, all } = &args.what;
    let all = all.then(|| "true".to_owned());
    let named = [("url", url), ("prefix", prefix), ("cluster", cluster), ("all", &all), ("host", &args.host)];
    let query: Vec<String> = named
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_ref()?))))
        .collect();
    args.at.edge()?.ask(Method::POST, &format!("/purge?{}", query.join("&")))
}

pub(super) fn route(args: &RouteArgs) -> Result<(), Failure> {
    match &args.action {
        None => args.at.edge()?.ask(Method::GET, "/routes"),
        Some(RouteAction::Enhance { name, state }) => {
            let on = matches!(state, State::On);
            args.at.edge()?.ask(Method::POST, &format!("/routes/{}/enhance?on={on}", escaped(name)))
        }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Where {
    fn edge(&self) -> Result<Edge, Failure> {
        let told = match &self.config {
            Some(file) => Config::admin_of(&serve::read(file)?),
            None => AdminConfig::default(),
        };
        Ok(self.over(told))
    }

    /// What the flags say, over what the file says.
    fn over(&self, told: AdminConfig) -> Edge {
        let admin = self.admin.clone().unwrap_or_else(|| reached_at(told.listen).to_string());
        Edge { admin, token_file: self.token_file.clone().or(told.token_file) }
    }
}

/// Where this machine reaches who listens there.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let here = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    SocketAddr::new(here, listen.port())
}

impl Edge {
    fn ask(&self, method: Method, path: &str) -> Result<(), Failure> {
        let unreachable = |error: &dyn std::error::Error| {
            Failure::Running(format!("no edge answers at {}: {}", self.admin, with_causes(error)))
        };
        let url = format!("http://{}{path}", self.admin);
        let authorization = self.authorization()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::running)?;
        let (status, text) = runtime.block_on(async {
            let client = reqwest::Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .tls_certs_only(std::iter::empty())
                .build()
                .map_err(|error| unreachable(&error))?;
            let mut request = client.request(method, url);
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let answer = request.send().await.map_err(|error| unreachable(&error))?;
            let status = answer.status();
            Ok((status, answer.text().await.map_err(|error| unreachable(&error))?))
        })?;
        if status.is_success() {
            say(&pretty(&text));
            return Ok(());
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(Failure::Fault(match &self.token_file {
                None => "the edge wants the operators' token (its admin.token_file): --token-file FILE, \
                         ACUITY_ADMIN_TOKEN_FILE in the environment, or --config FILE, which names it"
                    .to_owned(),
                Some(file) => format!(
                    "the edge does not take the token in {}: its admin.token_file holds another one, or did when it was started",
                    file.display()
                ),
            }));
        }
        Err(Failure::Fault(format!("the edge answers {status}:\n{}", pretty(&text).trim_end())))
    }
}

impl Edge {
    /// What shows the token, if there is one. Read as the edge reads it, and never printed.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let fault = |why: String| Failure::Fault(format!("the token's file {} {why}", file.display()));
        let token = secret::read(file, secret::BYTES).map_err(|error| fault(error.to_string()))?;
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat())
            .map_err(|_| fault("holds what no header can".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// JSON on several lines; anything else as it is.
fn pretty(text: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(text);
    value.and_then(|value| serde_json::to_string_pretty(&value)).map_or(text.to_owned(), |text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(admin: Option<&str>, token: Option<&str>) -> Where {
        Where { admin: admin.map(str::to_owned), token_file: token.map(PathBuf::from), config: None }
    }

    #[test]
    fn flags_count_before_the_file_and_the_file_before_what_is_usual() {
        let told = || {
            Config::admin_of(
                "[admin]\nlisten = \"[::]:7070\"\ntoken_file = \"/run/token\"\n[cache]\nbudget = ",
            )
        };
        for (wanted, told, admin, token) in [
            (at(None, None), AdminConfig::default(), "127.0.0.1:9090", None),
            (at(None, None), told(), "[::1]:7070", Some("/run/token")),
            (at(Some("edge:1"), None), told(), "edge:1", Some("/run/token")),
            (at(None, Some("own")), told(), "[::1]:7070", Some("own")),
        ] {
            let edge = wanted.over(told);
            assert_eq!((edge.admin.as_str(), edge.token_file), (admin, token.map(PathBuf::from)));
        }
        let everywhere = "0.0.0.0:9090".parse().unwrap_or(AdminConfig::default().listen);
        assert_eq!(reached_at(everywhere), AdminConfig::default().listen);
    }
}
