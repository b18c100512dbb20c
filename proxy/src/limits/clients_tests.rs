//! Limits that are met, given back, and changed.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use prometheus::Registry;

use super::*;

fn clients(config: LimitsConfig) -> (Clients, Registry) {
    let registry = Registry::new();
    (Clients::new(&config, Instruments::register(&registry).unwrap()), registry)
}

fn client(clients: &Clients, number: u32) -> Client {
    clients.client(ClientKey::from(IpAddr::from(number.to_be_bytes())))
}

#[test]
fn without_limits_nobody_is_remembered() {
    let (clients, _) = clients(LimitsConfig::default());
    assert!(clients.now.load().known.is_none());
    let one = client(&clients, 1);
    let held: Vec<Held> = (0..10_000).map(|_| clients.request(&one).unwrap()).collect();
    assert!(one.slot_now().is_some() && clients.connection(&one).is_some() && held.len() == 10_000);
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let limits = ClientLimits { requests_per_second: 2, burst: 3, ..ClientLimits::default() };
    let (clients, registry) = clients(LimitsConfig { client: limits, ..LimitsConfig::default() });
    let (one, other) = (client(&clients, 1), client(&clients, 2));
    for _ in 0..3 {
        clients.request(&one).unwrap();
    }
    let met = clients.request(&client(&clients, 1)).err().unwrap();
    assert_eq!(met.limit, Limit::ClientRate);
    assert!(met.retry_after > Duration::ZERO && met.retry_after <= Duration::from_millis(500), "{met:?}");
    assert!(clients.request(&other).is_ok(), "others are not touched");
    std::thread::sleep(met.retry_after + Duration::from_millis(20));
    assert!(clients.request(&one).is_ok(), "the bucket fills");
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains("acuity_limited_total{limit=\"client_rate\"} 1"), "{text}");
}

#[test]
fn all_together_have_a_limit_too() {
    let (clients, _) = clients(LimitsConfig { requests_per_second: 5, ..LimitsConfig::default() });
    let met: Vec<_> = (0..50).filter_map(|number| clients.request(&client(&clients, number)).err()).collect();
    assert!(met.len() >= 40 && met.iter().all(|met| met.limit == Limit::Rate), "{met:?}");
}

#[test]
fn what_is_held_is_given_back() {
    let limits = ClientLimits { requests: 2, connections: 1, ..ClientLimits::default() };
    let (clients, _) = clients(LimitsConfig { client: limits, ..LimitsConfig::default() });
    let one = client(&clients, 1);
    let first = clients.request(&one).unwrap();
    let _second = clients.request(&one).unwrap();
    assert_eq!(clients.request(&one).err().unwrap().limit, Limit::ClientRequests);
    drop(first);
    assert!(clients.request(&one).is_ok());
    let connection = clients.connection(&one);
    assert!(connection.is_some() && clients.connection(&one).is_none());
    drop(connection);
    assert!(clients.connection(&one).is_some());
}

#[tokio::test(start_paused = true)]
async fn work_waits_for_the_clients_own_and_not_for_ever() {
    let limits = ClientLimits { enhancements: 1, ..ClientLimits::default() };
    let (clients, _) = clients(LimitsConfig { client: limits, ..LimitsConfig::default() });
    let one = client(&clients, 1);
    let slot = one.slot().await.unwrap();
    let same = slot.clone();
    assert!(one.slot_now().is_none() && one.slot().await.is_err());
    assert_eq!(one.met(), Some(Limit::ClientEnhancements));
    assert!(client(&clients, 2).slot_now().is_some());
    drop(slot);
    assert!(one.slot_now().is_none(), "held as long as any part of the work holds it");
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.slot().await.is_ok() }
    });
    tokio::task::yield_now().await;
    drop(same);
    assert!(waiting.await.unwrap());
}

#[test]
fn limits_change_and_what_is_in_hand_stays_counted() {
    let config = |client: ClientLimits| LimitsConfig { client, ..LimitsConfig::default() };
    let limits = ClientLimits { requests: 3, enhancements: 2, ..ClientLimits::default() };
    let (clients, _) = clients(config(limits.clone()));
    let one = client(&clients, 1);
    let held: Vec<Held> = (0..3).map(|_| clients.request(&one).unwrap()).collect();
    let work = [one.slot_now().unwrap(), one.slot_now().unwrap()];

    // Another size of the table too.
    clients.take(&config(ClientLimits { requests: 4, enhancements: 3, entries: 2048, ..limits.clone() }));
    let again = client(&clients, 1);
    let fourth = clients.request(&again).unwrap();
    assert_eq!(clients.request(&again).err().unwrap().limit, Limit::ClientRequests, "three are from before");
    let third = again.slot_now();
    assert!(third.is_some() && again.slot_now().is_none());

    clients.take(&config(ClientLimits { requests: 1, enhancements: 1, entries: 2048, ..limits.clone() }));
    let again = client(&clients, 1);
    drop((held, work));
    assert!(
        clients.request(&again).is_err() && again.slot_now().is_none(),
        "one of each is left, and may be"
    );
    drop((fourth, third));
    assert!(clients.request(&again).is_ok() && again.slot_now().is_some());

    clients.take(&LimitsConfig::default());
    let held: Vec<Held> = (0..100).map(|_| clients.request(&client(&clients, 1)).unwrap()).collect();
    assert_eq!(held.len(), 100, "off");
}

#[test]
fn a_bucket_outlasts_what_does_not_touch_it() {
    let limits = ClientLimits { requests_per_second: 1, burst: 2, ..ClientLimits::default() };
    let config = |client: ClientLimits| LimitsConfig { client, ..LimitsConfig::default() };
    let (clients, _) = clients(config(limits.clone()));
    let ask = || clients.request(&client(&clients, 1)).is_ok();
    assert!(ask() && ask() && !ask());
    clients.take(&config(ClientLimits { requests: 50, ..limits.clone() }));
    assert!(!ask(), "empty as before");
    clients.take(&config(ClientLimits { burst: 3, ..limits }));
    assert!(ask() && ask() && ask() && !ask(), "another bucket, and full");
    let of_all = LimitsConfig { requests_per_second: 1, ..LimitsConfig::default() };
    clients.take(&of_all);
    assert!(ask() && !ask());
    clients.take(&LimitsConfig { stall_timeout: Duration::from_secs(9), ..of_all });
    assert!(!ask(), "empty as before");
    assert_eq!(clients.limits().stall_timeout.as_secs(), 9);
}

#[test]
fn a_flood_of_addresses_does_not_fill_the_memory() {
    let limits = ClientLimits { requests: 1, entries: 1024, ..ClientLimits::default() };
    let (clients, _) = clients(LimitsConfig { client: limits, ..LimitsConfig::default() });
    for number in 0..100_000 {
        let _ = clients.request(&client(&clients, number));
    }
    let now = clients.now.load();
    let known = now.known.as_ref().unwrap();
    known.run_pending_tasks();
    assert!(known.entry_count() <= 1024, "{}", known.entry_count());
}
