//! Which store a command means, and who asks.

use std::path::PathBuf;

use acuity_config::{
    DEFAULT_CHANNEL, Follow, ModelStoreConfig, ModelStorePlace, ModelStoreUrl, StoreConfig, Url,
};
use acuity_models::Sha256;
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use object_store::aws::AwsCredential;
use tokio::runtime::Runtime;

use crate::bucket::{self, Patience, Whereabouts};
use crate::cli::{Failure, serve};
use crate::model_store::remote::Remote;

/// Who wants the bucket, for messages.
const SECTION: &str = "--store";

/// What every command for a store may be told.
#[derive(ClapArgs, Debug, Clone)]
pub(super) struct StoreArgs {
    /// The store: s3://BUCKET/PREFIX or file:///PATH [default: [models.store] of --config]
    #[arg(
        long,
        visible_alias = "to",
        alias = "from",
        value_name = "URL",
        required_unless_present = "config",
        conflicts_with = "config",
        help_heading = "Store"
    )]
    store: Option<String>,

    /// Take store and keys from a configuration's [models.store]
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    config: Option<PathBuf>,

    /// The store's server [default: AWS, by the region]
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", help_heading = "Store")]
    endpoint: Option<String>,

    /// The region that requests are signed for
    #[arg(
        long,
        value_name = "REGION",
        env = "AWS_REGION",
        default_value = "us-east-1",
        help_heading = "Store"
    )]
    region: String,

    /// File with the access key's id and nothing else [default: AWS_ACCESS_KEY_ID]
    #[arg(long, value_name = "FILE", requires = "secret_key_file", help_heading = "Store")]
    access_key_file: Option<PathBuf>,

    /// File with the secret key and nothing else [default: AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if it is there]
    #[arg(long, value_name = "FILE", requires = "access_key_file", help_heading = "Store")]
    secret_key_file: Option<PathBuf>,
}

/// A store, and what a configuration says of it.
pub(super) struct Store {
    pub(super) remote: Remote,
    pub(super) shown: String,
    pub(super) follow: Option<Follow>,
    pub(super) max_bytes: u64,
    /// The models' directory of the configuration.
    pub(super) directory: Option<PathBuf>,
}

impl Store {
    /// The channel that is meant if nobody says another one.
    pub(super) fn channel(&self) -> &str {
        match &self.follow {
            Some(Follow::Channel(channel)) => channel,
            Some(Follow::Pin(_)) | None => DEFAULT_CHANNEL,
        }
    }
}

impl StoreArgs {
    /// The store that is meant.
    pub(super) fn open(&self, patience: Patience) -> Result<Store, Failure> {
        match (&self.config, &self.store) {
            (Some(file), _) => Self::of_config(file, patience),
            (None, Some(url)) => self.of_url(url, patience),
            (None, None) => Err(Failure::Fault("say which store: --store URL or --config FILE".to_owned())),
        }
    }

    fn of_config(file: &PathBuf, patience: Patience) -> Result<Store, Failure> {
        let text = serve::read(file)?;
        let name = file.display().to_string();
        let config = acuity_config::parse(&text).map_err(|faults| Failure::fault(faults.in_file(&name)))?;
        let Some(ModelStoreConfig { place, follow, max_bytes, .. }) = config.models.store else {
            return Err(Failure::Fault(format!("{name} has no [models.store]")));
        };
        let (remote, shown) = match place {
            ModelStorePlace::Directory(path) => {
                (Remote::directory(path.clone()), format!("file://{}", path.display()))
            }
            ModelStorePlace::Bucket(config) => {
                let opened = bucket::open(&config, "[models.store]", patience).map_err(Failure::fault)?;
                let StoreConfig { bucket, prefix, .. } = &config;
                (Remote::bucket(opened, prefix), format!("s3://{bucket}/{prefix}"))
            }
        };
        let directory = Some(config.models.directory);
        Ok(Store { remote, shown, follow: Some(follow), max_bytes, directory })
    }

    fn of_url(&self, url: &str, patience: Patience) -> Result<Store, Failure> {
        let words = |(message, hint): (String, String)| Failure::Fault(format!("--store: {message}; {hint}"));
        let remote = match ModelStoreUrl::parse(url).map_err(words)? {
            ModelStoreUrl::Directory(path) => Remote::directory(path),
            ModelStoreUrl::Bucket { bucket, prefix } => {
                let endpoint = self.endpoint.as_deref().map(|text| {
                    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(
                        || Failure::Fault(format!("--endpoint: {text:?} is not an http or https URL")),
                    )
                });
                let endpoint = endpoint.transpose()?;
                let opened = match (&self.access_key_file, &self.secret_key_file) {
                    (Some(access_key_file), Some(secret_key_file)) => {
                        let config = StoreConfig {
                            bucket,
                            endpoint,
                            region: self.region.clone(),
                            prefix: prefix.clone(),
                            access_key_file: access_key_file.clone(),
                            secret_key_file: secret_key_file.clone(),
                        };
                        bucket::open(&config, SECTION, patience)
                    }
                    _ => {
                        let place = Whereabouts {
                            bucket: &bucket,
                            endpoint: endpoint.as_ref(),
                            region: &self.region,
                        };
                        bucket::open_with(place, from_environment()?, SECTION, patience)
                    }
                };
                Remote::bucket(opened.map_err(Failure::fault)?, &prefix)
            }
        };
        let shown = url.trim_end_matches('/').to_owned();
        Ok(Store { remote, shown, follow: None, max_bytes: u64::MAX, directory: None })
    }
}

fn from_environment() -> Result<AwsCredential, Failure> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (said("AWS_ACCESS_KEY_ID"), said("AWS_SECRET_ACCESS_KEY")) {
        (Some(key_id), Some(secret_key)) => {
            Ok(AwsCredential { key_id, secret_key, token: said("AWS_SESSION_TOKEN") })
        }
        _ => Err(Failure::Fault(
            "a bucket wants keys: --access-key-file and --secret-key-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        )),
    }
}

/// A digest that somebody typed.
pub(super) fn digest(text: &str) -> Result<Sha256, String> {
    text.parse().map_err(|error: acuity_models::NotADigest| error.to_string())
}

/// A channel's name that somebody typed.
pub(super) fn channel(text: &str) -> Result<String, String> {
    acuity_config::model_channel(text).map_err(|(message, hint)| format!("{message}: {hint}"))
}

/// What asks a store runs on this.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("cannot start threads: {error}")))
}

/// Bytes that go or come.
pub(super) fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    // The template is a constant; if it were wrong the bar would be plain.
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}  {elapsed}") {
        bar.set_style(style);
    }
    bar
}
