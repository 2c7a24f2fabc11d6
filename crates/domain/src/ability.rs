//! What a replica can do to go on with an answer that another one began.
//!
//! Known from its first answers or found by asking it once; a guess that proves wrong is
//! taken back.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What is known of one ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// Nothing yet.
    Unknown = 0,
    /// Somebody is finding out.
    Asking = 1,
    /// It does not have it.
    No = 2,
    /// It has it.
    Yes = 3,
    /// It goes on from a given beginning, and repeats that beginning in its answer.
    Echoes = 4,
}

impl Known {
    fn from_u8(raw: u8) -> Self {
        match raw {
            1 => Self::Asking,
            2 => Self::No,
            3 => Self::Yes,
            4 => Self::Echoes,
            _ => Self::Unknown,
        }
    }

    /// The word for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Asking => "asking",
            Self::No => "no",
            Self::Yes => "yes",
            Self::Echoes => "echoes",
        }
    }
}

/// One ability of one replica, read by many threads.
#[derive(Debug, Default)]
pub struct Ability(AtomicU8);

impl Ability {
    /// What is known.
    #[must_use]
    pub fn get(&self) -> Known {
        Known::from_u8(self.0.load(Relaxed))
    }

    /// Notes what was found.
    pub fn set(&self, known: Known) {
        self.0.store(known as u8, Relaxed);
    }

    /// Takes on to find out: true for one caller only.
    pub fn take_on(&self) -> bool {
        let (from, to) = (Known::Unknown as u8, Known::Asking as u8);
        self.0.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }
}

/// The abilities that matter for going on with an answer.
#[derive(Debug, Default)]
pub struct Abilities {
    /// Tells token ids when asked (`return_token_ids`) and takes a prompt of them.
    pub token_ids: Ability,
    /// `/v1/chat/completions` goes on from a last assistant message.
    pub chat_prefill: Ability,
    /// `/v1/completions` at temperature 0 goes on from a text exactly as it would have.
    pub text_prefill: Ability,
    /// `/v1/messages` goes on from a last assistant message.
    pub messages_prefill: Ability,
    /// Runs an answer to its end although its client has left, unless it is a stream.
    pub runs_on: Ability,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_finds_out() {
        let ability = Ability::default();
        assert_eq!(ability.get(), Known::Unknown);
        assert!(ability.take_on());
        assert!(!ability.take_on());
        for known in [Known::No, Known::Yes, Known::Echoes, Known::Unknown] {
            ability.set(known);
            assert_eq!(ability.get(), known);
        }
        assert!(ability.take_on());
    }
}
