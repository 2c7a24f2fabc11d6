//! Streams that survive their replica.
//!
//! ```text
//!  replica A ──events──► Live ──► Ledger ──► client         what the client has, by channel
//!      ✗ cut, reset, stall, error event, garbage, no finish reason
//!  replica B ──events──► Live ──► Fit ──► Ledger ──► client
//!                                  │  drops what the client has while it matches byte for
//!                                  │  byte; same id, one role, one finish, one usage
//!                                  └─ differs: this rung has failed, the next one is tried
//! ```
//! The ladder, best rung that is provably right first: **token replay** (the prompt's and
//! the answer's token ids as a new prompt), **prefill** (the text so far as the beginning of
//! the assistant's answer), **regenerate** (the same request again). After the last rung the
//! client is told in band.
//!
//! A stream is complete only when a finish reason was seen: status 200, `[DONE]` and a
//! clean end each occur on truncated streams.

pub(crate) mod ask;
pub(crate) mod carry;
pub(crate) mod discover;
pub(crate) mod endless;
pub(crate) mod events;
pub(crate) mod fit;
pub(crate) mod ladder;
pub(crate) mod ledger;
pub(crate) mod live;
pub(crate) mod notes;
pub(crate) mod pace;
pub(crate) mod rung;
pub(crate) mod unary;

#[cfg(test)]
mod tests;

use evenkeel_domain::ability::Ability;
use evenkeel_domain::{Abilities, Known};

/// The APIs whose streams are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// OpenAI `/v1/chat/completions`.
    Chat,
    /// OpenAI `/v1/completions`.
    Completions,
    /// OpenAI `/v1/responses`.
    Responses,
    /// Anthropic `/v1/messages`.
    Messages,
}

impl Api {
    /// The API behind a path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::Chat),
            "/v1/completions" => Some(Self::Completions),
            "/v1/responses" => Some(Self::Responses),
            "/v1/messages" => Some(Self::Messages),
            _ => None,
        }
    }

    /// Whether its events are `choices` with deltas; else they are typed.
    pub(crate) fn has_choices(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// Whether a replica goes on from a given beginning of an answer.
    pub(crate) fn prefill(self, of: &Abilities) -> Known {
        self.prefill_ability(of).map_or(Known::No, Ability::get)
    }

    /// The ability that [`Api::prefill`] reads.
    pub(crate) fn prefill_ability(self, of: &Abilities) -> Option<&Ability> {
        match self {
            Self::Chat => Some(&of.chat_prefill),
            Self::Completions => Some(&of.text_prefill),
            Self::Messages => Some(&of.messages_prefill),
            Self::Responses => None,
        }
    }
}
