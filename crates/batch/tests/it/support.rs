//! A house with everything in it: router, runner, store, and replicas that do as told.

use axum::body::Body;
use evenkeel_batch::{BatchSettings, Call, Calling, Done, Execute, Parts, Runner, holder, router};
use evenkeel_domain::durable::memory::MemoryStore;
use evenkeel_domain::durable::{BatchStore, Owner};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

/// When tests begin, in milliseconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000_000;

type Reply = dyn Fn(&Call, usize) -> (Duration, Done) + Send + Sync;

/// Replicas that do as told, and remember what they were asked.
pub(crate) struct Replicas {
    reply: Box<Reply>,
    pub(crate) calls: Mutex<Vec<Call>>,
    under_way: Arc<AtomicUsize>,
    most: AtomicUsize,
}

impl Replicas {
    /// `reply` says how long a call takes and how it ends; it is given how often that line
    /// was called before.
    pub(crate) fn new(
        reply: impl Fn(&Call, usize) -> (Duration, Done) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            reply: Box::new(reply),
            calls: Mutex::default(),
            under_way: Arc::default(),
            most: AtomicUsize::new(0),
        })
    }

    /// Replicas that answer with what they were sent.
    pub(crate) fn echo(takes: Duration) -> Arc<Self> {
        Self::new(move |call, _| (takes, answer(200, &call.body)))
    }

    /// How many calls there were at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// An answer without anything special.
pub(crate) fn answer(status: u16, body: &[u8]) -> Done {
    Done::Answer { status, request_id: None, retry_after: None, body: body.to_vec() }
}

/// Counts a call for as long as it is not dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Execute for Replicas {
    fn call(&self, call: Call) -> Calling {
        let before = {
            let mut calls = self.calls.lock().unwrap();
            let same = |other: &&Call| other.idempotency_key == call.idempotency_key;
            let before = calls.iter().filter(same).count();
            calls.push(call.clone());
            before
        };
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let counted = Counted(self.under_way.clone());
        let (takes, done) = (self.reply)(&call, before);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            drop(counted);
            done
        })
    }

    fn accepts(&self, path: &str) -> bool {
        path == "/v1/echo"
    }
}

/// Settings with which tests are quick to tell.
pub(crate) fn settings() -> BatchSettings {
    BatchSettings {
        max_file_bytes: 100_000,
        max_bytes: 1_000_000,
        max_files: 20,
        max_lines: 1000,
        max_line_bytes: 2000,
        max_answer_bytes: 70_000,
        concurrency: 4,
        window: Duration::from_secs(600),
        cancel_grace: Duration::from_secs(5),
        ..BatchSettings::default()
    }
}

pub(crate) struct House {
    pub(crate) parts: Parts,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) busy: watch::Sender<bool>,
}

impl House {
    pub(crate) fn new(replicas: Arc<Replicas>, settings: BatchSettings) -> Self {
        let store = Arc::new(MemoryStore::new(settings.limits()));
        let mut parts = Parts::new(store.clone(), replicas.clone(), settings);
        let began = Instant::now();
        parts.now = Arc::new(move || START + began.elapsed().as_millis() as u64);
        Self { parts, replicas, store, busy: watch::Sender::new(false) }
    }

    pub(crate) fn quiet() -> Self {
        Self::new(Replicas::echo(Duration::ZERO), settings())
    }

    pub(crate) fn runner(&self) -> Runner {
        Runner::spawn(self.parts.clone(), holder(), self.busy.subscribe())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let answer = router(self.parts.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// Sends as `who`; the answer is JSON.
    pub(crate) async fn call(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("x-evenkeel-key-id", who);
        let (status, body) = self.send(request.body(body.into()).unwrap()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("a", "GET", path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    pub(crate) async fn upload_as(&self, who: &str, form: Form) -> (StatusCode, Value) {
        let request = Request::post("/v1/files")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XyZ")
            .extension(Owner::new(who).unwrap());
        let (status, body) = self.send(request.body(form.end().into()).unwrap()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The id of a file of lines.
    pub(crate) async fn lines(&self, content: &str) -> String {
        let form = Form::default().field("purpose", "batch").file("lines.jsonl", content);
        let (status, file) = self.upload_as("a", form).await;
        assert_eq!(status, StatusCode::OK, "{file}");
        file["id"].as_str().unwrap().to_owned()
    }

    /// The id of a batch of those lines.
    pub(crate) async fn order(&self, content: &str) -> String {
        let input = self.lines(content).await;
        let order =
            json!({ "input_file_id": input, "endpoint": "/v1/echo", "completion_window": "24h" });
        let (status, batch) = self.call("a", "POST", "/v1/batches", Some(order)).await;
        assert_eq!((status, &batch["status"]), (StatusCode::OK, &json!("validating")));
        batch["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn batch(&self, id: &str) -> Value {
        self.get(&format!("/v1/batches/{id}")).await
    }

    /// The batch once it has that status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        let mut pause = Duration::from_millis(10);
        for _ in 0..1000 {
            let batch = self.batch(id).await;
            if batch["status"] == status {
                return batch;
            }
            // Time is held still: this passes on what is due.
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.05).min(Duration::from_secs(1));
        }
        panic!("it never is {status}: {}", self.batch(id).await);
    }

    /// The lines of a file of JSON, none when there is no file.
    pub(crate) async fn read(&self, id: &Value) -> Vec<Value> {
        let Some(id) = id.as_str() else { return Vec::new() };
        let request = Request::get(format!("/v1/files/{id}/content"))
            .header("x-evenkeel-key-id", "a")
            .body(Body::empty())
            .unwrap();
        let (status, body) = self.send(request).await;
        assert_eq!(status, StatusCode::OK);
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    pub(crate) async fn used(&self) -> u64 {
        self.store.used().await.unwrap().bytes
    }
}

/// A form to upload.
#[derive(Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        let head = format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"");
        self.0 += &format!("{head}\r\n\r\n{value}\r\n");
        self
    }

    pub(crate) fn file(mut self, filename: &str, content: &str) -> Self {
        let head = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"";
        let kind = "Content-Type: application/octet-stream";
        self.0 += &format!("{head}; filename=\"{filename}\"\r\n{kind}\r\n\r\n{content}\r\n");
        self
    }

    pub(crate) fn end(self) -> String {
        self.0 + "--XyZ--\r\n"
    }
}

/// A request line with that `custom_id`.
pub(crate) fn line(id: &str) -> String {
    let line = json!({
        "custom_id": id, "method": "POST", "url": "/v1/echo", "body": { "model": "m", "n": id },
    });
    format!("{line}\n")
}

pub(crate) fn lines(count: usize) -> String {
    (0..count).map(|n| line(&n.to_string())).collect()
}

/// The `custom_id`s of output lines.
pub(crate) fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["custom_id"].as_str().unwrap()).collect()
}
