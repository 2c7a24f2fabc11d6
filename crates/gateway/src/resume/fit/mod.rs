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
    /// What it has said so far, while that is also how the answer began. Servers differ,
    /// and some with the form of the request, in whether they repeat what they were given.
    said_again: Option<String>,
    /// It has said again all that it was given.
    repeated: bool,
    /// Its events that brought text.
    events: u64,
    /// Tokens it may say: what the client's limit leaves beside what it was given.
    left: Option<u64>,
}

/// Whether a continuation is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onset {
    /// What it says is how the answer began: it is held back.
    Unclear,
    /// It goes on.
    GoesOn,
}

/// So much of an answer's beginning, said again, is no chance.
const AGAIN: usize = 16;

impl Fit {
    pub(crate) fn new(ask: &Ask, rung: Rung, from: Step, echoes: bool) -> Self {
        let mut cursors = SmallVec::new();
        if rung != Rung::Regenerate {
            cursors.push((Channel::content(0), if echoes { 0 } else { from.text }));
        }
        // Completing a longer text never says the text again.
        let unclear = rung == Rung::Prefill && ask.api != Api::Completions;
        Self {
            api: ask.api,
            rung,
            from,
            echoes,
            cursors,
            renamed: Vec::new(),
            wants_ids: ask.wants_ids,
            repeated: false,
            events: 0,
            left: ask.max_tokens.map(|most| most.saturating_sub(from.events)),
            said_again: (unclear && from.text >= AGAIN).then(String::new),
        }
    }

    pub(crate) fn rung(&self) -> Rung {
        self.rung
    }

    /// Looks whether a continuation says again what it was given. Once it has said all of
    /// it, what follows is conditioned on it and good, whether it repeated it or found it
    /// anew.
    pub(crate) fn onset(&mut self, ledger: &Ledger, text: &str) -> Result<Onset, Misfit> {
        self.events += u64::from(!text.is_empty());
        let Some(said) = &mut self.said_again else { return Ok(Onset::GoesOn) };
        said.push_str(text);
        let given = ledger.text(Channel::content(0)).get(..self.from.text).unwrap_or_default();
        if said.len() < given.len() && given.starts_with(said.as_str()) {
            return Ok(Onset::Unclear);
        }
        let common = said.bytes().zip(given.bytes()).take_while(|(a, b)| a == b).count();
        let again = common == given.len();
        if !again && common >= AGAIN {
            return Err(Misfit::Diverged("it began anew and says something else".into()));
        }
        self.settle_onset(again);
        Ok(Onset::GoesOn)
    }

    fn settle_onset(&mut self, again: bool) {
        self.said_again = None;
        self.repeated = again;
        *self.cursor_mut(Channel::content(0)) = if again { 0 } else { self.from.text };
    }

    /// It has ended: what it said was the rest.
    pub(crate) fn onset_ended(&mut self) {
        if self.said_again.is_some() {
            self.settle_onset(false);
        }
    }

    /// Whether the event only ends a part of an answer whose end is to be looked at as a whole:
    /// the reason comes after it.
    pub(crate) fn awaits_reason(&self, kind: &str) -> bool {
        self.repeated && self.left.is_some() && kind == "content_block_stop"
    }

    /// Looks at an answer's last event: one that began anew counts what it says again against
    /// a limit from which that was taken already, and ends too soon.
    pub(crate) fn check_limit(&self, data: &str) -> Result<(), Misfit> {
        let Some(left) = self.left.filter(|left| self.repeated && self.events <= *left) else {
            return Ok(());
        };
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        let reason = ["/choices/0/finish_reason", "/delta/stop_reason"];
        let reason = reason.iter().find_map(|at| event.pointer(at)?.as_str());
        match reason {
            Some("length" | "max_tokens") => Err(Misfit::Diverged(format!(
                "it began anew and ended at {left} tokens, a limit meant for the rest"
            ))),
            _ => Ok(()),
        }
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

    /// Tokens of the answer that a successor was given with the prompt.
    fn given(&self) -> u64 {
        match self.rung {
            Rung::Regenerate => 0,
            Rung::Replay => self.from.ids as u64,
            Rung::Prefill => self.from.events,
        }
    }

    /// … and has not counted among those of its answer, which are `own`. One that said all of
    /// it again, token by token, has.
    fn uncounted(&self, own: u64) -> u64 {
        if self.repeated && own >= self.events { 0 } else { self.given() }
    }

    /// Usage of one answer: what the successor was given of it is no prompt.
    fn settle_usage(&self, usage: &mut Value, prompt: &str, completion: &str) {
        let read = |v: &Value, key: &str| v.get(key).and_then(Value::as_u64);
        if let (Some(p), Some(c)) = (read(usage, prompt), read(usage, completion)) {
            // As part of the prompt it was counted there, unless it was not looked at.
            let given = if self.given() < p { self.given() } else { 0 };
            let (p, c) = (p - given, c + self.uncounted(c).min(given));
            (usage[prompt], usage[completion]) = (p.into(), c.into());
            if let Some(total) = present(usage, "total_tokens") {
                *total = (p + c).into();
            }
        }
    }
}

/// A field that is there and not null.
fn present<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|v| !v.is_null())
}
