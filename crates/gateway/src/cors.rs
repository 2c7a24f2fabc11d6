//! Cross-origin requests of pages in browsers (WHATWG Fetch), when configured.

use crate::body::OutBody;
use crate::settings::Cors;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

/// The origin to allow, when this request comes from one that may call.
pub(crate) fn origin(settings: &Cors, headers: &HeaderMap) -> Option<HeaderValue> {
    if settings.origins.is_empty() {
        return None;
    }
    let origin = headers.get(ORIGIN)?;
    let listed = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
    settings.origins.iter().any(listed).then(|| origin.clone())
}

/// The answer to a preflight request of an allowed origin.
pub(crate) fn preflight<B>(
    request: &Request<B>,
    origin: Option<&HeaderValue>,
) -> Option<Response<OutBody>> {
    let asked = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if origin.is_none() || request.method() != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(OutBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    if let Some(wanted) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// Lets the page read the answer.
pub(crate) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "x-request-id, retry-after, x-should-retry, x-ratelimit-limit-requests, \
             x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
             x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
        ),
    );
}
