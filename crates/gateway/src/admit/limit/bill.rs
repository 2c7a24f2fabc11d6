//! What one request owes, until it is known what it took.

use super::{Ask, Levels, Limited};
use crate::usage::Usage;
use evenkeel_domain::Outcome;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// One request's, whoever works on it. Settled as cancelled when it is dropped before.
#[derive(Debug)]
pub(crate) struct Bill {
    levels: Rc<Levels>,
    ask: Ask,
    told: Cell<Usage>,
    /// Pieces of the answer that were passed on.
    relayed: Cell<u64>,
    settled: Cell<bool>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// Attempts that were made for it.
    pub(crate) attempts: u32,
}

impl Bill {
    /// Takes on a request.
    ///
    /// # Errors
    /// When that is beyond a limit.
    pub(crate) fn open(levels: &Rc<Levels>, ask: Ask, now: Instant) -> Result<Rc<Self>, Limited> {
        levels.take(ask, now)?;
        let (told, relayed) = (Cell::default(), Cell::new(0));
        let settled = Cell::new(false);
        Ok(Rc::new(Self { levels: levels.clone(), ask, told, relayed, settled }))
    }

    /// An answer says what it took. Only one to a prompt: a batch's state has such a field, too.
    pub(crate) fn told(&self, usage: Usage) {
        if self.ask.tokens > 0 {
            self.told.set(usage);
        }
    }

    /// One more piece of the answer was passed on.
    pub(crate) fn relayed(&self) {
        self.relayed.set(self.relayed.get() + 1);
    }

    /// The request has ended.
    pub(crate) fn settle(&self, ended: Ended, now: Instant) {
        if self.settled.replace(true) {
            return;
        }
        let used = self.used(ended);
        let (prompt, completion) =
            (used.prompt.unwrap_or_default(), used.completion.unwrap_or_default());
        let (taken, used) = (self.ask.tokens, prompt.saturating_add(completion));
        for level in &self.levels.0 {
            if self.ask.stream {
                level.account.leave_stream();
            }
            level.account.counts.prompt_tokens.fetch_add(prompt, Relaxed);
            level.account.counts.completion_tokens.fetch_add(completion, Relaxed);
            let Some(rate) = level.quota.tokens_per_minute else { continue };
            if used <= taken {
                level.account.tokens.give_back(rate, taken - used);
            } else {
                level.account.tokens.owe(rate, used - taken, now);
            }
        }
    }

    /// What it took: as it was told, else as far as that can be known.
    fn used(&self, ended: Ended) -> Usage {
        let (told, relayed) = (self.told.get(), self.relayed.get());
        let of = |prompt, completion| Usage { prompt: Some(prompt), completion: Some(completion) };
        if told != Usage::default() {
            let whole = ended.outcome == Outcome::Ok;
            // Anthropic's streams tell of the answer's first token long before its last.
            let seen = if whole && told.completion.is_some() { 0 } else { relayed };
            let seen = if self.ask.stream { seen } else { 0 };
            let completion = told.completion.unwrap_or_default().max(seen);
            return of(told.prompt.unwrap_or(self.ask.prompt), completion);
        }
        let guessed = match ended.outcome {
            // Nobody was asked (a kept answer, a refusal), or it was not worked on.
            _ if ended.attempts == 0 || self.ask.tokens == 0 => None,
            Outcome::ClientFault => None,
            Outcome::Ok if self.ask.stream => Some(relayed),
            Outcome::Ok => Some(self.ask.tokens.saturating_sub(self.ask.prompt)),
            // Its replica read the prompt before its client left.
            Outcome::Cancelled => Some(relayed),
            _ if relayed == 0 => None,
            _ => Some(relayed),
        };
        guessed.map_or(of(0, 0), |completion| of(self.ask.prompt, completion))
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let ended = Ended { outcome: Outcome::Cancelled, attempts: 0 };
        self.settle(ended, evenkeel_domain::clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Whose;
    use super::super::tests::{left, levels, quota};
    use super::*;
    use evenkeel_domain::{ReplicaFault, clock};
    use std::time::Duration;

    const FAULT: Outcome = Outcome::ReplicaFault(ReplicaFault::Truncated);

    /// Tokens that are gone of 1000 after a request for 20 and 80.
    fn gone(stream: bool, told: Usage, relayed: u64, outcome: Outcome, attempts: u32) -> u64 {
        let now = clock::now() + Duration::from_secs(1);
        let levels = Rc::new(levels(&[(Whose::Key, quota(10, 1000, 1))]));
        let ask = Ask { prompt: 20, tokens: 100, stream };
        let bill = Bill::open(&levels, ask, now).unwrap();
        assert_eq!(left(&levels, 0, now), (9, 900, u32::from(stream)));
        bill.told(told);
        (0..relayed).for_each(|_| bill.relayed());
        bill.settle(Ended { outcome, attempts }, now);
        bill.settle(Ended { outcome: Outcome::Cancelled, attempts }, now);
        let counts = &levels.0[0].account.counts;
        let counted = counts.prompt_tokens.load(Relaxed) + counts.completion_tokens.load(Relaxed);
        let (requests, tokens, streams) = left(&levels, 0, now);
        assert_eq!((requests, streams), (9, 0));
        assert_eq!(1000 - tokens, counted.min(1000), "what is taken is what is counted");
        counted
    }

    #[test]
    fn what_is_told_is_what_is_taken() {
        let both =
            |prompt, completion| Usage { prompt: Some(prompt), completion: Some(completion) };
        let none = Usage::default();
        for (stream, told, relayed, outcome, attempts, expected) in [
            (false, both(5, 7), 0, Outcome::Ok, 1, 12),
            (true, both(5, 7), 30, Outcome::Ok, 1, 12),
            // More than was taken, and more than there was.
            (false, both(5, 700), 0, Outcome::Ok, 1, 705),
            (false, both(5, 7000), 0, Outcome::Ok, 1, 7005),
            (false, Usage { prompt: Some(9), completion: None }, 0, Outcome::Ok, 1, 9),
            // Broken off after its beginning had told of one token.
            (true, both(5, 1), 30, Outcome::Cancelled, 1, 35),
            (true, none, 30, Outcome::Ok, 1, 50),
            (true, none, 30, FAULT, 1, 50),
            (true, none, 0, FAULT, 3, 0),
            (false, none, 0, Outcome::Ok, 1, 100),
            (false, none, 0, Outcome::Backpressure, 0, 0),
            (false, none, 0, Outcome::ClientFault, 1, 0),
            (false, none, 0, Outcome::Cancelled, 1, 20),
            (false, none, 0, Outcome::Ok, 0, 0),
        ] {
            let got = gone(stream, told, relayed, outcome, attempts);
            assert_eq!(got, expected, "{stream} {told:?} {relayed} {outcome:?} {attempts}");
        }
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let now = clock::now() + Duration::from_secs(1);
        let levels = Rc::new(levels(&[(Whose::Key, quota(10, 1000, 1))]));
        let ask = Ask { prompt: 20, tokens: 100, stream: true };
        drop(Bill::open(&levels, ask, now).unwrap());
        assert_eq!(left(&levels, 0, now), (9, 1000, 0));
    }
}
