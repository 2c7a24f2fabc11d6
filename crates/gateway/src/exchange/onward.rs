//! Going on with an answer whose replica cannot: the same loop of attempts, but each one
//! goes down the ladder on its replica before the next replica is asked.

use super::retry::RetryPermit;
use super::{Exchange, Give, Ran};
use crate::attempt::guard::AttemptGuard;
use crate::attempt::{End, Failed, Opened, attempt};
use crate::error::Refusal;
use crate::resume::Api;
use crate::resume::ask::Ask;
use crate::resume::ladder;
use crate::resume::ledger::Ledger;
use crate::resume::rung::{self, Rung};
use evenkeel_domain::outcome::{Outcome, ReplicaFault};
use evenkeel_domain::{Known, Replica};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Replicas that may give another answer before the stream is given up: the next one of the
/// same revision would, too.
const DIVERGED_MAX: u32 = 2;

/// Why an answer has to go on elsewhere.
pub(crate) enum Cause {
    /// Its stream broke.
    Broke(Box<Failed>),
    /// Its stream lives, but its replica is not in good health, or it was silent for long.
    Doubt,
    /// Its stream lives and is silent for longer than is normal.
    Silence,
}

/// An answer to go on with.
pub(super) struct Onward {
    ask: Rc<Ask>,
    ledger: Rc<RefCell<Ledger>>,
    /// The model version that began it; no other may go on.
    revision: Arc<str>,
    diverged: u32,
    /// How long its text would take to generate anew.
    anew: Duration,
}

impl Onward {
    pub(super) fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// After which wait for the next token another replica is asked, too.
    pub(super) fn patience(&self, hedge_after: Option<Duration>) -> Duration {
        self.anew + hedge_after.unwrap_or_default().max(NEXT_TOKEN)
    }
}

/// How long the next token may take where nothing is known of first tokens.
const NEXT_TOKEN: Duration = Duration::from_millis(300);

impl Exchange {
    /// Finds a replica that goes on with an answer.
    pub(crate) async fn go_on(
        mut self: Box<Self>,
        ask: Rc<Ask>,
        ledger: Rc<RefCell<Ledger>>,
        from: Arc<Replica>,
        cause: Cause,
    ) -> (Self, Result<Opened, Refusal>) {
        let end = self.next_replica(ask, ledger, from, cause).await;
        self.permit = None;
        (*self, end)
    }

    async fn next_replica(
        &mut self,
        ask: Rc<Ask>,
        ledger: Rc<RefCell<Ledger>>,
        from: Arc<Replica>,
        cause: Cause,
    ) -> Result<Opened, Refusal> {
        let anew = self.time_anew(&ledger.borrow());
        let revision = from.id.revision.clone();
        self.onward = Some(Onward { ask, ledger, revision, diverged: 0, anew });
        *self.tried.borrow_mut() = smallvec::smallvec![from.id.key];
        (self.rounds, self.soft_failures, self.held_for) = (0, 0, Duration::ZERO);
        match cause {
            Cause::Broke(failed) => {
                // Its replica is known to have failed: the resend is bounded by admission.
                if let Some(pause) = self.deaths.note(&failed) {
                    tokio::time::sleep(pause.min(self.left(self.now()))).await;
                }
                self.deaths.judge(&self.worker, &self.entry, &self.template)?;
            }
            Cause::Doubt | Cause::Silence if !self.has_fresh(self.now()) => {
                return Err(self.no_rescue());
            }
            Cause::Doubt => {}
            Cause::Silence => {
                let settings = &self.entry.service.settings.retry;
                let permit = RetryPermit::try_take(self.pool(), settings);
                self.permit = Some(permit.ok_or_else(|| self.no_rescue())?);
            }
        }
        match self.attempt_until_commit().await? {
            Ran::Stream(opened) => Ok(*opened),
            Ran::Given(_) => Err(self.no_rescue()),
        }
    }

    fn no_rescue(&self) -> Refusal {
        Refusal::Unavailable {
            service: self.entry.service.settings.name.clone(),
            why: "no other replica can go on with this answer now".into(),
        }
    }

    /// How long what the client has would take to generate again.
    fn time_anew(&self, ledger: &Ledger) -> Duration {
        let took = self.request.elapsed();
        let events = u32::try_from(ledger.events).unwrap_or(u32::MAX);
        match self.pool().expected_gap() {
            Some(gap) => gap.saturating_mul(events).min(took),
            None => took,
        }
    }

    /// One attempt as this exchange makes it now.
    pub(super) async fn attempt_on(&self, guard: AttemptGuard) -> End {
        match &self.onward {
            None => attempt(&self.worker, &self.template, guard, &self.request).await,
            Some(onward) => Box::pin(self.down_the_ladder(onward, guard)).await,
        }
    }

    async fn down_the_ladder(&self, onward: &Onward, mut guard: AttemptGuard) -> End {
        let replica = guard.replica().clone();
        let rungs =
            ladder::rungs(&onward.ask, &onward.ledger.borrow(), &replica.abilities, onward.anew);
        let mut last = None;
        for rung in rungs {
            let Some(template) = self.template_for(onward, rung) else { continue };
            let spare = guard.again();
            let used = std::mem::replace(&mut guard, spare);
            match attempt(&self.worker, &template, used, &self.request).await {
                End::Failed(failed) if failed.diverged => {
                    tracing::debug!(
                        replica = &*replica.id.name,
                        rung = rung.label(),
                        why = failed.text,
                        "cannot go on this way"
                    );
                    note_refusal(rung, onward.ask.api, &replica, &failed);
                    last = Some(failed);
                }
                end => return end,
            }
        }
        let place = (replica.id.key, guard.incarnation());
        End::Failed(last.unwrap_or_else(|| {
            let text = "no way to go on with this answer is known".into();
            let mut failed = Failed::of_stream(Outcome::Cancelled, text, place);
            failed.diverged = true;
            Box::new(failed)
        }))
    }

    fn template_for(&self, onward: &Onward, rung: Rung) -> Option<crate::template::Template> {
        let original = self.template.held_body()?;
        let request = rung::onward(rung, &onward.ask, &onward.ledger.borrow(), original)?;
        self.template.onward(request, onward.ask.clone(), onward.ledger.clone(), rung)
    }

    /// A replica gave another answer: so will most of the same revision.
    pub(super) fn diverged(&mut self, failed: &Failed) -> Option<Give> {
        let onward = self.onward.as_mut()?;
        onward.diverged += 1;
        if onward.diverged < DIVERGED_MAX && self.has_fresh(self.now()) {
            return None;
        }
        tracing::debug!(why = failed.text, "stream given up");
        Some(Give::Refusal(Refusal::AllFailed {
            service: self.entry.service.settings.name.clone(),
            attempts: self.attempts.get(),
            last: Outcome::ReplicaFault(ReplicaFault::Truncated),
        }))
    }
}

/// A replica that refuses a way outright is not asked that way again.
fn note_refusal(rung: Rung, api: Api, replica: &Replica, failed: &Failed) {
    if !failed.refused {
        return;
    }
    match rung {
        Rung::Replay => replica.abilities.token_ids.set(Known::No),
        Rung::Prefill => {
            if let Some(ability) = api.prefill_ability(&replica.abilities) {
                ability.set(Known::No);
            }
        }
        Rung::Regenerate => {}
    }
}
