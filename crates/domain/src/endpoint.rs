//! Where a replica listens.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A replica's base URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// Path put before every request's path; empty or `/…` without a trailing slash.
    pub prefix: Box<str>,
    /// `host[:port]` as the `host` header wants it.
    pub authority: Box<str>,
}

/// Why a URL is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEndpoint(String);

impl Endpoint {
    /// The host as an address, where it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// A loopback endpoint on `port`, plain HTTP: what a supervised replica gets.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self {
            tls: false,
            host: "127.0.0.1".into(),
            port,
            prefix: "".into(),
            authority: format!("127.0.0.1:{port}").into(),
        }
    }

    /// The same place at another address: one of several behind a DNS name. The authority
    /// stays, so that TLS and virtual hosts still see the name.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self { host: address.to_string().into(), ..self.clone() }
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let bad = |why: &str| BadEndpoint(format!("`{text}` is no replica URL: {why}"));
        let (tls, rest) = match text.split_once("://") {
            Some(("http" | "grpc", rest)) => (false, rest),
            Some(("https" | "grpcs", rest)) => (true, rest),
            Some((other, _)) => {
                return Err(bad(&format!("scheme `{other}` (use http:// or https://)")));
            }
            None => return Err(bad("it must start with http:// or https://")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(bad(
                "credentials belong into `bearer_file` or `headers`, not into the URL",
            ));
        }
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(bad("it may not have a query or a fragment"));
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })
            .ok_or_else(|| bad("host or port cannot be read"))?;
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("it has no host"));
        }
        Ok(Self {
            tls,
            host: host.into(),
            port,
            prefix: path.trim_end_matches('/').into(),
            authority: authority.into(),
        })
    }
}

fn split_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None if after.is_empty() => Some((host, default)),
            None => None,
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => None,
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, default)),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let table = [
            ("http://10.0.0.5:8000", false, "10.0.0.5", 8000, ""),
            ("https://api.example.com/v1/", true, "api.example.com", 443, "/v1"),
            ("http://[::1]:9", false, "::1", 9, ""),
            ("http://localhost", false, "localhost", 80, ""),
        ];
        for (text, tls, host, port, prefix) in table {
            let got: Endpoint = text.parse().unwrap();
            assert_eq!(
                (got.tls, &*got.host, got.port, &*got.prefix),
                (tls, host, port, prefix),
                "{text}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in
            ["", "10.0.0.5:8000", "ftp://x", "http://", "http://a:b", "http://::1:9", "http://u@h"]
        {
            let refused = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
