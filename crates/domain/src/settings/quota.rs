//! Settings of who may ask, and for how much.

use super::Tier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much may be asked for: of a service, or by a key or a tenant. What is left out is
/// not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Requests a minute, and as many at once.
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts and answers a minute, and as many at once.
    pub tokens_per_minute: Option<u64>,
    /// Streams under way at once.
    pub streams: Option<u32>,
}

impl Quota {
    /// The highest rate that can be set: the unit of account is exact to 0.03 % up to here.
    pub const MOST_PER_MINUTE: u64 = 1_000_000_000;

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// The SHA-256 digest of a key's text.
///
/// A key holds 256 random bits: nobody finds it by trying, so that a slow password hash
/// would protect nothing and cost each request its time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// How it is written in front of 64 hexadecimal digits.
    pub const PREFIX: &'static str = "sha256:";

    /// Reads `sha256:HEX`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(Self::PREFIX)?.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:…")
    }
}

/// A key that clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Its name: part of its text, and what is shown of it.
    pub id: String,
    /// What its text hashes to.
    pub hash: KeyHash,
    /// Whose it is, together with others.
    pub tenant: Option<String>,
    /// The highest tier that its requests may have, and the one they have unless they ask
    /// for less.
    pub tier: Option<Tier>,
    /// The services it may use; `None` for all.
    pub services: Option<Vec<String>>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_unix_ms: Option<u64>,
    /// Whether it was taken back.
    pub revoked: bool,
    /// How much it may ask for.
    pub limits: Quota,
}

impl KeySettings {
    /// Whose files, batches and usage its requests are: the tenant's, else its own.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.tenant.as_deref().unwrap_or(&self.id)
    }

    /// `active`, `revoked` or `expired`.
    #[must_use]
    pub fn state(&self, now_unix_ms: u64) -> &'static str {
        match self.expires_unix_ms {
            _ if self.revoked => "revoked",
            Some(end) if end <= now_unix_ms => "expired",
            _ => "active",
        }
    }

    /// Whether it may use a service.
    #[must_use]
    pub fn may_use(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|all| all.iter().any(|name| name == service))
    }
}

/// Several keys that share limits, files and batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// Its name.
    pub name: String,
    /// How much its keys may ask for together.
    #[serde(default)]
    pub limits: Quota,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = KeyHash(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(KeyHash::parse(&hash.to_string()), Some(hash));
        let text = hash.to_string();
        for bad in ["", "sha256:", &text[7..], &text[..70], &text.replace('0', "g")] {
            assert_eq!(KeyHash::parse(bad), None, "{bad}");
        }
        assert!(!format!("{hash:?}").contains("07"));
    }
}
