//! What a client has of its answer so far.

use super::Api;
use super::ask::Ask;
use super::notes::{Channel, Notes};
use crate::usage::Usage;
use serde_json::Value;
use smallvec::SmallVec;

/// How many steps back a continuation can begin. The overlap proves that the replica goes
/// on in the same state.
const STEPS: usize = 4;

/// A place between two tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes of the plain text before it.
    pub(crate) text: usize,
    /// Token ids before it.
    pub(crate) ids: usize,
    /// Events that brought text before it.
    pub(crate) events: u64,
}

/// Token ids of a request and its answer so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ids {
    pub(crate) prompt: Vec<u32>,
    pub(crate) answer: Vec<u32>,
}

/// What names the answer: it stays the first replica's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Fields of the first event that later ones repeat: `id`, `created`, `model`.
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// Ids of output items, by index (`/v1/responses`).
    pub(crate) items: Vec<(u64, String)>,
}

/// The account of one stream.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    channels: SmallVec<[(Channel, String); 1]>,
    marks: SmallVec<[Channel; 4]>,
    finished: SmallVec<[u32; 1]>,
    pub(crate) names: Option<Names>,
    pub(crate) ids: Option<Ids>,
    /// No token ids are known, or they no longer fit the text.
    ids_lost: bool,
    /// Ids up to the last one that brought text: what comes after is half a character.
    text_ids: usize,
    steps: [Step; STEPS],
    /// Events that brought text: close to the number of tokens.
    pub(crate) events: u64,
    pub(crate) usage: bool,
    /// The tokens that the answer has told of.
    pub(crate) told: Usage,
    /// The stream's last event was sent.
    pub(crate) last: bool,
    pub(crate) sequence: Option<u64>,
    /// The text is no longer kept, for want of memory: the stream cannot be resumed.
    pub(crate) forgotten: bool,
}

impl Ledger {
    /// Takes an event into account that goes to the client.
    pub(crate) fn apply(&mut self, notes: &Notes<'_>) {
        if !notes.texts.is_empty() {
            self.steps.rotate_left(1);
            self.steps[STEPS - 1] = self.here();
            self.events += 1;
        }
        for (channel, text) in &notes.texts {
            if !self.forgotten {
                self.text_mut(*channel).push_str(text);
            }
        }
        for choice in &notes.finished {
            if !self.finished.contains(choice) {
                self.finished.push(*choice);
            }
        }
        self.marks.extend(notes.mark.filter(|m| !self.marks.contains(m)));
        self.usage |= notes.usage;
        self.told = self.told.and(notes.told);
        self.last |= notes.last;
        self.sequence = notes.sequence.or(self.sequence);
        self.apply_ids(notes);
        if !notes.texts.is_empty() {
            self.text_ids = self.ids.as_ref().map_or(0, |i| i.answer.len());
        }
    }

    /// Takes token ids into account that came without text.
    pub(crate) fn apply_ids(&mut self, notes: &Notes<'_>) {
        if self.ids_lost {
            return;
        }
        if let Some(prompt) = &notes.prompt_ids
            && self.ids.is_none()
        {
            self.ids = Some(Ids { prompt: prompt.clone(), answer: Vec::new() });
        }
        match (&mut self.ids, &notes.ids) {
            (Some(ids), Some(new)) => ids.answer.extend_from_slice(new),
            (_, None) if notes.texts.is_empty() => {}
            // Text without ids, or ids without a prompt: of no use from here on.
            _ => self.lose_ids(),
        }
    }

    /// The ids no longer fit the text.
    pub(crate) fn lose_ids(&mut self) {
        (self.ids, self.ids_lost) = (None, true);
    }

    /// Another stream goes on after the last text; `since` are its ids without text so far.
    pub(crate) fn rebase_ids(&mut self, since: &[u32]) {
        if let Some(ids) = &mut self.ids {
            ids.answer.truncate(self.text_ids);
            ids.answer.extend_from_slice(since);
        }
    }

