//! Somebody who waits, and the place that it gets. Both give back what they hold when they
//! are dropped: a client that leaves makes room for the next.

use super::state::Woken;
use super::{Comer, Queue, Rules};
use evenkeel_domain::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    woken: oneshot::Receiver<Woken>,
    comer: Comer,
    rules: Rules,
    began: Instant,
    state: Has,
}

/// What there is to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    /// It waits, or was woken and does not know it yet.
    Queued,
    /// A place.
    Place,
    Nothing,
}

/// What comes of waiting.
#[derive(Debug)]
pub(crate) enum Turn {
    /// A place is free.
    Go(Grant),
    /// The time given is over; it still waits.
    Later(Ticket),
    /// It may wait no longer. With whether there is a replica.
    Over { up: bool },
}

impl Ticket {
    pub(super) fn new(
        queue: Arc<Queue>,
        number: u64,
        woken: oneshot::Receiver<Woken>,
        comer: Comer,
        rules: Rules,
        began: Instant,
    ) -> Self {
        Self { queue, number, woken, comer, rules, began, state: Has::Queued }
    }

    /// Waits for a place, for `at_most` so long.
    pub(crate) async fn turn(mut self, at_most: Duration) -> Turn {
        let asked_until = clock::now() + at_most;
        loop {
            let until = self.until();
            let wait = until.min(asked_until).saturating_duration_since(clock::now());
            let woken = match timeout(wait, &mut self.woken).await {
                Ok(woken) => woken,
                Err(_) if clock::now() >= self.until() => Ok(Woken::TooLate),
                Err(_) if clock::now() >= asked_until => return Turn::Later(self),
                // There is a replica again, or none any more: another time holds.
                Err(_) => continue,
            };
            if woken == Ok(Woken::Go) {
                self.state = Has::Place;
                return Turn::Go(Grant(self));
            }
            let up = self.queue.lock().is_up();
            return Turn::Over { up };
        }
    }

    /// How long it has waited.
    pub(crate) fn waited(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    fn until(&self) -> Instant {
        self.queue.lock().until(self.began, &self.rules).min(self.comer.deadline)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let has_place = match self.state {
            Has::Nothing => false,
            Has::Place => true,
            Has::Queued => {
                let mut state = self.queue.lock();
                let waited = state.remove(self.number, self.comer.tier);
                self.queue.publish(&state);
                drop(state);
                !waited && self.woken.try_recv() == Ok(Woken::Go)
            }
        };
        if has_place {
            self.queue.settle_grant(true);
        }
    }
}

/// A place that is free for whoever holds this.
#[derive(Debug)]
pub(crate) struct Grant(Ticket);

impl Grant {
    /// The place is taken: the replica has counted the attempt in. Gives how long it was
    /// waited for.
    pub(crate) fn taken(mut self) -> Duration {
        self.0.state = Has::Nothing;
        self.0.queue.settle_grant(false);
        self.0.waited()
    }

    /// The place is of no use to this request: it waits on, first of all, and the next one
    /// may have it.
    pub(crate) fn of_no_use(self) -> Ticket {
        let mut ticket = self.0;
        let queue = ticket.queue.clone();
        let now = clock::now();
        let places = queue.places(now);
        let mut state = queue.lock();
        state.settle_grant();
        ticket.woken = state.push_back(ticket.number, ticket.comer, ticket.rules, ticket.began);
        ticket.state = Has::Queued;
        state.dispatch(places, now);
        queue.publish(&state);
        drop(state);
        ticket
    }
}
