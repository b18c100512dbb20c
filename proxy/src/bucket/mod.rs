//! Buckets of S3-compatible stores: the client, the keys it shows, and its errors in words. What is kept there is its users' affair
//! ([`crate::cache::depot`], [`crate::model_store`]).

mod credentials;

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{StoreConfig, Url};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::{Error, Result, RetryConfig, StaticCredentialProvider};

use crate::secret::SecretFault;
use credentials::FileCredentials;

/// How long a store is waited for. Nothing is tried again here: who asks knows what else can be done.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// From a request to the last byte of its answer; none: as long as something comes.
    pub whole: Option<Duration>,
    /// How long an answer may say nothing.
    pub silence: Duration,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketFault {
    /// A file with a key cannot be used.
    #[error("the store's key in {} {fault}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        fault: SecretFault,
    },
    /// There is more than a key in it.
    #[error("the store's key in {} holds more than a key: spaces, or what is not ASCII", file.display())]
    KeyText {
        /// The file.
        file: PathBuf,
    },
    /// The bucket's settings fit no store.
    #[error("cannot set up the store of {section}: {why}")]
    Settings {
        /// Who wants it.
        section: &'static str,
        /// Why.
        why: String,
    },
}

/// Where a bucket is.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    /// Its name.
    pub bucket: &'a str,
    /// The server; none: AWS, by the region.
    pub endpoint: Option<&'a Url>,
    /// The region that requests are signed for.
    pub region: &'a str,
}

/// The bucket of a configuration, whose keys are read now and again while it is used. `section`: who wants it, for messages.
///
/// # Errors
/// The keys or settings cannot be used. Nothing is asked of the store.
pub fn open(
    config: &StoreConfig,
    section: &'static str,
    patience: Patience,
) -> std::result::Result<AmazonS3, BucketFault> {
    let credentials = FileCredentials::load(&config.access_key_file, &config.secret_key_file)?;
    let StoreConfig { bucket, endpoint, region, .. } = config;
    let place = Whereabouts { bucket, endpoint: endpoint.as_ref(), region };
    client(place, Arc::new(credentials), section, patience)
}

/// A bucket with keys that somebody has in hand, a session's token among them perhaps.
///
/// # Errors
/// The settings cannot be used.
pub fn open_with(
    place: Whereabouts<'_>,
    credential: AwsCredential,
    section: &'static str,
    patience: Patience,
) -> std::result::Result<AmazonS3, BucketFault> {
    client(place, Arc::new(StaticCredentialProvider::new(credential)), section, patience)
}

/// What can be said against a bucket before it is used.
///
/// # Errors
/// Its keys cannot be read.
pub fn check(config: &StoreConfig) -> std::result::Result<(), BucketFault> {
    FileCredentials::load(&config.access_key_file, &config.secret_key_file).map(drop)
}

fn client(
    place: Whereabouts<'_>,
    credentials: AwsCredentialProvider,
    section: &'static str,
    patience: Patience,
) -> std::result::Result<AmazonS3, BucketFault> {
    let tls = place.endpoint.is_none_or(|url| url.scheme() == "https");
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(place.bucket)
        .with_region(place.region)
        .with_credentials(credentials)
        .with_http_connector(Connector { tls, patience })
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    if let Some(endpoint) = place.endpoint {
        builder = builder
            .with_endpoint(endpoint.as_str().trim_end_matches('/'))
            .with_allow_http(endpoint.scheme() == "http");
    }
    builder.build().map_err(|error| BucketFault::Settings { section, why: error.to_string() })
}

/// As toward origins: the way is the configuration's, not the environment's proxies.
#[derive(Debug)]
struct Connector {
    tls: bool,
    patience: Patience,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        let Patience { connect, whole, silence } = self.patience;
        let builder = reqwest::Client::builder()
            .connect_timeout(connect)
            .read_timeout(silence)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        let builder = match whole {
            Some(whole) => builder.timeout(whole),
            None => builder,
        };
        // A machine without certificate authorities can still use a store in the clear.
        let builder = if self.tls { builder } else { builder.tls_certs_only(std::iter::empty()) };
        let client = builder.build();
        Ok(HttpClient::new(client.map_err(|error| Error::Generic { store: "S3", source: error.into() })?))
    }
}

/// The library's error with its causes, none twice.
#[must_use]
pub fn in_words(error: &Error) -> String {
    let (mut words, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// Whether something that the system said is among an error's causes.
#[must_use]
pub fn has_cause(error: &Error, is_it: impl Fn(&std::io::Error) -> bool) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(&is_it) {
            return true;
        }
        cause = error.source();
    }
    false
}
