//! What decides an answer. Pure.

use super::store::Key;
use crate::render::Wanted;
use crate::resume::Api;
use crate::resume::ask::{Ask, Sampling};
use evenkeel_domain::Replica;
use evenkeel_domain::answers::Cache;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A question that may have been asked before.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) key: Key,
    /// Who asks now for the same in the same form may share one attempt.
    pub(crate) flight: Key,
    /// The form that is wanted, where the same answer has several.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) stream: bool,
    /// The client wants a new answer.
    pub(crate) fresh: bool,
}

/// What the client's `cache-control` forbids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Control {
    no_cache: bool,
    no_store: bool,
}

/// The question of a request; `None` when its answer is not kept: it is not deterministic,
/// or the client does not want it.
pub(crate) fn question(
    settings: &Cache,
    head: &Parts,
    body: &[u8],
    alias: Option<&str>,
    members: &[Arc<Replica>],
) -> Option<Question> {
    let control = control(&head.headers);
    let path = head.uri.path();
    if head.method != Method::POST || control.no_store || !is_kept(settings, path, body) {
        return None;
    }
    let Value::Object(mut fields) = serde_json::from_slice(body).ok()? else { return None };
    for name in &settings.ignore {
        fields.shift_remove(name);
    }
    if let Some(model) = alias {
        fields.insert("model".into(), model.into());
    }
    let stream = fields.get("stream") == Some(&true.into());
    let api = Api::of(path).filter(|api| api.has_choices());
    let wanted = api.map(|api| Wanted { api, usage: take_form(&mut fields) });
    let mut key = Vec::with_capacity(body.len() + 128);
    part(&mut key, path.as_bytes());
    part(&mut key, head.uri.query().unwrap_or_default().as_bytes());
    part(&mut key, &whose(settings, &head.headers));
    for revision in revisions(members) {
        part(&mut key, revision.as_bytes());
    }
    canonical(&mut key, &Value::Object(fields));
    let mut flight = key.clone();
    flight.extend([u8::from(stream), u8::from(wanted.is_some_and(|w| w.usage))]);
    Some(Question {
        key: key.into(),
        flight: flight.into(),
        wanted,
        stream,
        fresh: control.no_cache,
    })
}

/// Embeddings, and what a model says when nothing is left to chance.
fn is_kept(settings: &Cache, path: &str, body: &[u8]) -> bool {
    if path == "/v1/embeddings" {
        return true;
    }
    let Some(ask) = Api::of(path).and_then(|api| Ask::read(api, body)) else { return false };
    match ask.sampling {
        Sampling::Greedy => true,
        Sampling::Seeded => settings.seeded,
        Sampling::Free => false,
    }
}

/// Takes out what says in which form the answer comes; gives whether usage is wanted.
fn take_form(fields: &mut Map<String, Value>) -> bool {
    fields.shift_remove("stream");
    let options = fields.shift_remove("stream_options");
    options.is_some_and(|o| o["include_usage"] == true)
}

fn control(headers: &HeaderMap) -> Control {
    let mut control = Control::default();
    for value in headers.get_all(header::CACHE_CONTROL) {
        for word in value.to_str().unwrap_or_default().split(',') {
            control.no_cache |= word.trim().eq_ignore_ascii_case("no-cache");
            control.no_store |= word.trim().eq_ignore_ascii_case("no-store");
        }
    }
    control
}

/// Who shares answers with this client.
fn whose(settings: &Cache, headers: &HeaderMap) -> Vec<u8> {
    let names: Vec<HeaderName> = match settings.per.strip_prefix("header:") {
        Some(name) => name.parse().into_iter().collect(),
        None if settings.per == "all" => Vec::new(),
        None => ["authorization", "x-api-key", "api-key"].map(HeaderName::from_static).to_vec(),
    };
    let mut whose = Vec::new();
    for name in names {
        part(&mut whose, headers.get(name).map_or(&[], |v| v.as_bytes()));
    }
    whose
}

