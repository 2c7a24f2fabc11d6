//! Who asks: the key that a client shows.
//!
//! ```text
//!  authorization: Bearer ek_<id>_<secret>     <id> finds the entry, and whoever is not found
//!                       │                     is compared with an entry that nobody can match;
//!                       └─ SHA-256 ─► digest  digests are compared in constant time
//! ```
//! Without any key configured nobody is asked for one.

mod shown;
pub(crate) mod tier;

use crate::error::{KeyFault, Refusal};
use crate::owner::LOCAL;
use crate::routed::hash_of;
use evenkeel_domain::Account;
use evenkeel_domain::settings::{KeyHash, KeySettings, Quota, TenantSettings, Tier};
use http::{HeaderMap, HeaderValue};
pub use shown::{PREFIX, hash};
use std::collections::HashMap;
use std::sync::Arc;

/// The keys of one configuration. Immutable; replaced as a whole, with the table.
#[derive(Debug, Default)]
pub struct Keys {
    by_id: HashMap<Box<str>, Arc<Key>>,
    /// Whose files and batches there may be: tenants, and keys without one.
    owners: HashMap<Box<str>, Owner>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    settings: Arc<KeySettings>,
    account: Arc<Account>,
    tenant: Option<Tenant>,
    /// What its requests wait as: they wait for each other rather than for others'.
    pub(crate) flow: u64,
    /// For whose account its requests are.
    pub(crate) owner: HeaderValue,
}

#[derive(Debug, Clone)]
struct Tenant {
    limits: Quota,
    account: Arc<Account>,
}

/// Who owns files and batches.
#[derive(Debug)]
struct Owner {
    account: Arc<Account>,
    keys: Vec<Arc<Key>>,
}

impl Keys {
    /// The keys, and the tenants that they name, each with its live side.
    #[must_use]
    pub fn new(
        keys: &[(Arc<KeySettings>, Arc<Account>)],
        tenants: &[(Arc<TenantSettings>, Arc<Account>)],
    ) -> Self {
        let mut made = Self::default();
        for (settings, account) in keys {
            let of = |name: &String| tenants.iter().find(|(tenant, _)| tenant.name == *name);
            let tenant = settings.tenant.as_ref().and_then(of);
            let tenant = tenant.map(|(t, a)| Tenant { limits: t.limits, account: a.clone() });
            let owner = settings.owner();
            let key = Arc::new(Key {
                settings: settings.clone(),
                account: account.clone(),
                flow: hash_of(&settings.id),
                // Names are checked when they are read.
                owner: HeaderValue::from_str(owner).unwrap_or(LOCAL),
                tenant,
            });
            let account = key.tenant.as_ref().map_or(account, |tenant| &tenant.account).clone();
            let entry = made.owners.entry(owner.into());
            entry.or_insert_with(|| Owner { account, keys: Vec::new() }).keys.push(key.clone());
            made.by_id.insert(settings.id.as_str().into(), key);
        }
        made
    }

    /// Whose key these headers show.
    ///
    /// # Errors
    /// When they show none, or none that is good now.
    pub(crate) fn check(&self, headers: &HeaderMap, now_unix_ms: u64) -> Result<Arc<Key>, Refusal> {
        let refuse = |fault| Err(Refusal::Key(fault));
        let Some(text) = shown::shown(headers) else { return refuse(KeyFault::Missing) };
        let key = shown::id(text).and_then(|id| self.by_id.get(id));
        // Nobody can tell by the time it takes whether there is a key of this name.
        let expected = key.map_or(KeyHash([0; 32]), |key| key.settings.hash);
        let matches = shown::matches(text, expected);
        let Some(key) = key.filter(|_| matches) else { return refuse(KeyFault::Unknown) };
        match key.settings.state(now_unix_ms) {
            "revoked" => refuse(KeyFault::Revoked),
            "expired" => refuse(KeyFault::Expired),
            _ => Ok(key.clone()),
        }
    }

    /// Whether what has time may be done for an owner: with the rights of its keys together,
    /// as it shares its files among them. What was there before there were keys goes on.
    pub(crate) fn owner_may_use(&self, owner: &HeaderValue, service: &str) -> bool {
        let may = |key: &Arc<Key>| !key.settings.revoked && key.may_use(service);
        owner == LOCAL || self.owner(owner).is_some_and(|owner| owner.keys.iter().any(may))
    }

    /// What is done for an owner counts here.
    pub(crate) fn account_of(&self, owner: &HeaderValue) -> Option<&Arc<Account>> {
        self.owner(owner).map(|owner| &owner.account)
    }

    fn owner(&self, owner: &HeaderValue) -> Option<&Owner> {
        owner.to_str().ok().and_then(|name| self.owners.get(name))
    }
}

