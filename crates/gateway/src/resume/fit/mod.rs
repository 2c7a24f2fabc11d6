//! Making the events of a successor go on where the client's stream stopped.
//!
//! What the client has is dropped while it matches byte for byte; the first difference ends
//! the attempt. What comes after is renamed to be the same answer.

mod choices;
mod logprobs;
mod typed;

use super::Api;
use super::ask::Ask;
use super::ledger::{Ledger, Step};
use super::notes::{Channel, Malformed};
use super::rung::Rung;
use serde_json::Value;
use smallvec::SmallVec;

/// Why a successor's event cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It says something else than what the client has.
    Diverged(String),
    /// It is not what this API sends.
    Malformed(Malformed),
}

/// How far a successor's stream has come, and what its events must become.
#[derive(Debug)]
pub(crate) struct Fit {
    api: Api,
    rung: Rung,
    /// Place in the client's text where this stream begins.
    from: Step,
    /// The replica repeats the beginning that it was given.
    echoes: bool,
    cursors: SmallVec<[(Channel, usize); 1]>,
    /// Its item ids, by those the client knows (`/v1/responses`).
    renamed: Vec<(String, String)>,
    wants_ids: bool,
}

impl Fit {
    pub(crate) fn new(ask: &Ask, rung: Rung, from: Step, echoes: bool) -> Self {
        let mut cursors = SmallVec::new();
        if rung != Rung::Regenerate {
            cursors.push((Channel::content(0), if echoes { 0 } else { from.text }));
        }
        Self {
            api: ask.api,
            rung,
            from,
            echoes,
            cursors,
            renamed: Vec::new(),
            wants_ids: ask.wants_ids,
        }
    }

    pub(crate) fn rung(&self) -> Rung {
        self.rung
    }

    /// The event for the client; `None` when it brings nothing that the client has not.
    pub(crate) fn event(
        &mut self,
        ledger: &mut Ledger,
        kind: &str,
        data: &str,
    ) -> Result<Option<String>, Misfit> {
        let mut value: Value =
            serde_json::from_str(data).map_err(|e| Misfit::Malformed(Malformed(e.to_string())))?;
        let kept = match self.api.has_choices() {
            true => self.chunk(ledger, &mut value)?,
            false => self.typed(ledger, kind, &mut value)?,
        };
        Ok(kept.then(|| value.to_string()))
    }

    /// Whether this stream has said all that the client has.
    pub(crate) fn is_level(&self, ledger: &Ledger) -> bool {
        ledger.channels().all(|(channel, text)| self.cursor(channel) >= text.len())
    }

    fn cursor(&self, channel: Channel) -> usize {
        self.cursors.iter().find(|(c, _)| *c == channel).map_or(0, |(_, at)| *at)
    }

    fn cursor_mut(&mut self, channel: Channel) -> &mut usize {
        let at = self.cursors.iter().position(|(c, _)| *c == channel).unwrap_or_else(|| {
            self.cursors.push((channel, 0));
            self.cursors.len() - 1
        });
        &mut self.cursors[at].1
    }

    /// Takes from a delta what the client has. Gives how many bytes that were.
    fn trim(
        &mut self,
        ledger: &Ledger,
        channel: Channel,
        text: &mut String,
    ) -> Result<usize, Misfit> {
        let delivered = ledger.text(channel);
        let cursor = self.cursor_mut(channel);
        let from = *cursor;
        *cursor += text.len();
        let overlap = delivered.len().saturating_sub(from).min(text.len());
        if overlap == 0 {
            return Ok(0);
        }
        if delivered.as_bytes()[from..from + overlap] != text.as_bytes()[..overlap] {
            return Err(Misfit::Diverged(format!("its text differs after {from} bytes")));
        }
        // Equal bytes end at the same place between characters.
        text.drain(..overlap);
        Ok(overlap)
    }

    /// An answer that ends before it has said what the client has, is another answer.
    /// `part`: the choice or block that ends, or all.
    fn check_end(&self, ledger: &Ledger, part: Option<u32>) -> Result<(), Misfit> {
        let behind = ledger.channels().any(|(channel, text)| {
            part.is_none_or(|p| channel.a == p) && self.cursor(channel) < text.len()
        });
        match behind {
            true => Err(Misfit::Diverged("it ends sooner".into())),
            false => Ok(()),
        }
    }

    /// Usage of one answer: what the successor was given of it is no prompt.
    fn settle_usage(&self, usage: &mut Value, prompt: &str, completion: &str) {
        if self.rung == Rung::Regenerate {
            return;
        }
        let given = match self.rung {
            Rung::Replay => self.from.ids as u64,
            _ => self.from.events,
        };
        let read = |v: &Value, key: &str| v.get(key).and_then(Value::as_u64);
        if let (Some(p), Some(c)) = (read(usage, prompt), read(usage, completion)) {
            usage[prompt] = p.saturating_sub(given).into();
            usage[completion] = (c + given.min(p)).into();
        }
    }
}

/// A field that is there and not null.
fn present<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|v| !v.is_null())
}
