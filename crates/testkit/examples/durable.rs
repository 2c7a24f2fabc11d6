//! Files and batches served over HTTP from a store on disk, with replicas that only repeat
//! what they are sent: what tests kill, trace and point clients at.
//!
//! `durable DIR [TAKES_MS] [idle]`: `idle` serves the API and executes nothing. The key is
//! in `EVENKEEL_DURABLE_KEY`, if there is one. Every execution is a line of
//! `DIR/executed.log`.

use evenkeel_batch::{BatchSettings, Call, Calling, Done, Execute, Parts, Runner, holder, router};
use evenkeel_store::{Key, Options, Store};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

struct Repeat {
    takes: Duration,
    log: Arc<File>,
}

impl Execute for Repeat {
    fn call(&self, call: Call) -> Calling {
        let (takes, log) = (self.takes, self.log.clone());
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let _ = (&*log).write_all(format!("{}\n", call.idempotency_key).as_bytes());
            Done::Answer { status: 200, request_id: None, retry_after: None, body: call.body }
        })
    }

    fn accepts(&self, path: &str) -> bool {
        path == "/v1/chat/completions"
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("a directory"));
    let takes = args.next().map_or(0, |takes| takes.parse().expect("milliseconds"));
    let idle = args.next().is_some();
    let key = std::env::var("EVENKEEL_DURABLE_KEY").ok();
    let key = key.map(|key| Key::parse(&key).expect("a key"));
    let settings = BatchSettings {
        // Who is killed is followed at once.
        lease: Duration::from_millis(200),
        concurrency: 4,
        ..BatchSettings::default()
    };
    let limits = settings.limits();
    let path = dir.join("store/evenkeel.db");
    let store = Store::open(Options { path, key, limits, writer: holder() }).await;
    let store = store.expect("the store opens");
    let log = OpenOptions::new().create(true).append(true).open(dir.join("executed.log"));
    let log = Arc::new(log.expect("the log opens"));
    let execute = Arc::new(Repeat { takes: Duration::from_millis(takes), log });
    let parts = Parts::new(Arc::new(store), execute, settings);
    let (_busy, busy) = watch::channel(false);
    let _runner = (!idle).then(|| Runner::spawn(parts.clone(), holder(), busy));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening {}", listener.local_addr().expect("an address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = TowerToHyperService::new(router(parts.clone()));
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
