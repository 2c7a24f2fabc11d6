//! What must hold of a request before it is taken on: a good key, a service it may use,
//! limits that leave room. Without keys and limits this costs a branch each.

use super::keys::{Key, Keys, tier};
use super::limit::{Ask, Bill, Levels, Whose};
use crate::error::Refusal;
use crate::handle::Call;
use crate::route::{Entry, Table};
use crate::routed::Routed;
use evenkeel_domain::clock;
use evenkeel_domain::pool::Refused;
use evenkeel_domain::settings::{Quota, Tier};
use http::HeaderMap;
use std::rc::Rc;

impl Call<'_> {
    /// Finds out who asks. This process itself needs no key.
    pub(crate) fn authenticate(
        &mut self,
        table: &Table,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if let Some(keys) = table.keys().filter(|_| !self.client.internal) {
            let key = keys.check(headers, clock::unix_millis())?;
            self.owner = key.owner.clone();
            self.flow = key.flow;
            self.key = Some(key);
        }
        Ok(())
    }

    /// Whether who asks may use this service.
    pub(crate) fn may_use(&self, table: &Table, entry: &Entry) -> Result<(), Refusal> {
        let Some(keys) = table.keys().filter(|_| !entry.within) else { return Ok(()) };
        let service = &entry.service.settings.name;
        let may = match &self.key {
            Some(key) => key.may_use(service),
            None => keys.owner_may_use(&self.owner, service),
        };
        let owner = || self.owner.to_str().unwrap_or_default();
        let who = || self.key.as_ref().map_or_else(owner, |key| key.id()).to_owned();
        if may { Ok(()) } else { Err(Refusal::NotAllowed { who: who(), service: service.clone() }) }
    }

    /// The tier of a request, where it is not its service's.
    pub(crate) fn tier_of(&self, routed: &Routed, wanted: Option<Tier>) -> Option<Tier> {
        let service = routed.entry.service.settings.tier;
        let wanted = wanted.filter(|_| !self.client.internal);
        tier::of(routed.tier, wanted, self.key.as_deref(), service)
    }

    /// Takes a request on, within its limits; `None` where there are none to count it on.
    pub(crate) fn bill(
        &mut self,
        table: &Table,
        entry: &Entry,
        tier: Option<Tier>,
        ask: Ask,
    ) -> Result<(), Refusal> {
        let Some(levels) = self.levels_of(table.keys(), entry) else { return Ok(()) };
        let levels = Rc::new(levels);
        self.levels = Some(levels.clone());
        match Bill::open(&levels, ask, clock::now()) {
            Ok(bill) => {
                self.bill = Some(bill);
                Ok(())
            }
            Err(limited) => {
                let service = &entry.service;
                let tier = tier.unwrap_or(self.client.tier(&service.settings));
                service.pool.counts.refuse(tier, Refused::Limited);
                Err(limited.into())
            }
        }
    }

    fn levels_of(&self, keys: Option<&Keys>, entry: &Entry) -> Option<Levels> {
        let own = entry.service.settings.limits;
        if keys.is_none() && own.is_unlimited() {
            return None;
        }
        let mut levels = Levels::default();
        if self.client.internal {
            // What has time is counted, and waits for no limit.
            let account = keys.and_then(|keys| keys.account_of(&self.owner))?;
            levels.push(Whose::Key, Quota::default(), account);
            return Some(levels);
        }
        let accounts = self.key.iter().flat_map(|key: &std::sync::Arc<Key>| key.accounts());
        for (whose, (quota, account)) in [Whose::Key, Whose::Tenant].into_iter().zip(accounts) {
            levels.push(whose, quota, account);
        }
        if !own.is_unlimited() {
            levels.push(Whose::Service, own, &entry.service.pool.account);
        }
        Some(levels)
    }
}
