//! The attempt on a stream: commits when the answer has its first token, or, for a
//! successor, the first one that the client has not.

use super::guard::AttemptGuard;
use super::{Answer, End, Opened, fail};
use crate::resume::events::Blocks;
use crate::resume::fit::Fit;
use crate::resume::ledger::Ledger;
use crate::resume::live::{Live, Next};
use crate::resume::rung::Rung;
use crate::shared::Reserved;
use crate::template::Watch;
use bytes::{Bytes, BytesMut};
use evenkeel_domain::Known;
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

/// How much may come before the first token.
const PREFACE_MAX: usize = 1 << 20;

/// Events of an answer without any text from which it is no answer: the role, the finish
/// reason, and more than one empty token.
const HOLLOW: usize = 5;

/// Reads a stream up to its first token.
pub(super) async fn open(watch: &Watch, asked: u64, guard: AttemptGuard, answer: Answer) -> End {
    let Answer { head, body, mut memory } = answer;
    let (ledger, fit) = match &watch.onward {
        None => (Rc::<RefCell<Ledger>>::default(), None),
        Some(onward) => {
            let can = &guard.replica().abilities;
            let echoes =
                onward.rung == Rung::Prefill && watch.ask.api.prefill(can) == Known::Echoes;
            let fit = Fit::new(&watch.ask, onward.rung, onward.from, echoes);
            (onward.ledger.clone(), Some(fit))
        }
    };
    let held = Reserved::none(guard.worker());
    let mut live = Box::new(Live::new(watch.ask.clone(), ledger, guard, fit, body, held));
    let mut before = BytesMut::new();
    loop {
        match poll_fn(|cx| live.poll_next(cx)).await {
            // What the ledger counts as the client's must get there.
            Next::Events { bytes, progress, adopted } if progress || adopted || live.is_ended() => {
                let first = joined(before, bytes);
                if watch.onward.is_some() {
                    live.guard.moved();
                } else if is_hollow(&live, &first) {
                    let outcome = Outcome::ReplicaFault(ReplicaFault::Garbage);
                    return fail(
                        live.guard,
                        outcome,
                        "a whole answer of empty tokens".into(),
                        |_| (),
                    );
                } else {
                    live.guard.first_token();
                    if let Some(model) = live.ledger.borrow().model() {
                        live.guard.named(asked, model);
                    }
                }
                return End::Stream(Box::new(Opened { head, live, first }));
            }
            Next::Events { bytes, .. } => {
                before.extend_from_slice(&bytes);
                let held = before.len() as u64;
                if before.len() > PREFACE_MAX || !memory.grow_to(held) {
                    let outcome = Outcome::ReplicaFault(ReplicaFault::Garbage);
                    let text = "a stream without a token in it".into();
                    return fail(live.guard, outcome, text, |_| ());
                }
            }
            Next::End => {
                let first = before.freeze();
                return End::Stream(Box::new(Opened { head, live, first }));
            }
            Next::Fault(fault) if fault.diverged => return diverged(live.guard, fault.text),
            Next::Fault(fault) => return fail(live.guard, fault.outcome, fault.text, |_| ()),
        }
    }
}

/// Whether an answer ended after several tokens without a character in them. One of nothing
/// at all is a model's right; and when two replicas give the same, it is the answer.
fn is_hollow(live: &Live, events: &Bytes) -> bool {
    let said_nothing = live.ledger.borrow().events == 0 && !live.client_fault;
    said_nothing && Blocks::new(events).count() >= HOLLOW && live.guard.hollow()
}

fn joined(mut before: BytesMut, bytes: Bytes) -> Bytes {
    if before.is_empty() {
        return bytes;
    }
    before.extend_from_slice(&bytes);
    before.freeze()
}

/// Nothing is wrong with the replica, but it cannot go on with this answer this way.
pub(super) fn diverged(guard: AttemptGuard, text: String) -> End {
    fail(guard, Outcome::Cancelled, text, |failed| failed.diverged = true)
}

/// It says that it does not do this.
pub(super) fn refused(guard: AttemptGuard, text: String) -> End {
    fail(guard, Outcome::Cancelled, text, |failed| (failed.diverged, failed.refused) = (true, true))
}
