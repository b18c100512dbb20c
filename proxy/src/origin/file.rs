//! An "origin" that is this machine's file system, for `acuity enhance`: so that a packaged film on disk is read by the code
//! that reads one from the network. The configuration of an edge takes http and https only.

use std::io::{Error, Read, Seek, SeekFrom};
use std::path::Path;

use acuity_playlist::ByteRange;

use super::fetched::{Source, Validator};
use super::{Fetch, OriginError};

pub(super) async fn read(fetch: &Fetch<'_>) -> Result<Source, OriginError> {
    let unreachable = |message: String| OriginError::Unreachable { message };
    let path = fetch.url.to_file_path().map_err(|()| unreachable("no path of a file".to_owned()))?;
    let (range, limit_bytes) = (fetch.range, fetch.limit_bytes);
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || bytes(&path, range, limit_bytes)).await;
    let bytes = read
        .map_err(|error| unreachable(error.to_string()))?
        .map_err(|error| unreachable(format!("{shown}: {error}")))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(OriginError::TooLarge { limit_bytes });
    }
    if range.is_some_and(|range| range.length != bytes.len() as u64) {
        return Err(OriginError::Range);
    }
    Ok(Source {
        bytes: bytes.into(),
        validator: Validator::default(),
        content_type: None,
        cache_control: None,
        max_age: None,
        private: false,
        cluster: None,
        url: fetch.url.clone(),
        redirected: false,
    })
}

/// One byte more than the limit, if there is one, so that the caller sees it was passed.
fn bytes(path: &Path, range: Option<ByteRange>, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let mut file = std::fs::File::open(path)?;
    let mut length = limit_bytes.saturating_add(1);
    if let Some(range) = range {
        file.seek(SeekFrom::Start(range.offset))?;
        length = length.min(range.length);
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
