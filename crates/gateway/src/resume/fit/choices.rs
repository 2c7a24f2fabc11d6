//! Chunks of chat and text completions, made to go on.

use super::{Fit, Ledger, Misfit, logprobs, present};
use crate::resume::Api;
use crate::resume::notes::{Channel, Kind, Malformed};
use crate::resume::rung::Rung;
use serde_json::{Value, json};

/// The text fields of a delta, and what they carry.
const SLOTS: [(&str, Kind, u32); 4] = [
    ("content", Kind::Content, 0),
    ("reasoning_content", Kind::Reasoning, 0),
    ("reasoning", Kind::Reasoning, 1),
    ("refusal", Kind::Refusal, 0),
];

impl Fit {
    /// Rewrites a chunk in place; whether anything is left for the client.
    pub(super) fn chunk(&mut self, ledger: &mut Ledger, chunk: &mut Value) -> Result<bool, Misfit> {
        if let Some(names) = &ledger.names {
            for (key, value) in &names.fields {
                chunk[*key] = value.clone();
            }
        }
        self.take_ids(ledger, chunk);
        let has_usage = self.usage(ledger, chunk);
        let Some(choices) = chunk.get_mut("choices").and_then(Value::as_array_mut) else {
            return Err(Misfit::Malformed(Malformed("an event without `choices`".into())));
        };
        let mut kept = Vec::with_capacity(choices.len());
        for mut choice in std::mem::take(choices) {
            if self.choice(ledger, &mut choice)? {
                kept.push(choice);
            }
        }
        let any = !kept.is_empty();
        *choices = kept;
        Ok(any || has_usage)
    }

    fn usage(&self, ledger: &Ledger, chunk: &mut Value) -> bool {
        let Some(usage) = present(chunk, "usage") else { return false };
        if ledger.usage {
            *usage = Value::Null;
            return false;
        }
        self.settle_usage(usage, "prompt_tokens", "completion_tokens");
        // Usage beside every chunk is no news by itself.
        chunk["choices"].as_array().is_none_or(Vec::is_empty)
    }

    /// Token ids that only the gateway asked for stay here; ids that do not stand for the
    /// text they come with are of no use.
    fn take_ids(&self, ledger: &mut Ledger, chunk: &mut Value) {
        if self.rung == Rung::Prefill {
            ledger.lose_ids();
        }
        let Some(fields) = chunk.as_object_mut() else { return };
        // The prompt's ids were told with the first event.
        fields.remove("prompt_token_ids");
        for choice in fields.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(choice) = choice.as_object_mut() {
                choice.remove("prompt_token_ids");
            }
        }
    }

    fn choice(&mut self, ledger: &mut Ledger, choice: &mut Value) -> Result<bool, Misfit> {
        if self.api == Api::Chat && self.rung == Rung::Replay {
            as_chat(choice);
        }
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let mut cut = 0;
        let mut whole = 0;
        if let Some(Value::String(text)) = choice.get_mut("text") {
            cut += self.trim(ledger, Channel::content(index), text)?;
            whole += text.len();
        }
        let mut any = whole > 0;
        if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
            delta.remove("role");
            for (name, kind, b) in SLOTS {
                let Some(Value::String(text)) = delta.get_mut(name) else { continue };
                let dropped = self.trim(ledger, Channel { kind, a: index, b }, text)?;
                if kind == Kind::Content {
                    cut += dropped;
                    whole += text.len();
                }
                any |= !text.is_empty();
                if text.is_empty() {
                    delta.remove(name);
                }
            }
            any |= self.tools(ledger, index, delta)?;
        }
        self.aligned(ledger, choice, cut, whole)?;
        any |= self.finish(ledger, choice, index)?;
        Ok(any)
    }

    fn tools(
        &mut self,
        ledger: &Ledger,
        a: u32,
        delta: &mut serde_json::Map<String, Value>,
    ) -> Result<bool, Misfit> {
        let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) else {
            return Ok(false);
        };
        let mut kept = Vec::with_capacity(calls.len());
        for mut call in std::mem::take(calls) {
            let b = call.get("index").and_then(Value::as_u64).unwrap_or(0);
            let b = u32::try_from(b).unwrap_or(u32::MAX);
            let mut any = false;
            let known = !ledger.text(Channel { kind: Kind::ToolName, a, b }).is_empty();
            for (name, kind) in [("name", Kind::ToolName), ("arguments", Kind::ToolArguments)] {
                let slot = call.get_mut("function").and_then(|f| f.get_mut(name));
                if let Some(Value::String(text)) = slot {
                    self.trim(ledger, Channel { kind, a, b }, text)?;
                    any |= !text.is_empty();
                }
            }
            if known && let Some(call) = call.as_object_mut() {
                // The call keeps the id under which the client knows it.
                call.remove("id");
                call.remove("type");
                if let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) {
                    function.remove("name");
                }
            }
            if any {
                kept.push(call);
            }
        }
        let any = !kept.is_empty();
        if any {
            *calls = kept;
        } else {
            delta.remove("tool_calls");
        }
        Ok(any)
    }

    /// What belongs to the text token by token: ids and log-probabilities.
    fn aligned(
        &self,
        ledger: &mut Ledger,
        choice: &mut Value,
        cut: usize,
        whole: usize,
    ) -> Result<(), Misfit> {
        if cut > 0 {
            logprobs::cut(choice, cut, whole)
                .map_err(|()| Misfit::Diverged("log-probabilities cannot be cut here".into()))?;
        }
        if cut > 0 && whole > 0 {
            // Some of these tokens are the client's already; which, is not known.
            ledger.lose_ids();
            if self.wants_ids {
                return Err(Misfit::Diverged("token ids cannot be cut here".into()));
            }
        }
        let has_ids = present(choice, "token_ids").is_some();
        let dropped = cut > 0 || whole == 0 && !self.is_level(ledger);
        if let Some(fields) = choice.as_object_mut()
            && has_ids
            && (dropped || self.echoes)
        {
            fields.remove("token_ids");
        }
        Ok(())
    }

    fn finish(&self, ledger: &Ledger, choice: &mut Value, index: u32) -> Result<bool, Misfit> {
        let Some(reason) = present(choice, "finish_reason") else { return Ok(false) };
        if ledger.is_finished(index) {
            *reason = Value::Null;
            return Ok(false);
        }
        self.check_end(ledger, Some(index))?;
        Ok(true)
    }
}

/// A text completion's choice as a chat's.
fn as_chat(choice: &mut Value) {
    let Some(fields) = choice.as_object_mut() else { return };
    if let Some(text) = fields.remove("text") {
        fields.insert("delta".into(), json!({ "content": text }));
    }
}