    /// Learns what names the answer.
    pub(crate) fn learn_names(&mut self, api: Api, data: &str) {
        let Ok(event) = serde_json::from_str::<Value>(data) else { return };
        let names = self.names.get_or_insert_default();
        let (source, keys): (_, &[&'static str]) = match api {
            Api::Responses => (event.get("response"), &["id", "created_at", "model"]),
            Api::Messages => (None, &[]),
            _ => (Some(&event), &["id", "object", "created", "model"]),
        };
        if let Some(source) = source.filter(|_| names.fields.is_empty()) {
            let known = |key: &&'static str| Some((*key, source.get(key)?.clone()));
            names.fields = keys.iter().filter_map(known).collect();
        }
        let item = event.pointer("/item/id").and_then(Value::as_str);
        let index = event.get("output_index").and_then(Value::as_u64);
        if let (Some(id), Some(index)) = (item, index)
            && !names.items.iter().any(|(i, _)| *i == index)
        {
            names.items.push((index, id.to_owned()));
        }
    }

    /// The model that gave the answer, where it said so.
    pub(crate) fn model(&self) -> Option<&str> {
        let fields = &self.names.as_ref()?.fields;
        fields.iter().find(|(name, _)| *name == "model")?.1.as_str()
    }

    /// Whether an event may say more of what names the answer.
    pub(crate) fn wants_names(&self, api: Api, notes: &Notes<'_>) -> bool {
        match api {
            Api::Messages => false,
            Api::Responses => notes.mark.is_some(),
            _ => self.names.is_none(),
        }
    }

    /// The answer was ended by us: with all that an end has.
    pub(crate) fn ended_here(&mut self) {
        (self.usage, self.last) = (true, true);
        if !self.finished.contains(&0) {
            self.finished.push(0);
        }
    }

    /// Keeps the text no longer.
    pub(crate) fn forget(&mut self) {
        self.forgotten = true;
        self.channels = SmallVec::new();
        self.lose_ids();
    }

    fn text_mut(&mut self, channel: Channel) -> &mut String {
        let at = self.channels.iter().position(|(c, _)| *c == channel).unwrap_or_else(|| {
            self.channels.push((channel, String::new()));
            self.channels.len() - 1
        });
        &mut self.channels[at].1
    }

    /// The text of a channel so far.
    pub(crate) fn text(&self, channel: Channel) -> &str {
        self.channels.iter().find(|(c, _)| *c == channel).map_or("", |(_, text)| text)
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = (Channel, &str)> {
        self.channels.iter().map(|(c, t)| (*c, t.as_str()))
    }

    /// Where the stream stands.
    pub(crate) fn here(&self) -> Step {
        Step { text: self.text(Channel::content(0)).len(), ids: self.text_ids, events: self.events }
    }

    /// A place `back` tokens ago, at most [`STEPS`]; the beginning when there were fewer.
    pub(crate) fn step_back(&self, back: usize) -> Step {
        match back {
            0 => self.here(),
            n => self.steps[STEPS - n.min(STEPS)],
        }
    }

    /// Whether all the client has is the plain text of one answer.
    pub(crate) fn is_plain(&self) -> bool {
        !self.forgotten && self.channels.iter().all(|(c, _)| c.is_plain())
    }

    pub(crate) fn has_mark(&self, mark: Channel) -> bool {
        self.marks.contains(&mark)
    }

    pub(crate) fn is_finished(&self, choice: u32) -> bool {
        self.finished.contains(&choice)
    }

    /// Whether anything went to the client.
    pub(crate) fn is_begun(&self) -> bool {
        !self.channels.is_empty() || !self.marks.is_empty() || !self.finished.is_empty()
    }

    /// Every answer has its finish reason: nothing of the content is missing.
    pub(crate) fn is_answered(&self, ask: &Ask) -> bool {
        self.finished.len() as u64 >= u64::from(ask.choices)
    }

    /// Bytes held.
    pub(crate) fn size(&self) -> usize {
        let ids = self.ids.as_ref().map_or(0, |i| i.prompt.capacity() + i.answer.capacity());
        self.channels.iter().map(|(_, text)| text.capacity()).sum::<usize>() + 4 * ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::notes;

    fn feed(ledger: &mut Ledger, data: &str) {
        ledger.apply(&notes::read(Api::Chat, "", data).unwrap());
    }

    fn chunk(text: &str, ids: &str) -> String {
        format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}{ids}}}]}}"#)
    }

    #[test]
    fn steps_lead_back() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.step_back(4), Step::default());
        for text in ["a", "bc", "def", "g", "h", "ij"] {
            feed(&mut ledger, &chunk(text, ""));
        }
        assert_eq!(ledger.step_back(0).text, 10);
        assert_eq!(ledger.step_back(1).text, 8);
        assert_eq!(ledger.step_back(4).text, 3);
        assert_eq!(ledger.step_back(9), ledger.step_back(4));
        assert!(ledger.is_plain());
    }

    #[test]
    fn ids_without_gaps_only() {
        let mut ledger = Ledger::default();
        feed(
            &mut ledger,
            r#"{"prompt_token_ids":[1,2],"choices":[{"delta":{"role":"assistant"}}]}"#,
        );
        feed(&mut ledger, &chunk("a", r#","token_ids":[3]"#));
        feed(&mut ledger, &chunk("", r#","token_ids":[4]"#));
        assert_eq!(ledger.ids.as_ref().unwrap().answer, [3, 4]);
        feed(&mut ledger, &chunk("b", ""));
        assert!(ledger.ids.is_none());
        feed(&mut ledger, &chunk("c", r#","token_ids":[5]"#));
        assert!(ledger.ids.is_none());
    }
}
