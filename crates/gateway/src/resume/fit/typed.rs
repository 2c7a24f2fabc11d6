//! Events of `/v1/messages` and `/v1/responses`, made to go on.

use super::{Fit, Ledger, Misfit};
use crate::resume::Api;
use crate::resume::notes::{Channel, Kind, Malformed, channel};
use serde_json::Value;

impl Fit {
    /// Rewrites an event in place; whether anything is left for the client.
    pub(super) fn typed(
        &mut self,
        ledger: &mut Ledger,
        name: &str,
        event: &mut Value,
    ) -> Result<bool, Misfit> {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or(name).to_owned();
        let kept = match self.api {
            Api::Messages => self.message(ledger, &kind, event)?,
            _ => self.response(ledger, &kind, event)?,
        };
        if kept && let Some(sequence) = event.get_mut("sequence_number") {
            *sequence = ledger.sequence.map_or(0, |s| s + 1).into();
        }
        Ok(kept)
    }

    fn message(&mut self, ledger: &Ledger, kind: &str, event: &mut Value) -> Result<bool, Misfit> {
        let index = number(event, "index");
        match kind {
            "content_block_delta" => {
                let a = index.unwrap_or(0);
                let slots = [
                    ("text", Kind::Content),
                    ("partial_json", Kind::ToolArguments),
                    ("thinking", Kind::Reasoning),
                ];
                let Some(delta) = event.get_mut("delta") else { return Ok(false) };
                for (slot, kind) in slots {
                    if let Some(Value::String(text)) = delta.get_mut(slot) {
                        self.trim(ledger, Channel { kind, a, b: 0 }, text)?;
                        return Ok(!text.is_empty());
                    }
                }
                // Signatures and citations belong to what came before them.
                Ok(self.is_level(ledger))
            }
            "message_delta" => {
                if event.pointer("/delta/stop_reason").is_none_or(Value::is_null) {
                    return Ok(false);
                }
                if ledger.is_finished(0) {
                    return Ok(false);
                }
                self.check_end(ledger, None)?;
                if let Some(usage) = event.get_mut("usage") {
                    self.settle_usage(usage, "input_tokens", "output_tokens");
                    self.settle_output(usage);
                }
                Ok(true)
            }
            "message_stop" => Ok(!ledger.last),
            "ping" => Ok(false),
            _ => {
                let mark = channel(kind, index, None);
                if kind == "content_block_stop" {
                    self.check_end(ledger, index)?;
                }
                Ok(!ledger.has_mark(mark))
            }
        }
    }

    /// `message_delta` may bear the output's usage alone.
    fn settle_output(&self, usage: &mut Value) {
        let alone = usage.get("input_tokens").and_then(Value::as_u64).is_none();
        let output = usage.get("output_tokens").and_then(Value::as_u64);
        if let Some(output) = output
            && alone
        {
            usage["output_tokens"] = (output + self.uncounted(output)).into();
        }
    }

    fn response(&mut self, ledger: &Ledger, kind: &str, event: &mut Value) -> Result<bool, Misfit> {
        self.learn_names(ledger, event);
        rename(event, &self.renamed);
        let (a, b) = (
            number(event, "output_index"),
            number(event, "content_index").or(number(event, "summary_index")),
        );
        if kind.ends_with(".delta") {
            let Some(Value::String(text)) = event.get_mut("delta") else {
                return Err(Misfit::Malformed(Malformed("a delta that is no text".into())));
            };
            self.trim(ledger, channel(kind, a, b), text)?;
            return Ok(!text.is_empty());
        }
        match kind {
            "response.completed" | "response.incomplete" => {
                self.check_end(ledger, None)?;
                if let (Some(names), Some(response)) = (&ledger.names, event.get_mut("response")) {
                    for (key, value) in &names.fields {
                        response[*key] = value.clone();
                    }
                }
                Ok(!ledger.last)
            }
            _ => Ok(!ledger.has_mark(channel(kind, a, b))),
        }
    }

    /// Learns which of the successor's ids stand for which of the client's.
    fn learn_names(&mut self, ledger: &Ledger, event: &Value) {
        let Some(names) = &ledger.names else { return };
        if let (Some(index), Some(theirs)) = (
            event.get("output_index").and_then(Value::as_u64),
            event.pointer("/item/id").and_then(Value::as_str),
        ) && let Some((_, ours)) = names.items.iter().find(|(i, _)| *i == index)
        {
            self.rename_to(theirs, ours);
        }
        let ours = names.fields.iter().find(|(key, _)| *key == "id").and_then(|(_, v)| v.as_str());
        let theirs = event.pointer("/response/id").and_then(Value::as_str);
        if let (Some(theirs), Some(ours)) = (theirs, ours) {
            self.rename_to(theirs, ours);
        }
    }

    fn rename_to(&mut self, theirs: &str, ours: &str) {
        if theirs != ours && !self.renamed.iter().any(|(t, _)| t == theirs) {
            self.renamed.push((theirs.to_owned(), ours.to_owned()));
        }
    }
}

fn number(event: &Value, key: &str) -> Option<u32> {
    event.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok())
}

/// Replaces ids wherever they stand as whole `id` fields.
fn rename(value: &mut Value, renamed: &[(String, String)]) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if let Value::String(text) = value
                    && matches!(&**key, "id" | "item_id" | "response_id")
                    && let Some((_, ours)) = renamed.iter().find(|(theirs, _)| theirs == text)
                {
                    ours.clone_into(text);
                } else {
                    rename(value, renamed);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        _ => {}
    }
}
