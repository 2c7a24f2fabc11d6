//! Delivers spans to an OpenTelemetry collector.
//!
//! ```text
//! workers ─► bounded channel ─► gather (512 spans or 1 s) ─► POST ─► 2xx
//!              │ full: lost                      ▲            │ busy, unreachable
//!              └─ and counted                    └── back-off ┴─► after 4 tries: lost
//! ```
//! While it waits for a collector nothing is gathered, so that memory is bounded by the
//! channel and one batch.

use super::otlp;
use crate::config::{self, Collector, TraceConfig};
use bytes::Bytes;
use evenkeel_domain::rng;
use evenkeel_gateway::trace::{Span, Tracer};
use evenkeel_wire::client;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Spans that may wait: about 4 MiB, and some seconds of 1 % of 10,000 requests a second.
const WAITING: usize = 8192;
/// Spans of one export; the size that OpenTelemetry's own exporters use.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long one export may take.
const EXPORT: Duration = Duration::from_secs(5);
/// Pauses after a failed export, and so the number of tries less one.
const BACKOFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Longest pause that a collector may ask for.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long the last spans may take when the gateway ends.
const FINISH: Duration = Duration::from_secs(2);
/// A collector's answer is a few bytes.
const ANSWER_MAX: usize = 64 << 10;

