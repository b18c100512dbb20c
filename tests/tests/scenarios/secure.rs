//! An edge with TLS, and what comes before a request: handshakes that are begun and not ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acuity_tests::certificates::self_signed;
use acuity_tests::ports;
use acuity_tests::world::{World, WorldBuilder};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use crate::attacks::{metrics, world_with};
use crate::kit::one_rendition;

/// An edge with TLS, and the certificate that it shows.
pub(crate) struct Secure {
    pub(crate) world: World,
    port: u16,
    folder: TempDir,
}

pub(crate) async fn secure() -> Secure {
    secure_with(one_rendition()).await
}

pub(crate) async fn secure_with(told: WorldBuilder) -> Secure {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    self_signed(&certificate, &key, "DNS:localhost").unwrap();
    let port = ports::free::<1>().unwrap()[0].port();
    let told = told
        .set("server.tls.listen", format!("\"127.0.0.1:{port}\""))
        .set("server.tls.certificate", format!("{certificate:?}"))
        .set("server.tls.key", format!("{key:?}"));
    Secure { world: world_with(told).await, port, folder }
}

impl Secure {
    /// A connection from `host` (127.0.0.0/8), before anything is said.
    async fn socket(&self, host: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((host, 0))).unwrap();
        socket.connect(SocketAddr::from(([127, 0, 0, 1], self.port))).await.unwrap()
    }

    /// A connection after the handshake, in which these protocols were offered.
    pub(crate) async fn connect(&self, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let socket = self.socket([127, 0, 0, 1]).await;
        self.greet(socket, protocols).await.unwrap()
    }

    async fn greet(&self, socket: TcpStream, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap();
        roots.add(own).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

/// Whether the edge ends it at once.
async fn is_refused(socket: &mut TcpStream) -> bool {
    matches!(timeout(Duration::from_millis(500), socket.read(&mut [0; 16])).await, Ok(Ok(0) | Err(_)))
}

/// pingora gives a handshake a minute: who begins many and goes on with none must not fill everybody's place.
#[tokio::test]
async fn a_handshake_is_a_connection_of_its_client() {
    let edge = secure_with(one_rendition().set("limits.client.connections", 3)).await;
    let one = [127, 0, 0, 1];
    let mut begun = Vec::new();
    for _ in 0..3 {
        let mut socket = edge.socket(one).await;
        assert!(!is_refused(&mut socket).await);
        begun.push(socket);
    }
    for _ in 0..2 {
        assert!(is_refused(&mut edge.socket(one).await).await, "a fourth is one too many");
    }
    // Another client is not concerned.
    let other = edge.socket([127, 0, 0, 2]).await;
    let mut other = edge.greet(other, &[b"http/1.1"]).await.unwrap();
    other.write_all(b"GET /a.jpg HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), other.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"a picture"), "{}", String::from_utf8_lossy(&answer));
    // A handshake that ends is no second connection, and one that was served is none any more.
    let mut served = edge.greet(begun.pop().unwrap(), &[b"http/1.1"]).await.unwrap();
    served.write_all(b"GET /a.jpg HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), served.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"a picture"), "{}", String::from_utf8_lossy(&answer));
    // it is over for the client a moment before it is for the edge
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!is_refused(&mut edge.socket(one).await).await);
    let counted = metrics(&edge.world).await;
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "client_connections")]), 2.0);
}
