//! Answers that go on: events and log lines as they come.
//!
//! Nothing is queued here. The next piece is made when the connection has room for it, so
//! a slow reader costs one piece and misses what the event log has dropped meanwhile.

use crate::api::Api;
use crate::error::ApiError;
use crate::ports::{Follow, Held};
use axum::body::Body;
use bytes::Bytes;
use evenkeel_domain::event::{Event, EventLog};
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A comment is sent after so long without an event, so that both ends and whatever is
/// between them know that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time between two looks at a log.
const POLL: Duration = Duration::from_millis(250);
/// Events of one piece.
const PIECE: usize = 256;

/// Time between two lines to whoever holds something: one that is gone is known by then,
/// where its connection does not tell.
const HOLD: Duration = Duration::from_millis(250);

/// Turns true once, when streams must end.
pub(crate) type Stop = watch::Receiver<bool>;

/// A place among the streams open at once.
pub(crate) fn place(api: &Api) -> Result<OwnedSemaphorePermit, ApiError> {
    api.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::unavailable(
            "too many streams are open",
            "end one of them, or ask without `follow`",
        )
    })
}

/// The cursor to go on from. One ahead of the log is from a process before this one,
/// whose cursors mean nothing here.
pub(crate) fn resume(log: &EventLog, after: u64) -> u64 {
    if after > *log.watch().borrow() { 0 } else { after }
}

struct Events {
    log: Arc<EventLog>,
    newest: watch::Receiver<u64>,
    cursor: u64,
    stop: Stop,
    _place: OwnedSemaphorePermit,
}

/// Events after `cursor` and those to come, as server-sent events.
pub(crate) fn events(
    log: Arc<EventLog>,
    cursor: u64,
    stop: Stop,
    place: OwnedSemaphorePermit,
) -> Body {
    let from = Events { newest: log.watch(), log, cursor, stop, _place: place };
    Body::from_stream(stream::unfold(from, |mut events| async move {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), events))
    }))
}

impl Events {
    async fn next(&mut self) -> Option<String> {
        loop {
            self.newest.borrow_and_update();
            let mut new = self.log.after(self.cursor);
            new.truncate(PIECE);
            if let Some(last) = new.last() {
                self.cursor = last.seq;
                return Some(new.iter().map(framed).collect());
            }
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return None,
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => return Some(": still here\n\n".into()),
            }
        }
    }
}

fn framed(event: &Event) -> String {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\ndata: {data}\n\n", event.seq)
}

struct Lines {
    first: Vec<String>,
    follow: Option<Follow>,
    stop: Stop,
    _place: OwnedSemaphorePermit,
}

/// These lines and those to come, as text.
pub(crate) fn lines(
    first: Vec<String>,
    follow: Follow,
    stop: Stop,
    place: OwnedSemaphorePermit,
) -> Body {
    let from = Lines { first, follow: Some(follow), stop, _place: place };
    Body::from_stream(stream::unfold(from, |mut lines| async move {
        let piece = lines.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(joined(&piece))), lines))
    }))
}

impl Lines {
    async fn next(&mut self) -> Option<Vec<String>> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        loop {
            let mut follow = self.follow.take()?;
            // A log may lie on a disk that hangs; liveness must not hang with it.
            let polled = tokio::task::spawn_blocking(move || (follow(), follow)).await;
            let (new, follow) = polled.ok()?;
            self.follow = Some(follow);
            match new {
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => return Some(lines),
                Err(error) => {
                    self.follow = None;
                    return Some(vec![format!("evenkeel: the log cannot be read: {error}")]);
                }
            }
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

struct Hold {
    _held: Held,
    begun: bool,
    stop: Stop,
    _place: OwnedSemaphorePermit,
}

/// Keeps something until its reader is gone.
pub(crate) fn held(held: Held, stop: Stop, place: OwnedSemaphorePermit) -> Body {
    let from = Hold { _held: held, begun: false, stop, _place: place };
    Body::from_stream(stream::unfold(from, |mut hold| async move {
        if hold.begun {
            tokio::select! {
                biased;
                _ = hold.stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep(HOLD) => {}
            }
        }
        hold.begun = true;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"held\n")), hold))
    }))
}

/// Lines as text.
pub(crate) fn joined(lines: &[String]) -> String {
    let mut out = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    out
}
