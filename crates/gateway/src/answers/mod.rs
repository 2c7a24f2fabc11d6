//! How a request is answered where one replica's word is not the whole story.
//!
//! ```text
//!  request ─► kept answer? ─► shared attempt ─► (quorum or one replica) ─► keep ─► client
//!                                                     │ failed
//!                                                     └─► fallback chain ───────────► client
//! ```
//! Services that ask for none of it never come here.

pub(crate) mod counted;
mod errand;
mod less;
mod other;
mod share;
mod stand_in;

use crate::admit::concurrency::Work;
use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::body::read::ReadBody;
use crate::cache::key::{self, Question};
use crate::cache::{Cache, mark};
use crate::error::Refusal;
use crate::fallback::sparing;
use crate::handle::Call;
use crate::routed::Routed;
use counted::{Asked, By, Counted};
use errand::Errand;
use evenkeel_domain::clock;
use http::Response;
use http::request::Parts;
use other::Own;
pub(crate) use stand_in::redirect;
use std::rc::Rc;
use std::sync::Arc;

/// An answer and who knows how it ends.
struct Given {
    response: Response<OutBody>,
    by: By,
}

type Got = Result<Given, Refusal>;

/// Whether a request's service wants more than one replica's word.
pub(crate) fn concern(routed: &Routed, body: &ReadBody) -> bool {
    routed.entry.service.settings.answers.is_roundabout() && body.rest.is_none()
}

/// Answers such a request.
pub(crate) async fn answer(
    call: &mut Call<'_>,
    routed: Routed,
    head: Parts,
    body: ReadBody,
) -> Result<Response<OutBody>, Refusal> {
    let (entry, trace) = (routed.entry.clone(), call.trace.cloned());
    let log = call.log.take();
    let work = Work::of(&head.method, head.uri.path(), body.bytes.len(), routed.stream);
    let guard = RequestGuard::enter(entry, work, call.started, log, trace);
    let asked = Asked::new(guard.billed(call.bill.take()));
    if call.client.internal {
        asked.guard().is_internal();
    }
    let mut errand = Errand::new(call, routed, head, body);
    let level = errand.level();
    let got = match errand.cut(level) {
        Ok(()) => Rc::new(errand).answer(level, asked.guard()).await,
        Err(refusal) => errand.spared(refusal, asked.guard()).await,
    };
    match got.map(|mut given| {
        less::mark(&mut given.response, level);
        given
    }) {
        Ok(Given { response, by }) => {
            asked.guard().answered(response.status());
            Ok(response.map(|body| OutBody::Counted(Box::new(Counted::new(body, asked, by)))))
        }
        Err(refusal) => {
            asked.guard().answered(refusal.status());
            asked.guard().settle(refusal.outcome());
            Err(refusal)
        }
    }
}

/// A service's cache and what is asked of it.
struct Asking {
    cache: Arc<Cache>,
    question: Question,
}

impl Errand {
    async fn answer(self: &Rc<Self>, level: u64, request: &Rc<RequestGuard>) -> Got {
        let asking = self.asking();
        if level > 0
            && let Some(given) = self.instead(level, asking.as_ref(), request).await
        {
            return Ok(given);
        }
        let own = match self.by_stand_in(request).await {
            Some(theirs) => theirs,
            None => self.own_until_stood_in(asking.as_ref(), request).await,
        };
        match self.judge(own).await {
            Own::Good(given) => Ok(given),
            Own::TooLong(given) => self.larger(given, request).await,
            Own::Failed(own, "") => own,
            Own::Failed(own, why) => self.elsewhere(own, why, asking.as_ref(), request).await,
        }
    }

    /// What may be given to whom is not served at this level.
    async fn spared(&self, refusal: Refusal, request: &Rc<RequestGuard>) -> Got {
        let why = sparing(&refusal).unwrap_or_default();
        self.elsewhere(Err(refusal), why, self.asking().as_ref(), request).await
    }

    /// The service's own answer, kept or made.
    async fn own(self: &Rc<Self>, asking: Option<&Asking>, request: &Rc<RequestGuard>) -> Got {
        let Some(asking) = asking else { return self.alone(request).await };
        if let Some(kept) = self.kept(asking, false) {
            return Ok(kept);
        }
        let part = asking.cache.part(&asking.question);
        match self.shared(part, request).await {
            Some(got) => got,
            None => self.alone(request).await,
        }
        .map(|mut given| {
            mark(given.response.headers_mut(), "miss");
            given
        })
    }

    /// Asks a replica for this client only.
    async fn alone(&self, request: &Rc<RequestGuard>) -> Got {
        let part = Rc::new(RequestGuard::part_of(request));
        let response = Box::pin(self.run(&part)).await?;
        Ok(Given { response, by: By::Part(part) })
    }

    /// What may be asked of the cache; `None` for what is not kept.
    fn asking(&self) -> Option<Asking> {
        let service = &self.entry.service;
        let settings = service.settings.answers.cache.as_ref().filter(|_| !self.stateful)?;
        let alias = self.model.as_ref().and_then(|(_, alias)| alias.as_deref());
        let members = service.pool.members();
        let question = key::question(settings, &self.head, &self.body, alias, &members)?;
        Some(Asking { cache: self.worker.shared.caches.of(&service.pool, settings), question })
    }

    /// A kept answer that is young enough, or `stale`.
    fn kept(&self, asking: &Asking, stale: bool) -> Option<Given> {
        let settings = self.entry.service.settings.answers.cache.as_ref()?;
        if asking.question.fresh {
            return None;
        }
        let hit = asking.cache.get(settings, &asking.question, stale, clock::now())?;
        Some(Given { response: hit.respond(), by: By::Kept })
    }
}
