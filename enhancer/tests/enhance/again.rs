//! What was cut short comes out the same when it is made again by what was said of it.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use acuity_enhancer::EnhanceRequest;
use acuity_enhancer::begun::made_by;
use bytes::Bytes;

use crate::kit::{enhance, enhancer, generic, request, segments, spec};

/// Makes it as it likes, in its own time; the segment, and what is said to have made it.
fn made(segment: &Bytes) -> (Bytes, String) {
    let said = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&said);
    let pieces = Box::new(move |_, by: &str| by.clone_into(&mut told.lock().unwrap()));
    let (sender, receiver) = mpsc::channel();
    let asked = request(segment.clone(), spec(640, 360, generic()));
    enhancer().submit_in_pieces(asked, Some(pieces), Box::new(move |result| sender.send(result).unwrap()));
    let made = receiver.recv_timeout(Duration::from_secs(120)).expect("a reply").unwrap();
    let said = said.lock().unwrap().clone();
    (made.bytes, said)
}

fn again(segment: &Bytes, by: &str) -> Bytes {
    let again_by = Some(by.to_owned());
    enhance(EnhanceRequest { again_by, ..request(segment.clone(), spec(640, 360, generic())) }).unwrap().bytes
}

/// Starts with what was handed out first, and stops there until it is too late for the network; the segment, and what is said to
/// have made it.
fn cut_short(segment: &Bytes, after: Duration) -> (Bytes, String) {
    let deadline = Instant::now() + after;
    let said = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&said);
    let pieces = Box::new(move |_, by: &str| {
        by.clone_into(&mut told.lock().unwrap());
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
    });
    let (sender, receiver) = mpsc::channel();
    let asked =
        EnhanceRequest { deadline: Some(deadline), ..request(segment.clone(), spec(640, 360, generic())) };
    enhancer().submit_in_pieces(asked, Some(pieces), Box::new(move |result| sender.send(result).unwrap()));
    let made = receiver.recv_timeout(Duration::from_secs(120)).expect("a reply").unwrap();
    let said = said.lock().unwrap().clone();
    (made.bytes, said)
}

#[test]
fn what_was_cut_short_comes_out_the_same_again() {
    let directory = tempfile::tempdir().unwrap();
    // Noise, so that there are bytes enough to hand some out early.
    let noise = ["-vf", "noise=alls=40:allf=t", "-b:v", "2000k", "-g", "150"];
    let segment = segments(directory.path(), &noise).remove(0);
    // Other tests use the lane as well: where they took all the time there was, it is given more.
    let cut = [3, 6, 12, 24].into_iter().map(|seconds| cut_short(&segment, Duration::from_secs(seconds)));
    let (bytes, by) =
        cut.into_iter().find(|(_, by)| by.contains('@')).expect("it is cut short within the segment");
    assert!(again(&segment, &by) == bytes, "made again by {by}, it came out differently");
    let (model, _) = by.split_once('@').unwrap();
    assert!(again(&segment, model) != bytes, "{by} is what {model} makes as well");
}

#[test]
fn what_a_cheaper_model_helped_with_comes_out_the_same_again() {
    let directory = tempfile::tempdir().unwrap();
    let segment = segments(directory.path(), &[]).remove(0);
    let (bytes, by) = made(&segment);
    let (dear, base) = (made_by(&by), "generic-x2-s");
    assert_ne!(dear, base, "it has a tier that is better than the cheapest");
    assert!(again(&segment, &by) == bytes, "made again by {by}, it came out differently");
    // Whether it is worth it is measured where models are proven; either is made again as it was.
    let alone = again(&segment, dear);
    let helped = again(&segment, &format!("{dear}/{base}"));
    assert!(alone != helped, "{base} does nothing beside {dear}");
    assert!(bytes == if by == dear { alone } else { helped });
}
