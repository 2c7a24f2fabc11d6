//! A client that knows the right answer.

use crate::answer;
use bytes::Bytes;
use evenkeel_domain::Endpoint;
use evenkeel_domain::clock::now;
use evenkeel_domain::transport::Dial;
use evenkeel_drill::load::judge::{self, StreamJudge};
use evenkeel_drill::load::{Api, Flaw, Outcome};
use evenkeel_wire::{TcpDialer, client};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Right = Arc<dyn Fn(&str, u32) -> String + Send + Sync>;

/// Asks chat completions of one place and judges the answers. Each request has a
/// connection of its own and is sent once.
#[derive(Clone)]
pub struct Oracle {
    endpoint: Endpoint,
    path: String,
    /// The model asked for; `test` unless set.
    pub model: String,
    /// How long an answer may take; 30 s unless set.
    pub deadline: Duration,
    /// Added to every request.
    pub headers: HeaderMap,
    right: Right,
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracle").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What a client saw of one answer.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whether it was right.
    pub verdict: Verdict,
    /// Its status, if there was one.
    pub status: Option<u16>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its text as far as it came; of an answer that is no success, its body.
    pub text: String,
    /// From asking to the end.
    pub waited: Duration,
    /// From asking to the first content.
    pub first: Option<Duration>,
    /// The longest time between two pieces of content.
    pub longest_gap: Duration,
}

/// Whether an answer was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Whole and right.
    Ok,
    /// Not what is right.
    Wrong(String),
    /// Broken off.
    Truncated(String),
    /// No success, no answer, or an error in band.
    Failed(String),
}

impl Seen {
    /// Whether the answer was whole and right.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok
    }
}

impl Oracle {
    /// Asks at `url`, an `http://` base; right is what [`crate::Replica`] answers.
    ///
    /// # Panics
    /// When the URL is none.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let (endpoint, path) = split(url);
        let path = format!("{}/v1/chat/completions", path.trim_end_matches('/'));
        Self {
            endpoint,
            path,
            model: "test".into(),
            deadline: Duration::from_secs(30),
            headers: HeaderMap::new(),
            right: Arc::new(answer::text),
        }
    }

    /// With another idea of what is right: a function of the prompt and the number of tokens.
    #[must_use]
    pub fn knowing(mut self, right: impl Fn(&str, u32) -> String + Send + Sync + 'static) -> Self {
        self.right = Arc::new(right);
        self
    }

    /// Asks for `tokens` tokens and judges the answer.
    pub async fn ask(&self, prompt: &str, tokens: u32, stream: bool) -> Seen {
        let start = now();
        let mut seen = Seen {
            verdict: Verdict::Ok,
            status: None,
            headers: HeaderMap::new(),
            text: String::new(),
            waited: Duration::ZERO,
            first: None,
            longest_gap: Duration::ZERO,
        };
        let asking = self.exchange(prompt, tokens, stream, start, &mut seen);
        let result = match tokio::time::timeout(self.deadline, asking).await {
            Ok(result) => result,
            Err(_) => Err(Flaw::new(Outcome::Timeout, "no whole answer before the deadline")),
        };
        seen.waited = now() - start;
        seen.verdict = verdict(result, &seen.text, &(self.right)(prompt, tokens));
        seen
    }

    async fn exchange(
        &self,
        prompt: &str,
        tokens: u32,
        stream: bool,
        start: Instant,
        seen: &mut Seen,
    ) -> Result<(), Flaw> {
        let failed = |e: &dyn fmt::Display| Flaw::new(Outcome::Reset, e.to_string());
        let body = serde_json::json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt }],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": stream,
        });
        let mut request = http::Request::post(&self.path)
            .header(http::header::HOST, &*self.endpoint.authority)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|e| failed(&e))?;
        request.headers_mut().extend(self.headers.clone());
        let connection = TcpDialer::new(&self.endpoint).dial().await.map_err(|e| failed(&e))?;
        let (answer, _guard) =
            client::open(connection, false, request).await.map_err(|e| failed(&e))?;
        let (head, body) = answer.into_parts();
        seen.status = Some(head.status.as_u16());
        seen.headers = head.headers;
        if stream && head.status.is_success() {
            return read_stream(body, start, seen).await;
        }
        let body =
            body.collect().await.map_err(|e| Flaw::new(Outcome::Truncated, format!("{e:?}")))?;
        let body = body.to_bytes();
        if head.status.is_success() {
            return judge::unary(Api::Chat, &body, &mut seen.text);
        }
        seen.text = String::from_utf8_lossy(&body).into_owned();
        Err(Flaw::new(Outcome::Http5xx, format!("{} {}", head.status, seen.text)))
    }
}

async fn read_stream(mut body: Incoming, start: Instant, seen: &mut Seen) -> Result<(), Flaw> {
    let mut judge = StreamJudge::new(Api::Chat);
    let mut last = None;
    loop {
        let piece = match body.frame().await {
            None => break judge.end(),
            Some(Err(e)) => break Err(Flaw::new(Outcome::Truncated, format!("{e:?}"))),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let tokens = judge.feed(&piece);
        if tokens.as_ref().is_ok_and(|tokens| *tokens > 0) {
            let at = now();
            seen.first.get_or_insert(at - start);
            let gap = last.replace(at).map_or(Duration::ZERO, |last| at - last);
            seen.longest_gap = seen.longest_gap.max(gap);
        }
        seen.text.clear();
        seen.text.push_str(judge.text());
        if let Err(flaw) = tokens {
            break Err(flaw);
        }
    }
}

fn verdict(result: Result<(), Flaw>, text: &str, right: &str) -> Verdict {
    match result {
        Ok(()) if text == right => Verdict::Ok,
        Ok(()) => Verdict::Wrong(format!("right: {right:?}, got: {text:?}")),
        Err(flaw) => match flaw.outcome {
            Outcome::Wrong => Verdict::Wrong(flaw.text),
            Outcome::Truncated => Verdict::Truncated(flaw.text),
            _ => Verdict::Failed(flaw.text),
        },
    }
}

/// A URL's place and path.
///
/// # Panics
/// When it is no URL.
pub(crate) fn split(url: &str) -> (Endpoint, String) {
    let endpoint: Endpoint = url.parse().expect("a test knows its URL");
    let path = if endpoint.prefix.is_empty() { "/".into() } else { endpoint.prefix.to_string() };
    (endpoint, path)
}
