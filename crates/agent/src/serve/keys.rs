//! What was done lately, so that a call that comes twice is done once.

use crate::words::Done;
use evenkeel_domain::orchestrator::OrchestratorError;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A keeper sends again what it had under way when a connection broke: a few calls.
const KEPT: usize = 256;

type Answer = Result<Done, OrchestratorError>;

/// Keys with their answers, oldest first.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<VecDeque<(String, Answer)>>);

impl Keys {
    /// What was answered to a call with this key.
    pub(super) fn answer(&self, key: &str) -> Option<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == key).map(|(_, answer)| answer.clone())
    }

    /// Remembers an answer.
    pub(super) fn keep(&self, key: String, answer: Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let keys = Keys::default();
        for i in 0..=KEPT as u64 {
            keys.keep(i.to_string(), Ok(Done::Restarting { incarnation: i }));
        }
        assert_eq!(keys.answer("0"), None);
        assert_eq!(keys.answer("1"), Some(Ok(Done::Restarting { incarnation: 1 })));
    }
}
