//! One answer in the shape that was asked for: whole, or as a stream.

mod choices;
mod fixed;

use crate::body::OutBody;
use crate::resume::Api;
use crate::resume::ask::Ask;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, response};
use serde_json::{Map, Value};

/// How a client wants its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) api: Api,
    /// With usage at the end.
    pub(crate) usage: bool,
}

/// The request for a whole answer, for the body of one for a stream. `None` when it is no
/// object.
pub(crate) fn unary_request(api: Api, body: &[u8]) -> Option<(Wanted, Bytes)> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    fields.shift_remove("stream");
    let options = fields.shift_remove("stream_options");
    let usage = options.is_some_and(|o| o["include_usage"] == true);
    Some((Wanted { api, usage }, serde_json::to_vec(&fields).ok()?.into()))
}

/// The events of a whole answer; `None` when it is none.
pub(crate) fn events(wanted: Wanted, json: &[u8]) -> Option<Bytes> {
    choices::events(&wanted, json)
}

/// A whole answer as a stream. Errors stay as they are.
pub(crate) fn as_stream(
    wanted: &Wanted,
    mut head: response::Parts,
    json: &Bytes,
) -> Response<OutBody> {
    let events = head.status.is_success().then(|| choices::events(wanted, json)).flatten();
    let Some(events) = events else {
        return Response::from_parts(head, OutBody::full(json.clone()));
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Response::from_parts(head, OutBody::full(events))
}

/// A fixed text as a model's answer, in the form that a request's `body` wants.
pub(crate) fn fixed_answer(
    api: Api,
    text: &str,
    id: &str,
    created: u64,
    stream: bool,
    body: &[u8],
) -> Response<OutBody> {
    let whole = || Bytes::from(fixed::whole(api, text, id, created).to_string());
    let bytes = match (stream, api.has_choices()) {
        (false, _) => Some(whole()),
        (true, false) => Some(fixed::typed(api, text, id, created)),
        (true, true) => {
            let usage = Ask::read(api, body).is_some_and(|ask| ask.usage);
            events(Wanted { api, usage }, &whole())
        }
    };
    let mut response = Response::new(OutBody::full(bytes.unwrap_or_default()));
    let kind = if stream { "text/event-stream" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
