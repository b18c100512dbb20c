//! The access log: one JSON object a line, written by a thread of its own.
//!
//! A slow disk or a blocked pipe must not hold up a player. Requests hand a record to a bounded queue; when that is
//! full the record is dropped and counted.

use std::io::{BufWriter, ErrorKind, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use serde::Serialize;

/// Records that may wait; at about 400 bytes each a few megabytes.
const QUEUE_LIMIT: usize = 8192;

/// Records are gathered for this long and written together: a fifth of what fills the queue at 80 000 requests a second,
/// and less than a person who follows the log notices.
const GATHER: Duration = Duration::from_millis(20);

/// One request.
#[derive(Debug, Serialize)]
pub struct Record {
    /// When it began, RFC 3339 in UTC.
    #[serde(serialize_with = "timestamp")]
    pub time: SystemTime,
    /// The request's id, also in the answer's `X-Request-Id`.
    pub id: String,
    /// The trace's id, where it is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The client's address; behind a trusted proxy the one that it forwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// `GET`, ...
    pub method: String,
    /// `h2` or `http/1.1`.
    pub protocol: &'static str,
    /// `Host`, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path without its query, which may hold signatures.
    pub path: String,
    /// Status of the answer; 0 if there was none.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: usize,
    /// From the request's headers to the answer's end.
    pub seconds: f64,
    /// See [`crate::metrics::Kind`].
    pub kind: &'static str,
    /// See [`crate::metrics::Outcome`].
    pub outcome: &'static str,
    /// The limit that it met, if it did; see [`crate::limits::Limit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited: Option<&'static str>,
    /// What made an enhanced object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What went wrong, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where records go. Clones share one writer.
#[derive(Clone)]
pub struct AccessLog {
    queue: Option<SyncSender<Record>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// A log that writes nothing.
    #[must_use]
    pub fn off(dropped: IntCounter) -> Self {
        Self { queue: None, dropped }
    }

    /// Starts the thread that writes to `out`. It ends when the last clone is gone and all is written.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to(out: impl Write + Send + 'static, dropped: IntCounter) -> std::io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE_LIMIT);
        thread::Builder::new().name("acuity-log".to_owned()).spawn({
            let dropped = dropped.clone();
            move || write_all(&records, out, &dropped)
        })?;
        Ok(Self { queue: Some(queue), dropped })
    }

    /// Whether records are wanted at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands over a record; never waits.
    pub fn write(&self, record: Record) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(record) {
            self.dropped.inc();
        }
    }
}

fn write_all(records: &Receiver<Record>, out: impl Write, dropped: &IntCounter) {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    let mut went_well = true;
    while let Ok(first) = records.recv() {
        let mut written = write_one(&mut out, &first);
        // While this thread sleeps, handing a record over wakes nobody: under load that would cost more than the record.
        thread::sleep(GATHER);
        while written.is_ok()
            && let Ok(record) = records.try_recv()
        {
            written = write_one(&mut out, &record);
        }
        let failed_at_record = written.is_err();
        match written.and_then(|()| out.flush()) {
            // Nobody reads any more: the edge serves on without a log.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            Err(error) => {
                // A full disk, most likely. What does not fit is lost and counted, and lines go on when there is room again.
                if failed_at_record {
                    dropped.inc();
                }
                if went_well {
                    tracing::error!(%error, "the access log cannot be written: records are lost until it can");
                }
                went_well = false;
            }
            Ok(()) => went_well = true,
        }
    }
}

/// All of a line or nothing: after an error the next line begins where a line begins.
fn write_one(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    out.write_all(&line)
}

fn timestamp<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*time) {
        Ok(time) => serializer.collect_str(&format_args!("{time:.3}")),
        Err(_) => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::UNIX_EPOCH;

    use super::*;

    fn record(path: &str) -> Record {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            id: "7f".to_owned(),
            trace_id: None,
            client: Some(IpAddr::from([192, 0, 2, 1])),
            method: "GET".to_owned(),
            protocol: "h2",
            host: None,
            path: path.to_owned(),
            status: 200,
            bytes: 5,
            seconds: 0.25,
            kind: "segment",
            outcome: "hit",
            limited: None,
            made_by: None,
            user_agent: Some("a \"quoted\"\nagent".to_owned()),
            error: None,
        }
    }

    struct Lines(mpsc::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "test").unwrap()
    }

    #[test]
    fn each_record_is_one_line_of_json() {
        let (sender, written) = mpsc::channel();
        let log = AccessLog::to(Lines(sender), counter()).unwrap();
        log.write(record("/a.ts"));
        log.write(record("/b.ts"));
        drop(log);
        let text: Vec<u8> = written.iter().flatten().collect();
        let lines: Vec<serde_json::Value> = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["time"], "2023-11-14T22:13:20.250Z");
        assert_eq!(lines[1]["path"], "/b.ts");
        assert_eq!(lines[1]["client"], "192.0.2.1");
        assert!(lines[1].get("host").is_none());
    }

    #[test]
    fn a_full_disk_costs_records_and_whole_lines_go_on_after_it() {
        struct Disk {
            full: Arc<AtomicBool>,
            written: mpsc::Sender<Vec<u8>>,
        }
        impl Write for Disk {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                if self.full.load(Ordering::SeqCst) {
                    return Err(ErrorKind::StorageFull.into());
                }
                // a disk gives up in the middle of things
                let part = bytes.len().min(1000);
                let _ = self.written.send(bytes[..part].to_vec());
                Ok(part)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (sender, written) = mpsc::channel();
        let full = Arc::new(AtomicBool::new(true));
        let dropped = counter();
        let disk = Disk { full: Arc::clone(&full), written: sender };
        let log = AccessLog::to(disk, dropped.clone()).unwrap();
        // far more than is buffered
        for _ in 0..2000 {
            log.write(record("/while-full.ts"));
        }
        for _ in 0..500 {
            if dropped.get() > 0 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        assert!(dropped.get() > 0);
        full.store(false, Ordering::SeqCst);
        for _ in 0..10 {
            log.write(record("/after.ts"));
        }
        drop(log);
        let text: Vec<u8> = written.iter().flatten().collect();
        let lines: Vec<serde_json::Value> = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.iter().filter(|line| line["path"] == "/after.ts").count(), 10);
        assert_eq!(lines.len() as u64 + dropped.get(), 2010, "each is written or counted");
    }

    #[test]
    fn a_writer_that_does_not_keep_up_costs_records_and_no_time() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let dropped = counter();
        let log = AccessLog::to(Stuck(stuck), dropped.clone()).unwrap();
        for _ in 0..2 * QUEUE_LIMIT {
            log.write(record("/a.ts"));
        }
        assert!(dropped.get() > 0);
        drop(release);
    }
}
