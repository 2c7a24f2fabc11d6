//! One answer in the shape that was asked for: whole, or as a stream.

mod choices;

use crate::body::OutBody;
use crate::resume::Api;
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
