//! Doing less, step by step, when not everything can be done.
//!
//! The level of a service is decided beside the request path ([`decide`]) and read here as
//! one atomic; [`evenkeel_domain::answers::LEVELS`] says what each adds.

pub mod decide;

use crate::resume::Api;
use crate::route::head;
use crate::routed::ModelAt;
use bytes::Bytes;
use serde_json::{Map, Value};

/// From this level on hedges stop.
pub(crate) const NO_HEDGES: u64 = 1;
/// … best-effort requests are refused.
pub(crate) const NO_BEST_EFFORT: u64 = 2;
/// … answers are cut short.
pub(crate) const SHORT: u64 = 3;
/// … a cheaper service answers.
pub(crate) const CHEAPER: u64 = 4;
/// … the cache answers, stale or not.
pub(crate) const CACHE: u64 = 5;
/// … a fixed text answers.
pub(crate) const FIXED: u64 = 6;

/// The body of a request whose answer may have at most so many tokens, and where its model
/// stands now. `None` where nothing has to change.
pub(crate) fn cut_short(
    path: &str,
    body: &Bytes,
    model: &ModelAt,
    most: u32,
) -> Option<(Bytes, ModelAt)> {
    let api = Api::of(path)?;
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let names = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let mut limited = false;
    let mut changed = false;
    for name in names {
        let Some(asked) = fields.get(name).and_then(Value::as_u64) else { continue };
        limited = true;
        if asked > u64::from(most) {
            fields.insert(name.into(), most.into());
            changed = true;
        }
    }
    if !limited {
        let name = if api == Api::Responses { "max_output_tokens" } else { "max_tokens" };
        fields.insert(name.into(), most.into());
        changed = true;
    }
    if !changed {
        return None;
    }
    let body = Bytes::from(serde_json::to_vec(&fields).ok()?);
    let alias = model.as_ref().and_then(|(_, alias)| alias.clone());
    let at = head::read(&body).ok().and_then(|head| Some(head.model?.1));
    Some((body, at.map(|at| (at, alias))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_longer_answers_are_cut() {
        let cut = |path, body: &'static str| {
            let (body, model) = cut_short(path, &Bytes::from(body), &None, 100)?;
            let (at, _) = model?;
            assert_eq!(&body[at], b"\"m\"");
            Some(String::from_utf8_lossy(&body).into_owned())
        };
        let chat = "/v1/chat/completions";
        assert_eq!(
            cut(chat, r#"{"max_tokens":500, "model":"m"}"#).as_deref(),
            Some(r#"{"max_tokens":100,"model":"m"}"#)
        );
        assert_eq!(cut(chat, r#"{"model":"m","max_completion_tokens":7}"#), None);
        assert!(cut(chat, r#"{"model":"m"}"#).unwrap().contains("\"max_tokens\":100"));
        assert!(cut("/v1/responses", r#"{"model":"m"}"#).unwrap().contains("max_output_tokens"));
        assert_eq!(cut("/v1/embeddings", r#"{"model":"m"}"#), None);
    }
}
