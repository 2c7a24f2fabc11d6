//! Where something is that is asked over the network: `scheme://[user@]host[:port][/path]`.

use super::{Wrong, needed};
use evenkeel_domain::Endpoint;
use evenkeel_domain::check::CheckSettings;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::tls::{self, ClientFiles};
use evenkeel_wire::{TcpDialer, TlsDialer};
use http::Uri;
use std::path::Path;
use std::sync::Arc;

/// A place that was read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) endpoint: Endpoint,
    pub(super) user: Option<String>,
}

/// Schemes with the port that goes without saying, and whether they speak TLS.
pub(super) type Schemes = &'static [(&'static str, u16, bool)];

/// Reads `url`.
///
/// # Errors
/// When it is missing, is no such place, or holds a password.
pub(super) fn read(settings: &CheckSettings, schemes: Schemes) -> Result<Place, Wrong> {
    let names = || schemes.iter().map(|(s, ..)| format!("{s}://")).collect::<Vec<_>>().join(", ");
    let url = needed(&settings.url, "url", &format!("a place such as {}host", names()))?;
    // What may hold a password is not repeated.
    let wrong = |text: String| ("url".to_owned(), text);
    let uri: Uri = url.parse().map_err(|error| wrong(format!("is no URL: {error}")))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let Some((_, port, tls)) = schemes.iter().find(|(known, ..)| *known == scheme) else {
        return Err(wrong(format!("must start with {}", names())));
    };
    let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| user.contains(':')) {
        return Err(wrong("holds a password; put that into a `password_file`".into()));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() {
        return Err(wrong("names no host".into()));
    }
    let port = uri.port_u16().unwrap_or(*port);
    if port == 0 {
        return Err(wrong("names no port".into()));
    }
    let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let endpoint = Endpoint {
        tls: *tls,
        host: host.into(),
        port,
        prefix: uri.path().trim_end_matches('/').into(),
        authority: format!("{shown}:{port}").into(),
    };
    Ok(Place { endpoint, user: user.map(str::to_owned) })
}

/// What opens connections there.
pub(super) fn dialer(
    settings: &CheckSettings,
    endpoint: &Endpoint,
    h2: bool,
) -> Result<Arc<dyn Dial>, Wrong> {
    if !endpoint.tls {
        return Ok(Arc::new(TcpDialer::new(endpoint)));
    }
    let files = ClientFiles { ca: settings.ca.clone(), identity: None };
    let config = tls::client(&files, h2).map_err(|error| ("ca".to_owned(), error.to_string()))?;
    let dialer = TlsDialer::new(endpoint, &endpoint.host, config)
        .map_err(|error| ("url".to_owned(), format!("`{}`: {error}", endpoint.host)))?;
    Ok(Arc::new(dialer))
}

/// The first line of a file, where one is named.
pub(super) fn secret(key: &str, file: Option<&Path>) -> Result<Option<Secret>, Wrong> {
    let Some(file) = file else { return Ok(None) };
    let wrong = |text: String| (key.to_owned(), format!("{}: {text}", file.display()));
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("cannot be read: {error}; check path and rights")))?;
    match text.lines().next().map(str::trim) {
        Some(first) if !first.is_empty() => Ok(Some(Secret::new(first.to_owned()))),
        _ => Err(wrong("is empty; put the secret on its first line".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::settings;
    use super::*;

    const SCHEMES: Schemes = &[("redis", 6379, false), ("rediss", 6379, true)];

    fn at(url: &str) -> Result<Place, Wrong> {
        read(&settings(&format!(r#"{{"url":"{url}"}}"#)), SCHEMES)
    }

    #[test]
    fn places_are_read_and_passwords_are_not_taken() {
        let place = at("redis://me@db.internal/3").unwrap();
        assert_eq!(&*place.endpoint.authority, "db.internal:6379");
        assert_eq!((&*place.endpoint.prefix, place.user.as_deref()), ("/3", Some("me")));
        assert!(at("rediss://[::1]:7").unwrap().endpoint.tls);
        for (url, says) in [
            ("redis://me:hunter2@h", "password_file"),
            ("http://h", "must start with redis://, rediss://"),
            ("h:1", "must start with"),
            ("redis://h:0", "no port"),
            ("redis://", "is no URL"),
        ] {
            let (key, text) = at(url).unwrap_err();
            assert!(key == "url" && text.contains(says), "{url}: {text}");
            assert!(!text.contains("hunter2"));
        }
    }
}
