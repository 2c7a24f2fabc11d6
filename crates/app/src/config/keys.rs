//! `[[key]]` and `[[tenant]]`: their shape and what may be wrong with them.

use super::file::Config;
use evenkeel_domain::settings::{KeyHash, KeySettings, Quota, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashMap;
use std::time::SystemTime;

/// A key that clients show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyConfig {
    /// Its name.
    pub(crate) id: String,
    /// `sha256:` and 64 hexadecimal digits; `evenkeel key new` makes key and hash.
    pub(crate) hash: String,
    /// The tenant that it belongs to.
    pub(crate) tenant: Option<String>,
    /// The highest tier that its requests may have, and the one they have unless they ask for
    /// less with `x-evenkeel-tier`.
    pub(crate) tier: Option<Tier>,
    /// The services it may use; by default all.
    pub(crate) services: Option<Vec<String>>,
    /// When it ends, such as `2027-01-31T00:00:00Z`.
    #[serde(default, deserialize_with = "date")]
    #[schemars(with = "Option<String>")]
    pub(crate) expires: Option<String>,
    /// Whether it was taken back.
    #[serde(default)]
    pub(crate) revoked: bool,
    /// How much it may ask for.
    #[serde(default)]
    pub(crate) limits: Quota,
}

/// The shape of the file that `gateway.keys` names.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KeyFile {
    pub(crate) key: Vec<KeyConfig>,
}

/// A date as text, or as TOML's own.
fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) => Ok(Some(text)),
        toml::Value::Datetime(date) => Ok(Some(date.to_string())),
        _ => Err(serde::de::Error::custom("expected a date such as 2027-01-31T00:00:00Z")),
    }
}

/// A moment in RFC 3339.
fn moment(text: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339_weak(text).ok()?.duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_millis()).ok())
}

impl KeyConfig {
    /// The settings that the gateway is given; `None` for what the check has refused.
    pub(crate) fn settings(&self) -> Option<KeySettings> {
        let expires_unix_ms = match &self.expires {
            Some(text) => Some(moment(text)?),
            None => None,
        };
        Some(KeySettings {
            id: self.id.clone(),
            hash: KeyHash::parse(&self.hash)?,
            tenant: self.tenant.clone(),
            tier: self.tier,
            services: self.services.clone(),
            expires_unix_ms,
            revoked: self.revoked,
            limits: self.limits,
        })
    }

    /// What is wrong with it by itself: (key below its own, message).
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if !is_name(&self.id) {
            found.push(("id", NAME.to_owned()));
        }
        if KeyHash::parse(&self.hash).is_none() {
            let text =
                "a hash is `sha256:` and 64 hexadecimal digits; `evenkeel key new` makes one";
            found.push(("hash", text.to_owned()));
        }
        if let Some(text) = self.expires.as_ref().filter(|text| moment(text).is_none()) {
            let text = format!("`{text}` is no date; try \"2027-01-31T00:00:00Z\"");
            found.push(("expires", text));
        }
        found
    }
}

/// What a name must be.
pub(crate) const NAME: &str = "a name has 1 to 64 letters, digits, dashes, dots or underscores";

/// Whether this may be the name of a key or a tenant.
pub(crate) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(good)
}

/// What is wrong with limits: (key below theirs, message).
pub(super) fn limits(quota: &Quota) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let rates = [
        ("limits.requests_per_minute", quota.requests_per_minute),
        ("limits.tokens_per_minute", quota.tokens_per_minute),
    ];
    for (key, rate) in rates {
        if rate.is_some_and(|rate| rate == 0 || rate > Quota::MOST_PER_MINUTE) {
            let most = Quota::MOST_PER_MINUTE;
            let text = format!("from 1 to {most}; leave it out for no limit");
            found.push((key, text));
        }
    }
    if quota.streams == Some(0) {
        found.push(("limits.streams", "at least 1; leave it out for no limit".to_owned()));
    }
    found
}

/// All that is wrong with keys and tenants: (key, message).
pub(super) fn problems(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut tenants = HashMap::new();
    for (at, tenant) in config.tenant.iter().enumerate() {
        let key = format!("tenant[{at}]");
        if !is_name(&tenant.name) {
            found.push((format!("{key}.name"), NAME.to_owned()));
        }
        if tenants.insert(&*tenant.name, at).is_some() {
            let text = format!("the name `{}` is taken by another tenant", tenant.name);
            found.push((format!("{key}.name"), text));
        }
        found.extend(limits(&tenant.limits).into_iter().map(|(k, t)| (format!("{key}.{k}"), t)));
    }
    let (mut ids, mut hashes) = (HashMap::new(), HashMap::new());
    for (at, entry) in config.key.iter().enumerate() {
        let key = format!("key[{at}]");
        let mut add = |below: &str, text: String| found.push((format!("{key}.{below}"), text));
        for (below, text) in entry.problems().into_iter().chain(limits(&entry.limits)) {
            add(below, text);
        }
        if ids.insert(&*entry.id, at).is_some() {
            add("id", format!("the name `{}` is taken by another key", entry.id));
        }
        if tenants.contains_key(&*entry.id) {
            // Files and batches belong to one or the other.
            add("id", format!("the name `{}` is taken by a tenant", entry.id));
        }
        if let Some(first) = hashes.insert(&*entry.hash, &*entry.id) {
            add("hash", format!("is that of the key `{first}`; make one for each"));
        }
        if let Some(name) = entry.tenant.as_ref().filter(|name| !tenants.contains_key(&***name)) {
            add("tenant", format!("there is no tenant `{name}`; add a [[tenant]] of this name"));
        }
        let known = |name: &&String| config.service.iter().any(|s| s.name == **name);
        for name in entry.services.iter().flatten().filter(|name| !known(name)) {
            add("services", format!("there is no service `{name}`"));
        }
    }
    found
}
