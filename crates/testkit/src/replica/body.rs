//! An answer's body that follows a plan and tells how it ended.

use super::{Ended, Tracker};
use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// One piece of a plan.
#[derive(Debug)]
pub(super) enum Part {
    Wait(Duration),
    Data(Bytes),
    Never,
    Cut { reset: bool },
}

/// How a request is answered.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Until the head.
    pub(super) before: Duration,
    pub(super) hang: bool,
    /// The connection ends instead: by RST if true.
    pub(super) reset: Option<bool>,
    pub(super) parts: VecDeque<Part>,
}

impl Plan {
    pub(super) fn json(status: u16, body: String) -> Self {
        let headers = vec![("content-type", "application/json".into())];
        let parts = VecDeque::from([Part::Data(body.into())]);
        Self { status, headers, parts, ..Self::default() }
    }

    pub(super) fn events() -> Self {
        let headers = vec![("content-type", "text/event-stream".into())];
        Self { status: 200, headers, ..Self::default() }
    }

    /// The same under another model's name.
    pub(super) fn named(mut self, model: &str) -> Self {
        let name = format!("\"model\":\"{model}\"");
        for part in &mut self.parts {
            if let Part::Data(data) = part {
                let text = String::from_utf8_lossy(data).replace("\"model\":\"test\"", &name);
                *data = text.into_bytes().into();
            }
        }
        self
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.parts.push_back(Part::Data(Bytes::copy_from_slice(text.as_bytes())));
    }

    /// A chunk of a chat completion with this delta.
    pub(super) fn event(&mut self, delta: &str, finish: Option<&str>) {
        let finish = finish.map_or("null".to_owned(), |f| format!("\"{f}\""));
        self.raw(&format!(
            "data: {{\"id\":\"test\",\"object\":\"chat.completion.chunk\",\"created\":1,\
             \"model\":\"test\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"finish_reason\":{finish}}}]}}\n\n"
        ));
    }
}

/// A plan under way.
#[derive(Debug)]
pub(super) struct Tracked {
    status: u16,
    parts: VecDeque<Part>,
    wait: Option<Pin<Box<Sleep>>>,
    tracker: Option<Tracker>,
    reset: Arc<AtomicBool>,
}

impl Tracked {
    pub(super) fn new(plan: Plan, tracker: Option<Tracker>, reset: Arc<AtomicBool>) -> Self {
        let Plan { status, parts, .. } = plan;
        let mut body = Self { status, parts, wait: None, tracker, reset };
        if body.is_empty() {
            // Nobody polls an empty body.
            body.end(Ended::Finished);
        }
        body
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Data(data) if data.is_empty()))
    }

    fn end(&mut self, how: Ended) {
        if let Some(tracker) = self.tracker.take() {
            tracker.end(how);
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            match self.parts.pop_front() {
                None => {
                    self.end(Ended::Finished);
                    return Poll::Ready(None);
                }
                Some(Part::Wait(time)) => {
                    self.wait = Some(Box::pin(tokio::time::sleep(time)));
                }
                Some(Part::Data(data)) => {
                    // With a known length, hyper does not poll past the last byte.
                    if self.parts.is_empty() {
                        self.end(Ended::Finished);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Part::Never) => {
                    self.parts.push_front(Part::Never);
                    return Poll::Pending;
                }
                Some(Part::Cut { reset }) => {
                    self.reset.store(reset, SeqCst);
                    self.end(Ended::Broken);
                    return Poll::Ready(Some(Err(io::Error::other("broken as told"))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.wait.is_none() && self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.parts.iter().next() {
            None => SizeHint::with_exact(0),
            Some(Part::Data(data)) if self.parts.len() == 1 => {
                SizeHint::with_exact(data.len() as u64)
            }
            _ => SizeHint::default(),
        }
    }
}
