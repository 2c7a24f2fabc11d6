//! Finding out what a replica can do, once, before it is needed.
//!
//! A server that does not know how to go on from a given beginning may refuse, or, worse,
//! begin anew without a word. So it is asked for a short greedy answer, then for the same
//! from its middle: only if the rest is what it should be does it go on. One that says the
//! beginning again either repeats it or began anew; a beginning that it would never have
//! chosen tells which.

use super::events::Blocks;
use super::{Api, notes};
use crate::error::Shape;
use crate::route::Entry;
use crate::template::{Template, TemplateBody};
use crate::worker::Worker;
use bytes::Bytes;
use evenkeel_domain::ability::Ability;
use evenkeel_domain::{Gate, Known, Replica, clock};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long one question may take: a busy replica queues it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer to one.
const ANSWER_MAX: usize = 256 << 10;
/// Tokens asked for.
const TOKENS: u32 = 12;
/// What is asked.
const PROMPT: &str = "Name the planets in order, beginning with Mercury.";
/// A beginning that no model chooses by itself.
const SENTINEL: &str = "Quartz zebra";

/// Starts finding out what is not known yet of a service's replicas. Costs a few atomic
/// reads when all is known.
pub(crate) fn start(
    worker: &Rc<Worker>,
    entry: &Arc<Entry>,
    api: Api,
    model: impl Fn() -> Option<String>,
) {
    for replica in entry.service.pool.members().iter() {
        if replica.live.gate() > Gate::Reserve {
            continue;
        }
        let can = &replica.abilities;
        let prefill = match api {
            Api::Chat | Api::Messages => api.prefill_ability(can),
            // Completing a longer text is what completions do.
            Api::Completions | Api::Responses => None,
        };
        if prefill.is_some_and(Ability::take_on) {
            let asker = Asker::new(worker, entry, replica, model().as_deref());
            tokio::task::spawn_local(async move {
                let found = asker.prefill(api).await.unwrap_or(Known::Unknown);
                if let Some(ability) = api.prefill_ability(&asker.replica.abilities) {
                    asker.note(ability, "prefill", found);
                }
            });
        }
        if api.has_choices() && can.token_ids.take_on() {
            let asker = Asker::new(worker, entry, replica, model().as_deref());
            tokio::task::spawn_local(async move {
                let found = asker.token_ids().await.unwrap_or(Known::Unknown);
                asker.note(&asker.replica.abilities.token_ids, "token_ids", found);
            });
        }
    }
}

struct Asker {
    worker: Rc<Worker>,
    replica: Arc<Replica>,
    model: Value,
    connect: Duration,
}

impl Asker {
    fn new(
        worker: &Rc<Worker>,
        entry: &Entry,
        replica: &Arc<Replica>,
        model: Option<&str>,
    ) -> Self {
        let settings = &entry.service.settings;
        let alias = model.and_then(|m| settings.aliases.get(m)).map(String::as_str);
        let name = replica.id.model.as_deref().or(alias).or(model);
        Self {
            worker: worker.clone(),
            replica: replica.clone(),
            model: name.map_or(Value::Null, Value::from),
            connect: settings.deadlines.connect,
        }
    }

    fn note(&self, ability: &Ability, what: &str, found: Known) {
        ability.set(found);
        tracing::info!(
            replica = &*self.replica.id.name,
            ability = what,
            found = found.label(),
            "found out how it can go on with an answer"
        );
    }

    /// Whether it goes on from a last assistant message.
    async fn prefill(&self, api: Api) -> Option<Known> {
        let Some(whole) = self.text(api, None).await? else { return Some(Known::No) };
        let middle = cut_at_word(&whole);
        let (begun, rest) = whole.split_at(middle);
        if begun.is_empty() || rest.is_empty() {
            return Some(Known::No);
        }
        let Some(onward) = self.text(api, Some(begun)).await? else { return Some(Known::No) };
        if agree(&onward, rest) && !agree(&onward, &whole) {
            return Some(Known::Yes);
        }
        if !agree(&onward, &whole) {
            return Some(Known::No);
        }
        let Some(strange) = self.text(api, Some(SENTINEL)).await? else { return Some(Known::No) };
        Some(if strange.starts_with(SENTINEL) { Known::Echoes } else { Known::No })
    }

