//! A way to the store on which answers break off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{BUCKET, FETCHES, eventually, following, is_in_use, own, push, zoo};
use crate::bucket::Bucket;
use crate::clusters::{is_of, serve, small_stream, until};

/// A way to the store on which answers break off: the first `cuts` connections end when so many bytes have come.
async fn breaking(to: &str, cuts: usize, after: usize) -> String {
    let to = to.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicUsize::new(cuts));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (to, left) = (to.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(to).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let (mut passed, mut piece) = (0, vec![0; 4096]);
                while let Ok(read) = from_server.read(&mut piece).await {
                    if read == 0 || to_client.write_all(&piece[..read]).await.is_err() {
                        break;
                    }
                    passed += read;
                    let cut = |left: usize| left.checked_sub(1);
                    if passed >= after && left.fetch_update(Ordering::AcqRel, Ordering::Acquire, cut).is_ok()
                    {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_off_on_the_way_is_gone_on_with() {
    let bucket = Bucket::start(BUCKET).await;
    let (id, key) = (bucket.key("id"), bucket.key("key"));
    let keys = ["--access-key-file", id.to_str().unwrap(), "--secret-key-file", key.to_str().unwrap()];
    let zoo = zoo(3.0);
    let digest = push(&zoo, &[&["--to", "s3://models", "--endpoint", &bucket.endpoint][..], &keys].concat());
    let way = breaking(&bucket.endpoint, 3, 25_000).await;
    let own = own();
    let settings = following(&zoo, &own.path().join("models"), "s3://models")
        .set("models.store.endpoint", format!("{way:?}"))
        .set("models.store.access_key_file", format!("{id:?}"))
        .set("models.store.secret_key_file", format!("{key:?}"));
    let world = serve(&small_stream().await, settings).await;
    let metrics = eventually(&world.edge, "it has come", |metrics| is_in_use(metrics, &digest)).await;
    assert!(metrics.sum(FETCHES, &[("outcome", "resumed")]) >= 1.0, "{}", metrics.text());
    let files = [zoo.file("generic", 2), zoo.file("game", 2)];
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    let fetched = metrics.sum("acuity_model_store_fetched_bytes_total", &[]);
    assert_eq!(fetched, bytes as f64, "no byte twice");
    until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
}
