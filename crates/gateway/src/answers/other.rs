//! Answers from elsewhere: down the configured chain until one is good.

use super::counted::By;
use super::errand::Errand;
use super::{Asking, Given, Got};
use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::body::whole::whole;
use crate::error::Refusal;
use crate::fallback::{annotate_other, errors, failed, mendable, sparing};
use crate::render;
use crate::resume::Api;
use crate::route::Entry;
use crate::routed::ModelAt;
use evenkeel_domain::answers::Fallback;
use evenkeel_domain::{Outcome, ReplicaFault, clock};
use http::{Method, Response};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Largest error answer that is looked into.
const ERROR_MAX: usize = 1 << 20;

/// What became of the service's own try.
pub(super) enum Own {
    /// It goes to the client.
    Good(Given),
    /// A larger model might take it.
    TooLong(Given),
    /// Others might do better; why.
    Failed(Got, &'static str),
}

impl Errand {
    /// Judges the service's own answer.
    pub(super) async fn judge(&self, got: Got) -> Own {
        let given = match got {
            Ok(given) => given,
            Err(refusal) => {
                return match mendable(&refusal).or_else(|| sparing(&refusal)) {
                    Some(why) if !self.is_out_of_time(&refusal) => Own::Failed(Err(refusal), why),
                    _ => Own::Failed(Err(refusal), ""),
                };
            }
        };
        if let By::Part(part) = &given.by
            && let Some(why) =
                failed(part.ended()).filter(|_| !given.response.status().is_success())
        {
            return Own::Failed(Ok(given), why);
        }
        let status = given.response.status().as_u16();
        let larger = self.entry.service.settings.answers.larger.is_some();
        if !larger || !matches!(status, 400 | 413 | 422) {
            return Own::Good(given);
        }
        let (head, body) = given.response.into_parts();
        match whole(&self.worker, body, ERROR_MAX).await {
            Ok((bytes, _)) => {
                let too_long = errors::is_too_long(status, &bytes);
                let response = Response::from_parts(head, OutBody::full(bytes));
                let given = Given { response, by: given.by };
                if too_long { Own::TooLong(given) } else { Own::Good(given) }
            }
            Err(_) => {
                let outcome = Outcome::ReplicaFault(ReplicaFault::Truncated);
                Own::Failed(Err(Refusal::NotRepeatable(outcome)), outcome.label())
            }
        }
    }

    /// The client's own deadline: nobody waits for another answer.
    fn is_out_of_time(&self, refusal: &Refusal) -> bool {
        let own = crate::headers::deadline(&self.head.headers).ok().flatten();
        matches!(refusal, Refusal::Expired(_)) && own.is_some()
    }

    /// A larger model's answer to what is too long for this one, or what this one said.
    pub(super) async fn larger(&self, own: Given, request: &Rc<RequestGuard>) -> Got {
        let answers = &self.entry.service.settings.answers;
        let Some(name) = &answers.larger else { return Ok(own) };
        match self.by_service(name, "context_length_exceeded", request).await {
            Some(given) => Ok(given),
            None => Ok(own),
        }
    }

    /// Down the chain; what came of the own try, when it ends. Too much to do is not passed on
    /// to another service, which has its own, and a fixed text says less than to try again
    /// later: only a kept answer stands in for it.
    pub(super) async fn elsewhere(
        &self,
        own: Got,
        why: &'static str,
        asking: Option<&Asking>,
        request: &Rc<RequestGuard>,
    ) -> Got {
        let sparing = own.as_ref().err().and_then(sparing).is_some();
        for step in &self.entry.service.settings.answers.fallback {
            let given = match step {
                Fallback::Service(_) | Fallback::Fixed(_) if sparing => None,
                Fallback::Service(name) => self.by_service(name, why, request).await,
                Fallback::Cache => self.by_cache(asking, why, request),
                Fallback::Fixed(text) => self.by_text(text, why, request),
            };
            if let Some(given) = given {
                return Ok(given);
            }
        }
        own
    }

    /// Another service's answer, if it is a good one.
    pub(super) async fn by_service(
        &self,
        name: &str,
        why: &str,
        request: &Rc<RequestGuard>,
    ) -> Option<Given> {
        let table = self.worker.shared.table.load_full();
        let given = self.asked(table.named(name)?, why, request).await.ok()?;
        given.response.status().is_success().then_some(given)
    }

    /// Asks another service; the answer says who gave it, and why.
    pub(super) async fn asked(
        &self,
        entry: Arc<Entry>,
        why: &str,
        request: &Rc<RequestGuard>,
    ) -> Got {
        let name = entry.service.pool.name.clone();
        // There it is a request like any other; here it is a part of this one.
        let guard = RequestGuard::enter(entry.clone(), request.work(), clock::now(), None, None);
        let part = Rc::new(guard.on_bill_of(request));
        let got = Box::pin(self.on(entry).run(&part)).await;
        request.attempts_made(part.attempts());
        let mut response = got?;
        if response.status().is_success() {
            annotate_other(response.headers_mut(), request, &format!("service:{name}"), why);
            self.count(|counts| &counts.fallback_service);
        }
        Ok(Given { response, by: By::Part(part) })
    }

    /// The same for another service: its model is asked for under its own name.
    fn on(&self, entry: Arc<Entry>) -> Self {
        let model = model_of(&entry, self.model.clone());
        self.to(entry, model)
    }

    /// A kept answer, even a stale one.
    pub(super) fn by_cache(
        &self,
        asking: Option<&Asking>,
        why: &str,
        request: &RequestGuard,
    ) -> Option<Given> {
        let mut given = self.kept(asking?, true)?;
        annotate_other(given.response.headers_mut(), request, "cache", why);
        self.count(|counts| &counts.fallback_cache);
        Some(given)
    }

    /// A fixed text, for what asks a model to write one.
    pub(super) fn by_text(&self, text: &str, why: &str, request: &RequestGuard) -> Option<Given> {
        let api = Api::of(self.head.uri.path()).filter(|_| self.head.method == Method::POST)?;
        let id = format!("fixed-{}", self.id.to_str().unwrap_or("0"));
        let created = clock::unix_millis() / 1000;
        let mut response = render::fixed_answer(api, text, &id, created, self.stream, &self.body);
        annotate_other(response.headers_mut(), request, "fixed", why);
        self.count(|counts| &counts.fallback_fixed);
        Some(Given { response, by: By::Kept })
    }

    pub(super) fn count(
        &self,
        which: impl FnOnce(&evenkeel_domain::answers::AnswerCounts) -> &AtomicU64,
    ) {
        which(&self.entry.service.pool.counts.answers).fetch_add(1, Relaxed);
    }
}

/// Where a model stands in a body, and the name under which another service knows its own.
pub(super) fn model_of(entry: &Entry, model: ModelAt) -> ModelAt {
    let settings = &entry.service.settings;
    let first = settings.models.first().filter(|model| *model != "*");
    let known = first.map(|model| settings.aliases.get(model).unwrap_or(model).clone());
    model.map(|(at, alias)| (at, known.or(alias)))
}
