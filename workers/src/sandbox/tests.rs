//! What a worker that has been taken over would try, tried by a process that is fenced in as one.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, getppid};

use super::*;

/// Where a listener is that the one within would reach if it could.
const PORT: &str = "ACUITY_TEST_FENCED_PORT";
/// What anybody may read, and a place where anybody may write.
const FILE: &str = "/etc/passwd";
const PLACE: &str = "/tmp/acuity-test-fenced";

#[test]
fn nothing_leads_out() {
    if let Ok(port) = std::env::var(PORT) {
        return within(port.parse().unwrap());
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::tests::nothing_leads_out", "--nocapture"])
        .env(PORT, listener.local_addr().unwrap().port().to_string())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.status.success() && words.contains("all was tried"),
        "{words}\n{}",
        String::from_utf8_lossy(&told.stderr)
    );
}

fn within(port: u16) {
    let text = "[workers]\nsandbox = \"required\"\ncpus = [\"0\"]\nmemory_limit = \"256MiB\"\n";
    let part = WorkerPart::parse(text).unwrap();
    // All of it is there for who is not fenced in, or what fails below fails for another reason.
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::fs::read(FILE).unwrap();
    std::fs::write(PLACE, "").and_then(|()| std::fs::remove_file(PLACE)).unwrap();
    assert!(Command::new("true").status().unwrap().success());
    kill(getppid(), None).unwrap();

    assert_eq!(enter(&part).unwrap(), [""; 0]);

    let denied = |what: &str, error: std::io::Error| {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
    };
    denied("TCP", TcpStream::connect(("127.0.0.1", port)).unwrap_err());
    denied("listening", TcpListener::bind(("127.0.0.1", 0)).unwrap_err());
    denied("UDP", UdpSocket::bind(("127.0.0.1", 0)).unwrap_err());
    denied("Unix sockets", UnixStream::connect("/run/docker.sock").unwrap_err());
    denied("programs", Command::new("true").status().unwrap_err());
    denied("files", std::fs::read(FILE).unwrap_err());
    denied("writing", std::fs::write(PLACE, "").unwrap_err());
    denied("the memory of others", std::fs::read(format!("/proc/{}/mem", getppid())).unwrap_err());
    assert_eq!(kill(getppid(), None), Err(Errno::EPERM), "signals");
    assert!(!Uid::effective().is_root() && setuid(Uid::from_raw(0)).is_err(), "privileges");
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient] {
        assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
    }
    let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let number = |number: &usize| cpus.is_set(*number).unwrap();
    assert_eq!((0..CpuSet::count()).filter(number).collect::<Vec<_>>(), [0], "processors");
    assert!(Vec::<u8>::new().try_reserve_exact(2 << 30).is_err(), "more memory than four times the limit");

    // And what it lives by goes on.
    std::thread::spawn(|| std::fs::read("/proc/self/status").unwrap()).join().unwrap();
    UnixStream::pair().unwrap();
    println!("all was tried");
}