/// The exporter's task.
pub(super) struct Exporter {
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Starts exporting, where that is configured.
///
/// # Errors
/// When the configuration cannot be used; it was checked, but its files may have changed.
pub(super) fn start(config: &TraceConfig) -> Result<Option<(Arc<Tracer>, Exporter)>, String> {
    let collector = config::collector(config).map_err(|problems| {
        problems
            .into_iter()
            .map(|(key, text)| format!("{key}: {text}"))
            .collect::<Vec<_>>()
            .join("; ")
    })?;
    let Some(collector) = collector else { return Ok(None) };
    let (tx, spans) = mpsc::channel(WAITING);
    let tracer = Arc::new(Tracer::new(tx, config.sample));
    let ending = watch::Sender::new(false);
    let service_name = config.service_name.clone();
    let run = Run {
        collector,
        service_name,
        tracer: tracer.clone(),
        ending: ending.subscribe(),
        failing: false,
    };
    let task = tokio::spawn(run.run(spans));
    Ok(Some((tracer, Exporter { ending, task })))
}

impl Exporter {
    /// Delivers what is left, and ends.
    pub(super) async fn finish(mut self) {
        self.ending.send_replace(true);
        if timeout(FINISH, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

struct Run {
    collector: Collector,
    service_name: String,
    tracer: Arc<Tracer>,
    ending: watch::Receiver<bool>,
    failing: bool,
}

/// Why an export failed.
struct Refused {
    why: String,
    /// Whether to send the same again, and after what pause if the collector said.
    again: Option<Option<Duration>>,
}

impl Run {
    async fn run(mut self, mut spans: mpsc::Receiver<Span>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let ended = tokio::select! {
                () = gather(&mut spans, &mut batch) => false,
                _ = self.ending.wait_for(|ending| *ending) => true,
            };
            if ended {
                spans.close();
                while spans.recv_many(&mut batch, BATCH).await > 0 {}
                for part in batch.chunks(BATCH) {
                    self.deliver(part).await;
                }
                return;
            }
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Sends a batch until it is taken, refused for good, or given up.
    async fn deliver(&mut self, batch: &[Span]) {
        let body = Bytes::from(otlp::encode(batch, &self.service_name));
        let mut rng = rng::from_os();
        let mut pauses = BACKOFF.iter();
        let why = loop {
            let refused = match self.post(body.clone()).await {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("spans are delivered again");
                    }
                    return;
                }
                Err(refused) => refused,
            };
            let (Some(asked), Some(pause)) = (refused.again, pauses.next()) else {
                break refused.why;
            };
            let pause = rng::jittered(*pause, 0.2, &mut rng).max(asked.unwrap_or_default());
            tokio::select! {
                () = sleep(pause.min(BACKOFF_MAX)) => {}
                _ = self.ending.wait_for(|ending| *ending) => break refused.why,
            }
        };
        self.tracer.add_lost(batch.len() as u64);
        if !std::mem::replace(&mut self.failing, true) {
            let to = &*self.collector.authority;
            tracing::warn!(to, why, "spans are lost; serving goes on");
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Refused> {
        let again = |why: String| Refused { why, again: Some(None) };
        let exchange = async {
            let connection =
                self.collector.dial.dial().await.map_err(|error| again(error.to_string()))?;
            client::fetch(connection, false, self.request(body), ANSWER_MAX)
                .await
                .map_err(|error| again(error.to_string()))
        };
        match timeout(EXPORT, exchange).await {
            Ok(answer) => judge(&answer?),
            Err(_) => Err(again(format!("no answer within {EXPORT:?}"))),
        }
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        if let Ok(path) = self.collector.path.parse() {
            *request.uri_mut() = path;
        }
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.collector.authority) {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let agent = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(self.collector.headers.iter().cloned());
        request
    }
}

/// Waits for a first span, then a while for others.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
    if batch.is_empty() && spans.recv_many(batch, BATCH).await == 0 {
        // The tracer is held by the exporter itself: this is the end of the process.
        return std::future::pending().await;
    }
    let full = async {
        while batch.len() < BATCH && spans.recv_many(batch, BATCH - batch.len()).await > 0 {}
    };
    // What was received stays in the batch, however the wait ends.
    let _ = timeout(GATHER, full).await;
}

/// OTLP over HTTP: only these answers are worth the same again.
fn judge(answer: &Response<Bytes>) -> Result<(), Refused> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let busy = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    let again = busy.then(|| seconds.map(Duration::from_secs));
    Err(Refused { why: format!("the collector answered {status}"), again })
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::outcome::NetworkFault;
    use evenkeel_domain::transport::{Dial, DialError, Dialing};
    use evenkeel_gateway::trace::{AttemptSpan, Work};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Refuses, and counts how often it was asked.
    #[derive(Debug, Default)]
    struct Refuses(AtomicUsize);

    impl Dial for Refuses {
        fn dial(&self) -> Dialing<'_> {
            self.0.fetch_add(1, Relaxed);
            let refused = DialError { fault: NetworkFault::Refused, text: "refused".into() };
            Box::pin(std::future::ready(Err(refused)))
        }
    }

    fn span() -> Span {
        Span {
            trace_id: 1,
            span_id: 1,
            parent_id: None,
            start_unix_nanos: 1,
            end_unix_nanos: 2,
            work: Work::Attempt(AttemptSpan {
                replica: "chat-0".into(),
                host: "h".into(),
                port: 1,
                method: http::Method::GET,
                outcome: evenkeel_domain::Outcome::Ok,
            }),
        }
    }

    fn running() -> (Arc<Refuses>, mpsc::Sender<Span>, Arc<Tracer>, Exporter) {
        let dial = Arc::new(Refuses::default());
        let (tx, spans) = mpsc::channel(WAITING);
        let tracer = Arc::new(Tracer::new(tx.clone(), 1.0));
        let ending = watch::Sender::new(false);
        let run = Run {
            collector: Collector {
                dial: dial.clone(),
                authority: "h:1".into(),
                path: "/v1/traces".into(),
                headers: Vec::new(),
            },
            service_name: "s".into(),
            tracer: tracer.clone(),
            ending: ending.subscribe(),
            failing: false,
        };
        let task = tokio::spawn(run.run(spans));
        (dial, tx, tracer, Exporter { ending, task })
    }

    #[tokio::test(start_paused = true)]
    async fn spans_are_given_up_after_four_tries_and_counted() {
        let (dial, tx, tracer, _exporter) = running();
        for _ in 0..3 {
            tx.send(span()).await.unwrap();
        }
        sleep(GATHER / 2).await;
        assert_eq!(dial.0.load(Relaxed), 0, "it waits for more");
        sleep(Duration::from_secs(10)).await;
        assert_eq!((dial.0.load(Relaxed), tracer.lost()), (4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let (dial, tx, _tracer, _exporter) = running();
        for _ in 0..BATCH {
            tx.send(span()).await.unwrap();
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(dial.0.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_each_batch_is_tried_once() {
        let (dial, tx, tracer, exporter) = running();
        for _ in 0..=BATCH {
            tx.send(span()).await.unwrap();
        }
        sleep(Duration::from_millis(1)).await;
        exporter.finish().await;
        assert_eq!((dial.0.load(Relaxed), tracer.lost()), (2, BATCH as u64 + 1));
    }

    #[test]
    fn which_answers_are_worth_another_try() {
        let table = [(200, None), (400, Some(None)), (503, Some(Some(7))), (429, Some(Some(7)))];
        for (status, expected) in table {
            let answer = Response::builder().status(status).header(RETRY_AFTER, "7");
            let got = judge(&answer.body(Bytes::new()).unwrap()).err();
            let again = got.map(|r| r.again.map(|p| p.unwrap_or_default().as_secs()));
            assert_eq!(again, expected, "{status}");
        }
    }
}
