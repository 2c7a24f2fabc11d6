//! One POST of JSON, and what its answer means.

use super::retry;
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use bytes::Bytes;
use evenkeel_domain::Endpoint;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::{TcpDialer, TlsDialer, client, tls};
use http::{HeaderMap, HeaderName, Request, Response, header};
use http_body_util::Full;

/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 120;
/// The longest pause that an answer may ask for, in seconds.
const PAUSE: u64 = 300;

/// Where something is posted.
pub(super) struct Place {
    endpoint: Endpoint,
    dial: Box<dyn Dial>,
}

impl Place {
    /// The place that is configured.
    pub(super) fn new(settings: &ChannelSettings, usual: Option<&str>) -> Result<Self, Wrong> {
        let given = settings.place()?;
        let url = given.as_ref().map(|secret| secret.expose()).or(usual);
        let url = url.ok_or(("url", "is needed: where messages go".to_owned()))?;
        let endpoint: Endpoint = url.parse().map_err(|_| {
            // The URL may be a secret: it is not quoted.
            ("url", "is no URL; one begins with https:// or http://".to_owned())
        })?;
        let dial: Box<dyn Dial> = if endpoint.tls {
            let files = tls::ClientFiles { ca: settings.ca.clone(), identity: None };
            let config = tls::client(&files, false).map_err(|e| ("ca", e.to_string()))?;
            let dialer = TlsDialer::new(&endpoint, &endpoint.host, config);
            Box::new(dialer.map_err(|e| ("url", e.to_string()))?)
        } else {
            Box::new(TcpDialer::new(&endpoint))
        };
        Ok(Self { endpoint, dial })
    }

    /// Scheme and host: what follows may be a secret.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.endpoint.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.endpoint.authority)
    }

    /// Whether a secret may be sent there.
    pub(super) fn is_safe(&self) -> bool {
        let near = self.endpoint.ip().is_some_and(|ip| ip.is_loopback());
        self.endpoint.tls || near || &*self.endpoint.host == "localhost"
    }

    /// Posts once. `path` is added to that of the URL.
    pub(super) async fn post(
        &self,
        path: &str,
        fields: &[(HeaderName, String)],
        body: &serde_json::Value,
    ) -> Result<Response<Bytes>, Answer> {
        let path = match format!("{}{path}", self.endpoint.prefix) {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        let body = Bytes::from(body.to_string());
        let mut request = Request::post(path)
            .header(header::HOST, &*self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "evenkeel");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|e| Answer::Permanent(format!("the request cannot be made: {e}")))?;
        let connection = self.dial.dial().await.map_err(|error| retry(error.text))?;
        client::fetch(connection, false, request, ANSWER).await.map_err(|error| match error {
            client::ClientError::Http(e) if e.is_parse() => retry(format!(
                "{} does not answer in HTTP ({e}): what listens there is something else; check `url`",
                self.shown()
            )),
            error => retry(format!("{}: {error}", self.shown())),
        })
    }

    /// What a status means to everybody; `Ok` for success, to be looked at further.
    pub(super) fn judge(&self, answer: Response<Bytes>) -> Result<Response<Bytes>, Answer> {
        let status = answer.status();
        let said = shown(answer.body());
        let shown = self.shown();
        match status.as_u16() {
            200..=299 => Ok(answer),
            // Its address is not followed: the message, and its secret, are for this place.
            300..=399 => Err(Answer::Permanent(format!(
                "{shown} answered {status}: it has moved; set `url` to where it is now"
            ))),
            408 | 425 | 429 | 500.. => {
                let why = format!("{shown} answered {status}: {said}");
                Err(Answer::Retryable { why, after: pause(answer.headers()) })
            }
            401 | 403 => Err(Answer::Permanent(format!(
                "{shown} answered {status}: {said}; check its secret and `url`"
            ))),
            _ => Err(Answer::Permanent(format!("{shown} answered {status}: {said}; check `url`"))),
        }
    }
}

/// How long the answer asks to be left alone, in milliseconds.
fn pause(fields: &HeaderMap) -> Option<u64> {
    let seconds: u64 = fields.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.min(PAUSE) * 1000)
}

/// The beginning of an answer, for people.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    match clean.trim() {
        "" => "nothing more".into(),
        clean => format!("`{clean}`"),
    }
}
