//! One attempt for all who ask the same at the same time.
//!
//! ```text
//!   replica ─► task of the first asker ─► pieces ─┬─► reader (first asker)
//!                    ▲ goes as fast as the         ├─► reader (same thread)
//!                      fastest reader              └─► reader (another thread)
//! ```
//! The task belongs to nobody's connection: it ends when the last reader has left. Pieces
//! are kept from the first on, so that who comes late gets all, until the answer is too
//! large to be kept: then nobody joins any more, and who falls far behind is cut off.

use crate::body::BodyError;
use bytes::Bytes;
use evenkeel_domain::{Outcome, ReplicaFault};
use http::{HeaderMap, StatusCode};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Bytes that may wait for the fastest reader.
const AHEAD: usize = 64 << 10;
/// Bytes that are held for slower ones when the answer is not kept whole.
const BEHIND: usize = 1 << 20;

/// An answer under way.
#[derive(Default)]
pub(crate) struct Flight(Mutex<State>);

#[derive(Default)]
struct State {
    head: Option<(StatusCode, HeaderMap)>,
    /// Pieces from `base` on.
    pieces: VecDeque<Bytes>,
    base: usize,
    held: usize,
    total: usize,
    /// Too large to be kept whole.
    overflown: bool,
    end: Option<Outcome>,
    readers: Vec<Option<Place>>,
    producer: Option<Waker>,
}

