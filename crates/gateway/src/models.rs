//! `/v1/models`: what is served here, from the configuration, not from a replica.

use crate::admit::keys::Key;
use crate::body::OutBody;
use crate::error::{Refusal, json};
use crate::route::Table;
use http::request::Parts;
use http::{Method, Response, StatusCode};

/// The answer to `GET /v1/models` and `GET /v1/models/NAME`; `None` for other requests. Of what
/// a key may not use nothing is told.
pub(crate) fn list(
    table: &Table,
    head: &Parts,
    key: Option<&Key>,
) -> Option<Result<Response<OutBody>, Refusal>> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return None;
    }
    let rest = head.uri.path().strip_prefix("/v1/models")?;
    let mut names = table.model_names();
    if let Some(key) = key {
        names.retain(|(_, service)| key.may_use(service));
    }
    if rest.is_empty() || rest == "/" {
        let data: Vec<_> = names.iter().map(|(model, owner)| object(model, owner)).collect();
        let value = serde_json::json!({ "object": "list", "data": data });
        return Some(Ok(json(StatusCode::OK, &value)));
    }
    let wanted = rest.strip_prefix('/')?;
    let found = names.iter().find(|(model, _)| model == wanted);
    Some(match found {
        Some((model, owner)) => Ok(json(StatusCode::OK, &object(model, owner))),
        None => Err(Refusal::ModelUnknown {
            model: wanted.chars().take(200).collect(),
            served: names.iter().map(|(m, _)| m.as_str()).collect::<Vec<_>>().join(", "),
        }),
    })
}

fn object(model: &str, owner: &str) -> serde_json::Value {
    serde_json::json!({ "id": model, "object": "model", "created": 0, "owned_by": owner })
}