fn revisions(members: &[Arc<Replica>]) -> Vec<Arc<str>> {
    let mut all: Vec<_> = members.iter().map(|r| r.id.revision.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// With its length, so that no two lists of parts look alike.
fn part(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    key.extend_from_slice(bytes);
}

/// JSON with its keys in order and without what means nothing (`null` fields).
fn canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().filter(|(_, v)| !v.is_null()).collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in sorted {
                out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                out.push(b':');
                canonical(out, value);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(out, item);
                out.push(b',');
            }
            out.push(b']');
        }
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::time::Duration;

    fn ask(headers: &[(&str, &str)], body: &str) -> Option<Question> {
        let settings = Cache::new(1 << 20, Duration::from_secs(60));
        asked_of(&settings, "/v1/chat/completions", headers, body)
    }

    fn asked_of(
        settings: &Cache,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Question> {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        question(settings, &head, body.as_bytes(), None, &[])
    }

    const PLAIN: &str = r#"{"model":"m","temperature":0,"messages":[{"role":"user"}]}"#;

    #[test]
    fn what_does_not_decide_does_not_count() {
        let key = ask(&[], PLAIN).unwrap().key;
        for same in [
            r#"{"messages":[{"role":"user"}],"temperature":0,"model":"m"}"#,
            r#"{"model":"m","temperature":0,"messages":[{"role":"user"}],"user":"u","stop":null}"#,
            r#"{"model":"m","temperature":0,"messages":[{"role":"user"}],"stream":true,
                "stream_options":{"include_usage":true}}"#,
        ] {
            assert_eq!(ask(&[], same).unwrap().key, key, "{same}");
        }
        for other in [
            r#"{"model":"n","temperature":0,"messages":[{"role":"user"}]}"#,
            r#"{"model":"m","temperature":0,"messages":[{"role":"user"}],"max_tokens":1}"#,
            r#"{"model":"m","temperature":0,"messages":[{"role":"system"}]}"#,
        ] {
            assert_ne!(ask(&[], other).unwrap().key, key, "{other}");
        }
        let stream = PLAIN.replace("\"model\"", "\"stream\":true,\"model\"");
        assert_ne!(ask(&[], &stream).unwrap().flight, ask(&[], PLAIN).unwrap().flight);
    }

    #[test]
    fn chance_is_not_kept_nor_what_the_client_forbids() {
        assert!(ask(&[], &PLAIN.replace("\"temperature\":0", "\"temperature\":1")).is_none());
        let seeded = PLAIN.replace("\"temperature\":0", "\"seed\":1");
        assert!(ask(&[], &seeded).is_none());
        let settings = Cache { seeded: true, ..Cache::new(1, Duration::from_secs(1)) };
        assert!(asked_of(&settings, "/v1/chat/completions", &[], &seeded).is_some());
        assert!(asked_of(&settings, "/v1/embeddings", &[], r#"{"input":"x"}"#).is_some());
        assert!(asked_of(&settings, "/v1/files", &[], PLAIN).is_none());
        assert!(ask(&[("cache-control", "max-age=0, no-store")], PLAIN).is_none());
        assert!(ask(&[("cache-control", "No-Cache")], PLAIN).unwrap().fresh);
    }

    #[test]
    fn who_shows_another_key_has_answers_of_his_own() {
        let of = |key| ask(&[("authorization", key)], PLAIN).unwrap().key;
        assert_eq!(of("Bearer a"), of("Bearer a"));
        assert_ne!(of("Bearer a"), of("Bearer b"));
        let mut settings = Cache::new(1, Duration::from_secs(1));
        let of = |settings: &Cache, name, value| {
            asked_of(settings, "/v1/chat/completions", &[(name, value)], PLAIN).unwrap().key
        };
        settings.per = "all".into();
        assert_eq!(of(&settings, "authorization", "a"), of(&settings, "authorization", "b"));
        settings.per = "header:x-tenant".into();
        assert_eq!(of(&settings, "authorization", "a"), of(&settings, "authorization", "b"));
        assert_ne!(of(&settings, "x-tenant", "a"), of(&settings, "x-tenant", "b"));
    }
}
