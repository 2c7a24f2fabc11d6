//! What a degraded service does with a request.

use super::errand::Errand;
use super::{Asking, Given};
use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::degrade::{self, CACHE, CHEAPER, FIXED, NO_BEST_EFFORT, SHORT};
use crate::error::Refusal;
use evenkeel_domain::answers::Fallback;
use evenkeel_domain::settings::Tier;
use http::{HeaderName, Response};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// Why others answer.
const WHY: &str = "degraded";
/// The level at which an answer was made, where that may show in it.
const LEVEL: HeaderName = HeaderName::from_static("x-evenkeel-degraded");

impl Errand {
    /// The service's level; 0 where none is configured.
    pub(super) fn level(&self) -> u64 {
        let service = &self.entry.service;
        match service.settings.answers.degrade {
            Some(_) => service.pool.counts.answers.degrade_level.load(Relaxed),
            None => 0,
        }
    }

    /// Refuses what is not served at this level, and cuts short what is.
    pub(super) fn cut(&mut self, level: u64) -> Result<(), Refusal> {
        let service = &self.entry.service;
        let Some(settings) = &service.settings.answers.degrade else { return Ok(()) };
        let tier = self.tier.unwrap_or_else(|| self.client.tier(&service.settings));
        if level >= NO_BEST_EFFORT && tier == Tier::BestEffort {
            self.count(|counts| &counts.degrade_refused);
            return Err(Refusal::Degraded(service.pool.name.to_string()));
        }
        if level >= SHORT {
            let path = self.head.uri.path();
            let cut = degrade::cut_short(path, &self.body, &self.model, settings.max_tokens);
            if let Some((body, model)) = cut {
                (self.body, self.model) = (body, model);
                self.count(|counts| &counts.degrade_cut);
            }
        }
        Ok(())
    }

    /// Who answers in the service's place at this level.
    pub(super) async fn instead(
        &self,
        level: u64,
        asking: Option<&Asking>,
        request: &Rc<RequestGuard>,
    ) -> Option<Given> {
        if level >= CACHE
            && let Some(given) = self.by_cache(asking, WHY, request)
        {
            return Some(given);
        }
        let answers = &self.entry.service.settings.answers;
        let settings = answers.degrade.as_ref()?;
        let first = |pick: fn(&Fallback) -> Option<&str>| answers.fallback.iter().find_map(pick);
        if level >= FIXED {
            let text = settings.fixed.as_deref().or_else(|| {
                first(|step| match step {
                    Fallback::Fixed(text) => Some(text),
                    _ => None,
                })
            });
            if let Some(given) = text.and_then(|text| self.by_text(text, WHY, request)) {
                return Some(given);
            }
        }
        if level >= CHEAPER {
            let name = settings.cheaper.as_deref().or_else(|| {
                first(|step| match step {
                    Fallback::Service(name) => Some(name),
                    _ => None,
                })
            })?;
            return self.by_service(name, WHY, request).await;
        }
        None
    }
}

/// Tells the client that an answer may be less than usual.
pub(super) fn mark(response: &mut Response<OutBody>, level: u64) {
    if level >= SHORT {
        response.headers_mut().insert(LEVEL, level.into());
    }
}
