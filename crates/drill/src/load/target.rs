//! Where requests go: a URL taken apart, with the way to get there.

use crate::load::job::uris;
use crate::load::{Api, LoadError, LoadSettings};
use evenkeel_domain::Endpoint;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::tls::{self, ClientFiles};
use evenkeel_wire::{TcpDialer, TlsDialer};
use http::header::HeaderValue;
use http::uri::Uri;
use std::sync::Arc;

/// One place and path.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) dialer: Arc<dyn Dial>,
    /// Path and query, as HTTP/1 wants it.
    pub(crate) relative: Uri,
    /// With scheme and authority, as HTTP/2 wants it.
    pub(crate) absolute: Uri,
    pub(crate) host: HeaderValue,
}

impl Target {
    pub(crate) fn new(url: &str, settings: &LoadSettings) -> Result<Self, LoadError> {
        let bad = |e: &dyn std::fmt::Display| LoadError::Settings(e.to_string());
        let (base, query) = match url.split_once('?') {
            Some((base, query)) => (base, Some(query)),
            None => (url, None),
        };
        let endpoint: Endpoint = base.parse().map_err(|e| bad(&e))?;
        let mut path = if settings.api == Api::Plain {
            // `Endpoint` drops a last slash, which plain HTTP tells apart.
            let slash = if base.ends_with('/') || endpoint.prefix.is_empty() { "/" } else { "" };
            format!("{}{slash}", endpoint.prefix)
        } else {
            full_path(&endpoint.prefix, settings.api)
        };
        if let Some(query) = query {
            path = format!("{path}?{query}");
        }
        let dialer: Arc<dyn Dial> = if endpoint.tls {
            let files = ClientFiles { ca: settings.ca.clone(), identity: None };
            let config = tls::client(&files, settings.h2).map_err(|e| bad(&e))?;
            Arc::new(TlsDialer::new(&endpoint, &endpoint.host, config).map_err(|e| bad(&e))?)
        } else {
            Arc::new(TcpDialer::new(&endpoint))
        };
        let scheme = if endpoint.tls { "https" } else { "http" };
        let (relative, absolute, host) = uris(scheme, &endpoint.authority, &path)?;
        Ok(Self { dialer, relative, absolute, host })
    }
}

fn full_path(prefix: &str, api: Api) -> String {
    let end = match api {
        Api::Chat => "/chat/completions",
        Api::Completions | Api::Plain => "/completions",
    };
    if prefix.ends_with(end) {
        prefix.to_owned()
    } else if prefix.ends_with("/v1") {
        format!("{prefix}{end}")
    } else {
        format!("{prefix}/v1{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_or_a_full_path_will_do() {
        let table = [
            ("http://h:1", Api::Chat, "/v1/chat/completions"),
            ("http://h:1/", Api::Chat, "/v1/chat/completions"),
            ("http://h:1/v1", Api::Completions, "/v1/completions"),
            ("http://h:1/x/v1/chat/completions", Api::Chat, "/x/v1/chat/completions"),
            ("http://h:1", Api::Plain, "/"),
            ("http://h:1/a/?b=c", Api::Plain, "/a/?b=c"),
        ];
        for (url, api, path) in table {
            let settings = LoadSettings { api, ..LoadSettings::default() };
            assert_eq!(Target::new(url, &settings).unwrap().relative, path, "{url}");
        }
        assert!(Target::new("h:1", &LoadSettings::default()).is_err());
    }
}
