//! A run made ready: everything that can be read, parsed or written out beforehand.

use crate::load::expected::Expected;
use crate::load::prompt::Prompts;
use crate::load::schedule::Kind;
use crate::load::target::Target;
use crate::load::{Api, Expect, LoadError, LoadSettings, Mode, Record, trace};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, Request};
use http_body_util::Full;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) settings: LoadSettings,
    pub(crate) target: Target,
    pub(crate) prompts: Prompts,
    pub(crate) expected: Expected,
    /// The trace; empty in other modes.
    pub(crate) records: Arc<[Record]>,
    head: Head,
    issued: AtomicU64,
    counted: AtomicU64,
}

/// The head of every request.
#[derive(Debug)]
struct Head {
    method: Method,
    headers: HeaderMap,
}

impl Job {
    pub(crate) fn prepare(settings: LoadSettings) -> Result<Self, LoadError> {
        settings.check()?;
        let records = match &settings.mode {
            Mode::Trace { path, .. } => trace::read(path)?.into(),
            _ => Arc::default(),
        };
        Ok(Self {
            target: Target::new(&settings.url, &settings)?,
            prompts: Prompts::new(&settings, settings.expect != Expect::Nothing)?,
            expected: Expected::default(),
            records,
            head: Head::new(&settings)?,
            issued: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            settings,
        })
    }

    /// The number of the next request of a closed loop.
    pub(crate) fn next_index(&self) -> u64 {
        self.issued.fetch_add(1, Relaxed)
    }

    /// Whether one more request that counts may be sent.
    pub(crate) fn may_count(&self) -> bool {
        match self.settings.requests {
            Some(most) => self.counted.fetch_add(1, Relaxed) < most,
            None => true,
        }
    }

    /// How many requests will count, where that is known.
    pub(crate) fn planned(&self) -> Option<u64> {
        let recorded = (!self.records.is_empty()).then_some(self.records.len() as u64);
        match (self.settings.requests, recorded) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether requests have times at which they are due.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.settings.mode, Mode::Closed { .. })
    }

    /// How the arrivals of an open loop come; `None` for a closed one.
    pub(crate) fn arrivals(&self) -> Option<Kind> {
        match self.settings.mode {
            Mode::Closed { .. } => None,
            Mode::Open { rate, arrivals, .. } => Some(Kind::Rate(rate, arrivals)),
            Mode::Trace { speed, .. } => Some(Kind::Trace(self.records.clone(), speed)),
        }
    }

    /// A request for `target`, in the form of HTTP/1 or HTTP/2.
    pub(crate) fn request(&self, target: &Target, body: Bytes, h2: bool) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.head.method.clone();
        *request.headers_mut() = self.head.headers.clone();
        if h2 {
            *request.uri_mut() = target.absolute.clone();
            request.headers_mut().remove(header::HOST);
        } else {
            *request.uri_mut() = target.relative.clone();
            request.headers_mut().entry(header::HOST).or_insert_with(|| target.host.clone());
        }
        request
    }
}

impl Head {
    fn new(settings: &LoadSettings) -> Result<Self, LoadError> {
        let get = settings.api == Api::Plain && settings.body.is_none();
        let mut headers = HeaderMap::new();
        if !get {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for given in &settings.headers {
            let bad = || LoadError::Settings(format!("header `{}` is not valid", given.name));
            let name = HeaderName::try_from(&given.name).map_err(|_| bad())?;
            let mut value = HeaderValue::try_from(&given.value).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { method: if get { Method::GET } else { Method::POST }, headers })
    }
}

/// The forms of a request's target.
pub(crate) fn uris(
    scheme: &str,
    authority: &str,
    path: &str,
) -> Result<(Uri, Uri, HeaderValue), LoadError> {
    let bad = |e: &dyn std::fmt::Display| LoadError::Settings(format!("URL: {e}"));
    let relative = path.parse().map_err(|e| bad(&e))?;
    let absolute = format!("{scheme}://{authority}{path}").parse().map_err(|e| bad(&e))?;
    Ok((relative, absolute, HeaderValue::try_from(authority).map_err(|e| bad(&e))?))
}
