//! What any client of gRPC may rely on: the health protocol, deadlines, words for too much and for not now.

use std::time::{Duration, Instant};

use acuity_tests::pool::{Pool, RemoteWorker};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::strangers::connector;

const SERVICE: &str = "acuity.worker.v1.Worker";

/// A channel to a worker, as the edge that the pool has a certificate for.
async fn channel(pool: &Pool, worker: &RemoteWorker) -> Channel {
    let connector = connector(pool, Some(&pool.edge));
    let address = worker.address;
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let connector = connector.clone();
        async move {
            let name = ServerName::try_from("worker.test").unwrap();
            let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://worker.test").connect_with_connector(connect).await.unwrap()
}

/// Messages as they are on the wire.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}

/// Asks for something with one message.
async fn call(channel: &Channel, method: &'static str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/{SERVICE}/{method}").parse().unwrap();
    grpc.unary(Request::new(message), path, Raw).await.map(tonic::Response::into_inner)
}

/// Begins a segment and never goes on; `timeout` is what the call says.
async fn begin_and_wait(channel: &Channel, timeout: Duration) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/{SERVICE}/Enhance").parse().unwrap();
    let mut request = Request::new(futures::stream::pending::<Vec<u8>>());
    request.set_timeout(timeout);
    match grpc.streaming(request, path, Raw).await {
        Err(status) => status,
        Ok(replies) => replies.into_inner().message().await.unwrap_err(),
    }
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn health_is_told_by_the_standard_service() {
    let pool = Pool::new().unwrap();
    let mut worker = pool.start("").await.unwrap();
    let channel = channel(&pool, &worker).await;
    for service in [SERVICE, ""] {
        assert_eq!(health(&channel, service).await, Ok(ServingStatus::Serving));
    }
    assert_eq!(health(&channel, "somebody.else").await, Err(Code::NotFound));
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut told = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    worker.signal("TERM").unwrap();
    let next = tokio::time::timeout(Duration::from_secs(5), told.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status(), ServingStatus::NotServing);
    // Who comes now is told to come again, elsewhere.
    let status = begin_and_wait(&channel, Duration::from_secs(5)).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(worker.until_exit(Duration::from_secs(10)).await.unwrap().success());
}

#[tokio::test]
async fn deadlines_limits_and_what_is_not_for_one_edge_to_say() {
    let pool = Pool::new().unwrap();
    let worker = pool.start("enhancer.lanes = 1\nenhancer.queue_limit = 1").await.unwrap();
    let channel = channel(&pool, &worker).await;
    // A call is over when it has said so, whatever it waits for.
    let begun = Instant::now();
    let status = begin_and_wait(&channel, Duration::from_millis(700)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(begun.elapsed() >= Duration::from_millis(600) && begun.elapsed() < Duration::from_secs(5));
    worker
        .until("it was counted", |metrics| {
            metrics.sum("acuity_worker_calls_total", &[("outcome", "deadline")]) == 1.0
        })
        .await
        .unwrap();
    // More than fit are told so at once, and who leaves makes room.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { begin_and_wait(&channel, Duration::from_secs(60)).await })
        })
        .collect();
    // They are there before anybody else asks.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let full = loop {
        let status = begin_and_wait(&channel, Duration::from_millis(500)).await;
        if status.code() != Code::DeadlineExceeded && status.code() != Code::Cancelled {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{status}");
    };
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    worker
        .until("they have left", |metrics| {
            // What ends while it is still being taken in is a call that was not whole.
            let ended = |outcome| metrics.sum("acuity_worker_calls_total", &[("outcome", outcome)]);
            ended("gone") + ended("refused") >= 2.0
        })
        .await
        .unwrap();
    // `level = "trace"`, and a withdrawal.
    let level = call(&channel, "SetLogLevel", b"\x0a\x05trace".to_vec()).await.unwrap_err();
    let withdraw = call(&channel, "Withdraw", Vec::new()).await.unwrap_err();
    assert_eq!((level.code(), withdraw.code()), (Code::PermissionDenied, Code::PermissionDenied));
    assert!(call(&channel, "Metrics", Vec::new()).await.is_ok());
}

/// Whoever runs the machine starts it again.
#[tokio::test]
async fn a_worker_that_has_made_enough_ends_by_itself() {
    let pool = Pool::new().unwrap();
    let mut worker = pool.start("workers.recycle_after = 1").await.unwrap();
    let other = pool.start("").await.unwrap();
    let world = super::with_workers(&pool, &[&worker, &other], &[("cache.budget_bytes", "0")]).await;
    let (player, _, media) = crate::kit::open_enhanced(&world).await;
    for index in [0, 1, 2] {
        let made = player.get_ok(&crate::kit::segment_url(&media, index), &[]).await.unwrap();
        assert!(crate::workers::is_made(&made), "{:?}", made.headers);
    }
    let status = worker.until_exit(Duration::from_secs(20)).await.unwrap();
    assert!(status.success() && worker.events().contains("Recycled"), "{status}\n{}", worker.events());
}