/// Where a reader is.
#[derive(Default)]
struct Place {
    next: usize,
    bytes: usize,
    waker: Option<Waker>,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader of the whole; `None` when its beginning is gone or it has failed.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        if state.overflown || state.end.is_some_and(|end| end != Outcome::Ok) {
            return None;
        }
        let at = match state.readers.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                state.readers.push(None);
                state.readers.len() - 1
            }
        };
        state.readers[at] = Some(Place::default());
        Some(Reader { flight: self.clone(), at })
    }

    /// The head is here.
    pub(crate) fn begin(&self, status: StatusCode, headers: HeaderMap) {
        let mut state = self.lock();
        state.head = Some((status, headers));
        state.wake();
    }

    /// One more piece. `keep`: bytes up to which the answer is kept whole.
    pub(crate) fn push(&self, piece: Bytes, keep: usize) {
        let mut state = self.lock();
        state.held += piece.len();
        state.total += piece.len();
        state.pieces.push_back(piece);
        state.overflown |= state.total > keep;
        while state.overflown && state.held > BEHIND.max(keep) {
            let Some(gone) = state.pieces.pop_front() else { break };
            state.held -= gone.len();
            state.base += 1;
        }
        state.wake();
    }

    /// It ended so. Only the first end counts.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut state = self.lock();
        state.end.get_or_insert(outcome);
        state.wake();
    }

    /// All of a whole answer, where it was kept.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let state = self.lock();
        if state.overflown || state.end != Some(Outcome::Ok) {
            return None;
        }
        let mut whole = Vec::with_capacity(state.held);
        state.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        Some(whole.into())
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.lock().end
    }

    /// Ready when the last reader has left.
    pub(crate) fn poll_deserted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.readers.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready with whether more is wanted: the fastest reader has nearly all, or nobody reads.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        let Some(fastest) = state.readers.iter().flatten().map(|r| r.bytes).max() else {
            return Poll::Ready(false);
        };
        if state.total - fastest < AHEAD {
            return Poll::Ready(true);
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn wake(&mut self) {
        for place in self.readers.iter_mut().flatten() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

/// One of those who get the answer.
pub(crate) struct Reader {
    flight: Arc<Flight>,
    at: usize,
}

impl Reader {
    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// The head, once it is here; `None` when the attempt failed before it.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(StatusCode, HeaderMap)>> {
        let mut state = self.flight.lock();
        if let Some(head) = &state.head {
            return Poll::Ready(Some(head.clone()));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        state.wait(self.at, cx);
        Poll::Pending
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.flight.lock();
        let state = &mut *state;
        let Some(place) = state.readers.get_mut(self.at).and_then(Option::as_mut) else {
            return Poll::Ready(None);
        };
        if place.next < state.base {
            return Poll::Ready(Some(Err("too slow for an answer that others read, too".into())));
        }
        if let Some(piece) = state.pieces.get(place.next - state.base) {
            place.next += 1;
            place.bytes += piece.len();
            if let Some(producer) = state.producer.take() {
                producer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        match state.end {
            None => {
                state.wait(self.at, cx);
                Poll::Pending
            }
            Some(Outcome::Ok) => Poll::Ready(None),
            // Its end, in band or not, has been relayed.
            Some(Outcome::ReplicaFault(ReplicaFault::Truncated)) => {
                Poll::Ready(Some(Err("the replica's answer broke off".into())))
            }
            Some(_) => Poll::Ready(None),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.flight.lock();
        let next = state.readers.get(self.at).and_then(Option::as_ref).map_or(0, |p| p.next);
        state.end == Some(Outcome::Ok) && next == state.base + state.pieces.len()
    }
}

impl State {
    fn wait(&mut self, at: usize, cx: &mut Context<'_>) {
        if let Some(place) = self.readers.get_mut(at).and_then(Option::as_mut) {
            place.waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        if let Some(place) = state.readers.get_mut(self.at) {
            *place = None;
        }
        if let Some(producer) = state.producer.take() {
            producer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(reader: &mut Reader) -> Option<Result<Bytes, String>> {
        let frame = poll_fn(|cx| reader.poll_frame(cx)).await?;
        Some(frame.map(|f| f.into_data().unwrap_or_default()).map_err(|e| e.to_string()))
    }

    fn now_or_never<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        match poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_comes_late_gets_all_and_who_leaves_takes_nobody_along() {
        let flight = Arc::<Flight>::default();
        let mut first = flight.join().unwrap();
        assert!(now_or_never(|cx| first.poll_head(cx)).is_none());
        flight.begin(StatusCode::OK, HeaderMap::new());
        flight.push("a".into(), 100);
        assert_eq!(next(&mut first).await, Some(Ok("a".into())));
        let mut second = flight.join().unwrap();
        drop(first);
        assert!(now_or_never(|cx| flight.poll_deserted(cx)).is_none());
        flight.push("b".into(), 100);
        flight.end(Outcome::Ok);
        assert_eq!(next(&mut second).await, Some(Ok("a".into())));
        assert!(!second.is_end_stream());
        assert_eq!(next(&mut second).await, Some(Ok("b".into())));
        assert!(second.is_end_stream());
        assert_eq!(next(&mut second).await, None);
        assert_eq!(flight.whole(), Some("ab".into()));
        drop(second);
        assert!(now_or_never(|cx| flight.poll_deserted(cx)).is_some());
    }

    #[tokio::test]
    async fn the_fastest_sets_the_pace_and_memory_is_bounded() {
        let flight = Arc::<Flight>::default();
        let (mut fast, mut slow) = (flight.join().unwrap(), flight.join().unwrap());
        let piece = Bytes::from(vec![0; AHEAD]);
        for _ in 0..40 {
            assert_eq!(now_or_never(|cx| flight.poll_wanted(cx)), Some(true));
            flight.push(piece.clone(), 1000);
            assert_eq!(now_or_never(|cx| flight.poll_wanted(cx)), None);
            assert!(next(&mut fast).await.is_some_and(|p| p.is_ok()));
        }
        assert!(flight.lock().held <= BEHIND && flight.join().is_none());
        assert!(next(&mut slow).await.is_some_and(|p| p.is_err()));
        flight.end(Outcome::Ok);
        assert_eq!((next(&mut fast).await, flight.whole()), (None, None));
    }

    #[tokio::test]
    async fn a_failed_attempt_is_nobodys_answer() {
        let flight = Arc::<Flight>::default();
        let mut reader = flight.join().unwrap();
        flight.end(Outcome::Cancelled);
        flight.end(Outcome::Ok);
        assert_eq!(poll_fn(|cx| reader.poll_head(cx)).await, None);
        assert!(flight.join().is_none() && flight.whole().is_none());
    }
}
