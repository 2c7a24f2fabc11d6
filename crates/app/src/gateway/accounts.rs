//! Keys and tenants of the configuration in force, each with its account: the same for as long
//! as its name is there, whatever else of it changes.

use crate::config::Config;
use evenkeel_admin::view::{KeyView, LimitsView, TenantView, UsageView};
use evenkeel_domain::settings::{KeySettings, Quota, TenantSettings};
use evenkeel_domain::{Account, clock};
use evenkeel_gateway::keys::Keys;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Who may ask, and how much.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    /// Whether anybody is asked for a key.
    asked: bool,
    keys: Vec<(Arc<KeySettings>, Arc<Account>)>,
    tenants: Vec<(Arc<TenantSettings>, Arc<Account>)>,
}

impl Accounts {
    /// Those of a configuration; who is here already keeps its account.
    pub(super) fn renewed(&self, config: &Config) -> Self {
        let account = |known: Option<&Arc<Account>>, name: &str| {
            known.cloned().unwrap_or_else(|| Arc::new(Account::new(name)))
        };
        let keys = config.key.iter().filter_map(|key| key.settings()).map(|settings| {
            let known = self.keys.iter().find(|(k, _)| k.id == settings.id).map(|(_, a)| a);
            let account = account(known, &settings.id);
            (Arc::new(settings), account)
        });
        let tenants = config.tenant.iter().map(|settings| {
            let known = self.tenants.iter().find(|(t, _)| t.name == settings.name);
            let account = account(known.map(|(_, a)| a), &settings.name);
            (Arc::new(settings.clone()), account)
        });
        Self { asked: config.asks_for_keys(), keys: keys.collect(), tenants: tenants.collect() }
    }

    /// What the gateway asks for; `None` when that is nothing.
    pub(super) fn keys(&self) -> Option<Keys> {
        self.asked.then(|| Keys::new(&self.keys, &self.tenants))
    }

    /// Keys for people.
    pub(super) fn key_views(&self) -> Vec<KeyView> {
        let (now, unix_ms) = (clock::now(), clock::unix_millis());
        let view = |(settings, account): &(Arc<KeySettings>, Arc<Account>)| KeyView {
            id: settings.id.clone(),
            tenant: settings.tenant.clone(),
            tier: settings.tier.map(|tier| tier.label().to_owned()),
            services: settings.services.clone(),
            state: settings.state(unix_ms).to_owned(),
            expires_unix_ms: settings.expires_unix_ms,
            limits: limits(&settings.limits, account, now),
            usage: usage(account),
        };
        self.keys.iter().map(view).collect()
    }

    /// Tenants for people.
    pub(super) fn tenant_views(&self) -> Vec<TenantView> {
        let now = clock::now();
        let view = |(settings, account): &(Arc<TenantSettings>, Arc<Account>)| TenantView {
            name: settings.name.clone(),
            limits: limits(&settings.limits, account, now),
            usage: usage(account),
        };
        self.tenants.iter().map(view).collect()
    }
}

fn limits(quota: &Quota, account: &Account, now: Instant) -> LimitsView {
    LimitsView {
        requests_per_minute: quota.requests_per_minute,
        requests_remaining: account.requests_left(quota, now).map(|level| level.remaining),
        tokens_per_minute: quota.tokens_per_minute,
        tokens_remaining: account.tokens_left(quota, now).map(|level| level.remaining),
        streams: quota.streams,
    }
}

fn usage(account: &Account) -> UsageView {
    let counts = &account.counts;
    UsageView {
        requests: counts.requests.load(Relaxed),
        refused: counts.refused.load(Relaxed),
        prompt_tokens: counts.prompt_tokens.load(Relaxed),
        completion_tokens: counts.completion_tokens.load(Relaxed),
        streams: account.streams(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn config(keys: &str) -> Config {
        let service = "[[service]]\nname = \"s\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
                       \"http://127.0.0.1:9\"\n";
        config::parse(Path::new("e.toml"), &format!("{service}{keys}")).unwrap()
    }

    #[test]
    fn who_stays_keeps_what_was_counted() {
        let key = |id: &str, limits: &str| {
            let hash = evenkeel_gateway::keys::hash(id);
            format!("[[key]]\nid = \"{id}\"\nhash = \"{hash}\"\n{limits}\n")
        };
        let none = Accounts::default().renewed(&config(""));
        assert!(none.keys().is_none());
        let first = none.renewed(&config(&key("a", "")));
        assert!(first.keys().is_some());
        first.keys[0].1.counts.requests.fetch_add(7, Relaxed);
        let both = format!("{}{}", key("b", ""), key("a", "limits = { streams = 2 }"));
        let second = first.renewed(&config(&both));
        let views = second.key_views();
        assert_eq!((views[1].usage.requests, views[1].limits.streams), (7, Some(2)));
        assert_eq!(views[0].usage.requests, 0);
        let third = second.renewed(&config(&key("b", ""))).renewed(&config(&both));
        assert_eq!(third.key_views()[1].usage.requests, 0, "who has left begins anew");
    }
}
