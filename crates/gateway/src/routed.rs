//! From a request whose body is read to its service.

use crate::body::read::ReadBody;
use crate::error::Refusal;
use crate::headers;
use crate::route::head::{self, BadBody};
use crate::route::{self, Entry, Found, Table};
use bytes::Bytes;
use evenkeel_domain::settings::{Protocol, ServiceSettings, Tier};
use http::Method;
use http::request::Parts;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// Where a model's name stands in a body, and its alias.
pub(crate) type ModelAt = Option<(Range<usize>, Option<String>)>;

/// A request that has found its service.
pub(crate) struct Routed {
    pub(crate) entry: Arc<Entry>,
    /// What its route says.
    pub(crate) tier: Option<Tier>,
    pub(crate) model: ModelAt,
    pub(crate) stateful: bool,
    /// A stream is asked for.
    pub(crate) stream: bool,
    /// Tokens of prompt and answer, as far as they can be told before.
    pub(crate) tokens: u64,
    /// Tokens of the prompt alone; 0 where none is seen.
    pub(crate) prompt_tokens: u64,
    pub(crate) key: u64,
}

impl Routed {
    /// Routed without having looked into the body.
    fn plain(entry: Arc<Entry>, head: &Parts, stateful: bool) -> Self {
        let key = key_of(&entry, head, None, None);
        Self {
            tier: None,
            entry,
            model: None,
            stateful,
            stream: false,
            tokens: 1,
            prompt_tokens: 0,
            key,
        }
    }
}

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Finds the service of a request whose body is read.
pub(crate) fn route_body(
    table: &Table,
    found: Found,
    head: &Parts,
    body: &ReadBody,
) -> Result<Routed, Refusal> {
    match found {
        Found::None => Err(Refusal::NoRoute(format!("{} {}", head.method, head.uri.path()))),
        // Who asks for files holds state: nothing is sent twice.
        Found::Within(entry) => Ok(Routed::plain(entry, head, true)),
        Found::Service(entry, tier) if entry.service.settings.protocol != Protocol::Openai => {
            Ok(Routed { tier, ..Routed::plain(entry, head, false) })
        }
        Found::Service(entry, tier) => {
            by_model(table, Some(entry), head, body).map(|routed| Routed { tier, ..routed })
        }
        Found::ByModel => by_model(table, None, head, body),
    }
}

fn by_model(
    table: &Table,
    fixed: Option<Arc<Entry>>,
    head: &Parts,
    body: &ReadBody,
) -> Result<Routed, Refusal> {
    let bytes: &Bytes = &body.bytes;
    if bytes.is_empty() || head.method == Method::GET {
        let entry = fixed.or_else(|| table.only_openai()).ok_or_else(|| missing(table))?;
        return Ok(Routed::plain(entry, head, true));
    }
    if body.rest.is_some() || headers::is_type(&head.headers, "multipart/form-data") {
        let model = head::model_in_multipart(bytes)
            .map(str::to_owned)
            .or_else(|| head::model_in_prefix(bytes));
        let entry = choose(table, fixed, model.as_deref()).map_err(|refusal| match refusal {
            // Many clients write `messages` first: they name a model, out of sight.
            Refusal::ModelMissing(_) if body.rest.is_some() => Refusal::ModelLate(bytes.len()),
            other => other,
        })?;
        return Ok(Routed::plain(entry, head, false));
    }
    let read = head::read(bytes).map_err(|bad| match bad {
        BadBody::Syntax(text) => Refusal::BadJson(text),
        BadBody::ModelType => Refusal::ModelType,
    })?;
    if let Some((name, wanted)) = read.senseless.filter(|_| route::is_inference(head.uri.path())) {
        return Err(Refusal::Senseless(name, wanted));
    }
    let entry = choose(table, fixed, read.model.as_ref().map(|(name, _)| &**name))?;
    let settings = &entry.service.settings;
    let model = read.model.as_ref().map(|(name, at)| (at.clone(), alias(settings, name)));
    let key = key_of(&entry, head, read.user, read.prompt);
    let prompt = (bytes.len() / BYTES_PER_TOKEN) as u64;
    Ok(Routed {
        tier: None,
        model,
        stateful: read.stateful,
        stream: read.stream,
        tokens: prompt.saturating_add(answer_tokens(head.uri.path(), read.max_tokens)),
        prompt_tokens: prompt.max(1),
        key,
        entry,
    })
}

/// Bytes of a request's JSON for each token of its prompt, about.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens of an answer that says nothing of its length.
const ANSWER: u64 = 256;

/// Tokens that an answer will have, about: as many as it may, where that is said.
fn answer_tokens(path: &str, most: Option<u64>) -> u64 {
    match path {
        // These only read.
        "/v1/embeddings" | "/v1/rerank" | "/rerank" | "/v1/score" | "/score" => 0,
        _ => most.unwrap_or(ANSWER),
    }
}

fn alias(settings: &ServiceSettings, name: &str) -> Option<String> {
    settings.aliases.get(name).cloned()
}

fn choose(
    table: &Table,
    fixed: Option<Arc<Entry>>,
    model: Option<&str>,
) -> Result<Arc<Entry>, Refusal> {
    if let Some(entry) = fixed {
        return Ok(entry);
    }
    let Some(model) = model else {
        return table.only_openai().ok_or_else(|| missing(table));
    };
    table.model(model).ok_or_else(|| Refusal::ModelUnknown {
        model: model.chars().take(200).collect(),
        served: served(table),
    })
}

fn missing(table: &Table) -> Refusal {
    Refusal::ModelMissing(served(table))
}

fn served(table: &Table) -> String {
    let names: Vec<_> = table.model_names().into_iter().map(|(model, _)| model).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The hash that keeps like requests together, when the policy wants it.
fn key_of(entry: &Entry, head: &Parts, user: Option<&str>, prompt: Option<&str>) -> u64 {
    if !entry.policy.wants_key() {
        return 0;
    }
    let options = &entry.service.settings.balance_options;
    if let Some(name) = options.key.strip_prefix("header:") {
        return head.headers.get(name).map_or(0, |v| hash_of(&v.as_bytes()));
    }
    let text = if options.key == "user" { user } else { prompt };
    text.map_or(0, |t| hash_of(&&t.as_bytes()[..t.len().min(options.prompt_bytes)]))
}
