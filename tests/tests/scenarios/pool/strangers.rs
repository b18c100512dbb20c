//! Who is not let in: at the worker's port, and at the edge's.

use std::sync::Arc;
use std::time::Duration;

use acuity_tests::certificates::{Authority, For, Signed};
use acuity_tests::pool::{Pool, RemoteWorker};
use acuity_tests::world::{Edge, WorldBuilder, repository};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::commands::run;
use crate::kit::one_rendition;

/// TLS that takes the pool's workers, and shows a certificate or none.
pub(super) fn connector(pool: &Pool, shows: Option<&Signed>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pool.authority.certificate()).unwrap()).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => config.with_no_client_auth(),
        Some(Signed { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn handshakes(metrics: &acuity_tests::metrics::Metrics, outcome: &str) -> f64 {
    metrics.sum("acuity_worker_handshakes_total", &[("outcome", outcome)])
}

async fn refused(worker: &RemoteWorker, outcome: &str) {
    worker.until(outcome, |metrics| handshakes(metrics, outcome) >= 1.0).await.unwrap();
}

/// An edge that will not get far.
async fn edge(world: WorldBuilder) -> Edge {
    world.without_waiting().start_before("http://127.0.0.1:9").await.unwrap()
}

/// Waits until the edge has counted a trouble and takes the worker for one that certificates keep away.
async fn distrusted(edge: &Edge, reason: &str) {
    let mut seen = String::new();
    for _ in 0..300 {
        if let Ok(metrics) = edge.metrics().await {
            let troubles = metrics.sum("acuity_remote_worker_troubles_total", &[("reason", reason)]);
            let distrusted = metrics.sum("acuity_remote_workers", &[("state", "distrusted")]);
            if troubles >= 1.0 && distrusted == 1.0 {
                assert!(edge.events().contains(&format!("reason=\"{reason}\"")), "{}", edge.events());
                return;
            }
            seen = metrics.text().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {reason}\n{}\n{seen}", edge.events());
}

#[tokio::test]
async fn a_worker_lets_nobody_in_but_its_edges() {
    let pool = Pool::new().unwrap();
    let others = Authority::new(pool.folder(), "others").unwrap();
    let mut worker = pool.start("").await.unwrap();
    // Plain text, no certificate, and somebody who says nothing.
    let mut plain = TcpStream::connect(worker.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    refused(&worker, "plain_text").await;
    let mut silent = TcpStream::connect(worker.address).await.unwrap();
    let name = ServerName::try_from("worker.test").unwrap();
    let stream = TcpStream::connect(worker.address).await.unwrap();
    let nobody = connector(&pool, None).connect(name, stream).await;
    if let Ok(mut nobody) = nobody {
        // With TLS 1.3 the refusal comes behind the client's last word.
        nobody.read_u8().await.unwrap_err();
    }
    refused(&worker, "no_certificate").await;
    // Edges with certificates that are not what they should be.
    for (file, by, purpose, days, outcome) in [
        ("stranger", &others, For::Edges, 2, "stranger"),
        ("expired", &pool.authority, For::Edges, 0, "expired"),
        ("server", &pool.authority, For::Workers, 2, "purpose"),
    ] {
        let shows = by.sign(file, "DNS:edge-1.test", purpose, days).unwrap();
        // One that is good for this second is good no more in the next but one.
        tokio::time::sleep(Duration::from_millis(if days == 0 { 2100 } else { 0 })).await;
        let edge = edge(pool.edge_as(one_rendition(), &[&worker], &shows)).await;
        refused(&worker, outcome).await;
        distrusted(&edge, "refused").await;
    }
    let metrics = worker.metrics().await.unwrap();
    assert_eq!((handshakes(&metrics, "trusted"), metrics.sum("acuity_worker_edges", &[])), (0.0, 0.0));
    refused(&worker, "timeout").await;
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "it is shown the door");
    worker.signal("TERM").unwrap();
    assert!(worker.until_exit(Duration::from_secs(10)).await.unwrap().success());
}

#[tokio::test]
async fn of_an_authoritys_edges_those_that_are_permitted() {
    let pool = Pool::new().unwrap();
    let worker = pool.start_permitting("permitted = [\"*.edges.test\"]").await.unwrap();
    let not = edge(pool.edge(one_rendition(), &[&worker])).await;
    refused(&worker, "name").await;
    distrusted(&not, "refused").await;
    let shows = pool.authority.sign("permitted", "DNS:a.edges.test", For::Edges, 2).unwrap();
    let _permitted = edge(pool.edge_as(one_rendition(), &[&worker], &shows)).await;
    refused(&worker, "trusted").await;
}

#[tokio::test]
async fn who_was_signed_and_taken_back_is_a_stranger_to_both() {
    let pool = Pool::new().unwrap();
    let sign = |file: &str, purpose| pool.authority.sign(file, "IP:127.0.0.1", purpose, 2).unwrap();
    let (old_edge, old_worker) = (sign("old-edge", For::Edges), sign("old-worker", For::Workers));
    let list = pool.authority.revoke(&[&old_edge, &old_worker]).unwrap();
    let worker = pool.start_permitting(&format!("revoked = {list:?}")).await.unwrap();
    let old = edge(pool.edge_as(one_rendition(), &[&worker], &old_edge)).await;
    refused(&worker, "revoked").await;
    distrusted(&old, "refused").await;
    // Who does not stand in the list is who he was.
    let knows =
        |worker| pool.edge(one_rendition(), &[worker]).set("workers.tls.revoked", format!("{list:?}"));
    let _edge = edge(knows(&worker)).await;
    refused(&worker, "trusted").await;
    let worker = pool.start_as("", &old_worker).await.unwrap();
    let edge = edge(knows(&worker)).await;
    distrusted(&edge, "revoked").await;
    refused(&worker, "refused").await;
}

#[test]
fn what_is_wrong_with_a_workers_file_is_said_before_it_starts() {
    let pool = Pool::new().unwrap();
    let file = pool.folder().join("worker.toml");
    let text = format!(
        "models.directory = {:?}\n[workers.listen]\naddress = \"127.0.0.1:7443\"\npermitted = [\"*.edges.test\"]\n\
         certificate = {:?}\nkey = {:?}\nclient_authority = {:?}\n",
        repository().join("models/zoo"),
        pool.worker.certificate,
        pool.worker.key,
        pool.authority.certificate(),
    );
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(&["check", "--worker", "--config", file.to_str().unwrap()])
    };
    let (code, said, told) = check(&text);
    assert_eq!(code, Some(0), "{told}");
    assert!(said.contains("127.0.0.1:7443 for *.edges.test") && said.contains("models"), "{said}");
    for (text, fault) in [
        (text.replace("worker.key", "edge.key"), "workers.listen: cannot use"),
        (format!("{text}revoked = {:?}\n", pool.worker.key), "holds no revocation list"),
        (text.replace("models/zoo", "models/none"), "models/none"),
        ("[enhancer]\nlanes = 1\n".to_owned(), "workers.listen: is missing"),
        (format!("{text}conections = 1\n"), "conections: is not a known key"),
    ] {
        let (code, said, told) = check(&text);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{told}");
        assert!(told.contains(fault), "{fault}: {told}");
    }
}

#[tokio::test]
async fn an_edge_sends_nothing_to_workers_that_it_does_not_know() {
    let pool = Pool::new().unwrap();
    let others = Authority::new(pool.folder(), "others").unwrap();
    let signed =
        |by: &Authority, file: &str, name: &str, days| by.sign(file, name, For::Workers, days).unwrap();
    for (shows, reason) in [
        (signed(&others, "stranger", "IP:127.0.0.1", 2), "stranger"),
        (signed(&pool.authority, "expired", "IP:127.0.0.1", 0), "expired"),
        (signed(&pool.authority, "other", "DNS:elsewhere.test", 2), "name"),
    ] {
        let worker = pool.start_as("", &shows).await.unwrap();
        let edge = edge(pool.edge(one_rendition(), &[&worker])).await;
        distrusted(&edge, reason).await;
        refused(&worker, "refused").await;
        let calls = worker.metrics().await.unwrap().sum("acuity_worker_calls_total", &[]);
        assert_eq!(calls, 0.0);
    }
    // The name may be another than the address.
    let shows = signed(&pool.authority, "named", "DNS:elsewhere.test", 2);
    let worker = pool.start_as("", &shows).await.unwrap();
    let named = pool.edge(one_rendition(), &[&worker]).set("workers.tls.server_name", "\"elsewhere.test\"");
    let _edge = edge(named).await;
    refused(&worker, "trusted").await;
}