impl Key {
    /// Whether it may use a service.
    pub(crate) fn may_use(&self, service: &str) -> bool {
        self.settings.may_use(service)
    }

    pub(crate) fn id(&self) -> &str {
        &self.settings.id
    }

    /// The highest tier of its requests, where it has one.
    pub(crate) fn tier(&self) -> Option<Tier> {
        self.settings.tier
    }

    /// Its own limits and account, then its tenant's.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (Quota, &Arc<Account>)> {
        let own = (self.settings.limits, &self.account);
        let tenant = self.tenant.as_ref().map(|tenant| (tenant.limits, &tenant.account));
        std::iter::once(own).chain(tenant)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key of this name, and its text.
    pub(crate) fn key(id: &str) -> (KeySettings, String) {
        let text = format!("{PREFIX}{id}_{}", "x".repeat(43));
        let settings = KeySettings {
            id: id.into(),
            hash: hash(&text),
            tenant: None,
            tier: None,
            services: None,
            expires_unix_ms: None,
            revoked: false,
            limits: Quota::default(),
        };
        (settings, text)
    }

    pub(crate) fn keys(of: &[KeySettings], tenants: &[&str]) -> Keys {
        let account = |name: &str| Arc::new(Account::new(name));
        let keys: Vec<_> = of.iter().map(|k| (Arc::new(k.clone()), account(&k.id))).collect();
        let tenant = |name: &&str| {
            let settings = TenantSettings { name: (*name).into(), limits: Quota::default() };
            (Arc::new(settings), account(name))
        };
        Keys::new(&keys, &tenants.iter().map(tenant).collect::<Vec<_>>())
    }

    fn shows(name: &'static str, text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(text).unwrap());
        headers
    }

    fn fault(keys: &Keys, headers: &HeaderMap) -> KeyFault {
        match keys.check(headers, 1000) {
            Err(Refusal::Key(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_found_under_each_of_its_headers() {
        let (settings, text) = key("a_b");
        let keys = keys(&[settings], &[]);
        for headers in [
            shows("authorization", &format!("Bearer {text}")),
            shows("authorization", &format!("bearer  {text}")),
            shows("x-api-key", &text),
            shows("api-key", &text),
        ] {
            assert_eq!(keys.check(&headers, 1000).unwrap().owner, "a_b");
        }
    }

    #[test]
    fn what_is_no_good_key_is_refused() {
        let ((mut gone, revoked), (mut old, expired)) = (key("gone"), key("old"));
        gone.revoked = true;
        old.expires_unix_ms = Some(1000);
        let (good, text) = key("good");
        let keys = keys(&[gone, old, good], &[]);
        assert_eq!(fault(&keys, &HeaderMap::new()), KeyFault::Missing);
        assert_eq!(fault(&keys, &shows("authorization", "Basic eDp5")), KeyFault::Missing);
        assert_eq!(fault(&keys, &shows("api-key", &revoked)), KeyFault::Revoked);
        assert_eq!(fault(&keys, &shows("api-key", &expired)), KeyFault::Expired);
        let cut = &text[..text.len() - 1];
        let other = text.replace("good", "bad");
        for wrong in ["x", "ek_", "ek_good_", "ek_gone_x", cut, &other, &format!("{text}x")] {
            assert_eq!(fault(&keys, &shows("api-key", wrong)), KeyFault::Unknown, "{wrong}");
        }
        // Who does not know a key is not told what became of it.
        let cut = &revoked[..revoked.len() - 1];
        assert_eq!(fault(&keys, &shows("api-key", cut)), KeyFault::Unknown);
    }

    #[test]
    fn batches_have_the_rights_of_their_owners_keys() {
        let ((mut a, _), (mut b, _), (mut c, _)) = (key("a"), key("b"), key("c"));
        (a.tenant, b.tenant) = (Some("t".into()), Some("t".into()));
        a.services = Some(vec!["one".into()]);
        b.services = Some(vec!["two".into()]);
        c.services = Some(vec!["one".into()]);
        let value = HeaderValue::from_static;
        let all = keys(&[a.clone(), b.clone(), c.clone()], &["t"]);
        let may = |keys: &Keys, owner, service| keys.owner_may_use(&value(owner), service);
        assert!(may(&all, "t", "one") && may(&all, "t", "two") && !may(&all, "t", "three"));
        assert!(may(&all, "c", "one") && !may(&all, "c", "two"));
        assert!(may(&all, "local", "two") && !may(&all, "deleted", "two"));
        b.revoked = true;
        assert!(!may(&keys(&[a, b, c], &["t"]), "t", "two"));
        assert_eq!(&*all.account_of(&value("t")).unwrap().name, "t");
        assert_eq!(&*all.account_of(&value("c")).unwrap().name, "c");
    }
}