    /// The text of a streamed answer, `begun` or not; `None` inside when it refuses. As a
    /// stream, because servers differ in it: llama.cpp repeats the beginning in a unary
    /// answer only.
    async fn text(&self, api: Api, begun: Option<&str>) -> Option<Option<String>> {
        let mut messages = vec![json!({ "role": "user", "content": PROMPT })];
        let mut body = json!({
            "model": self.model, "max_tokens": TOKENS, "temperature": 0, "stream": true,
        });
        if let Some(begun) = begun {
            messages.push(json!({ "role": "assistant", "content": begun }));
            if api == Api::Chat {
                body["continue_final_message"] = true.into();
                body["add_generation_prompt"] = false.into();
            }
        }
        body["messages"] = messages.into();
        let path = if api == Api::Chat { "/v1/chat/completions" } else { "/v1/messages" };
        let answer = self.ask(path, &body).await?;
        Some(answer.and_then(|bytes| plain_text(api, &bytes)))
    }

    /// Whether it tells token ids and goes on from them.
    async fn token_ids(&self) -> Option<Known> {
        let Some((prompt, ids)) = self.ids(PROMPT.into()).await? else { return Some(Known::No) };
        let half = ids.len() / 2;
        if half == 0 {
            return Some(Known::No);
        }
        let begun: Vec<u32> = prompt.iter().chain(&ids[..half]).copied().collect();
        let Some((_, rest)) = self.ids(json!(begun)).await? else { return Some(Known::No) };
        let same = rest.iter().zip(&ids[half..]).all(|(a, b)| a == b);
        Some(if same && !rest.is_empty() { Known::Yes } else { Known::No })
    }

    /// Token ids of a prompt and its answer; `None` inside when it does not tell them.
    async fn ids(&self, prompt: Value) -> Option<Option<(Vec<u32>, Vec<u32>)>> {
        let body = json!({
            "model": self.model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0,
            "return_token_ids": true,
        });
        let answer = self.ask("/v1/completions", &body).await?;
        Some(answer.and_then(|bytes| {
            let a: Value = serde_json::from_slice(&bytes).ok()?;
            let choice = a.pointer("/choices/0")?;
            let ids = serde_json::from_value(choice.get("token_ids")?.clone()).ok()?;
            let prompt = choice.get("prompt_token_ids").or(a.get("prompt_token_ids"))?;
            Some((serde_json::from_value(prompt.clone()).ok()?, ids))
        }))
    }

    /// Asks once. `None` when no answer came, which says nothing; `None` inside when it
    /// refused.
    async fn ask(&self, path: &'static str, body: &Value) -> Option<Option<Vec<u8>>> {
        let template = self.template(path, body);
        let asking = async {
            let connections = self.worker.pools.of(&self.replica);
            let (head, mut body) =
                connections.send(&self.replica, &template, clock::now()).await.ok()?;
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.ok()?.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() > ANSWER_MAX {
                    return Some(None);
                }
            }
            match head.status.as_u16() {
                200 => Some(Some(bytes)),
                // Busy or broken: that says nothing of what it can do.
                429 | 500.. => None,
                _ => Some(None),
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    }

    fn template(&self, path: &'static str, body: &Value) -> Template {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Template {
            method: Method::POST,
            uri: Uri::from_static(path),
            headers,
            body: TemplateBody::Whole(Bytes::from(body.to_string()), None),
            model: None,
            repeatable: true,
            grpc: false,
            needs_h2: false,
            head_only: false,
            expects_content: true,
            commits_at_head: false,
            shape: Shape::OpenAi,
            connect: self.connect,
            idle: PATIENCE,
            deadline: clock::now() + PATIENCE,
            watch: None,
            trace: None,
        }
    }
}

/// The text of a whole stream.
fn plain_text(api: Api, bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    for block in Blocks::new(bytes) {
        let block = block.ok()?;
        let Some(data) = block.data.filter(|d| d != "[DONE]") else { continue };
        for (channel, piece) in notes::read(api, block.kind, &data).ok()?.texts {
            if channel.is_plain() {
                text.push_str(&piece);
            }
        }
    }
    Some(text)
}

/// Whether one text is the beginning of the other.
fn agree(a: &str, b: &str) -> bool {
    !a.is_empty() && (a.starts_with(b) || b.starts_with(a))
}

/// A place near the middle before a space, where tokens usually begin; else between any two
/// characters.
fn cut_at_word(text: &str) -> usize {
    let middle = text.len() / 2;
    let word = text.char_indices().map(|(at, _)| at).filter(|at| text[*at..].starts_with(' '));
    let any = text.char_indices().map(|(at, _)| at).find(|at| *at >= middle);
    word.filter(|at| *at >= middle).min().or(any).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_before_a_word() {
        assert_eq!(cut_at_word("one two three four"), 13);
        assert_eq!(cut_at_word("äbcdef"), 3);
        assert_eq!(cut_at_word(""), 0);
        assert!(agree("ab", "abc") && agree("abc", "ab") && !agree("", "a") && !agree("b", "ab"));
    }
}
