//! What the admin API shows of recovery, and has it do.

use super::super::forecast::target_of;
use super::{Inside, Recovery, world};
use evenkeel_admin::view::{
    IncidentDetail, IncidentView, PauseView, PlanStepView, PlanView, RecoveryView, RowView,
    SignView, StormView, WhyView,
};
use evenkeel_admin::{ControlError, ControlFuture, Healing, HealingFuture};
use evenkeel_domain::check::CheckStatus;
use evenkeel_domain::health::Against;
use evenkeel_domain::histogram::Histogram;
use evenkeel_domain::incident::{Incident, Pause, Seen};
use evenkeel_domain::standby::Duty;
use evenkeel_domain::{Gate, Replica, clock};
use evenkeel_recovery::plan::Planned;
use evenkeel_recovery::{Order, OrderError, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Incidents that are looked through for a replica's last one.
const LAST: u32 = 200;

/// Recovery for the admin API.
pub(in super::super) struct Heal(pub(in super::super) Arc<Recovery>);

impl Heal {
    fn inside(&self) -> Result<&Inside, ControlError> {
        self.0.inside.get().ok_or_else(|| {
            let why = self.0.board.why_not().unwrap_or_else(|| "recovery has not begun".into());
            ControlError::unavailable(why, "mend what is said, or try again soon")
        })
    }

    async fn order(&self, order: Order) -> Result<(), ControlError> {
        self.inside()?.handle.order(order).await.map_err(|error| match error {
            OrderError::Refused(Refusal::NotFound(text, remedy)) => {
                ControlError::not_found(text, remedy)
            }
            OrderError::Refused(Refusal::Conflict(text, remedy)) => {
                ControlError::conflict(text, remedy)
            }
            OrderError::Unavailable(why) => unreadable(why),
        })
    }

    fn replica(&self, name: &str) -> Result<Arc<Replica>, ControlError> {
        self.0.state.member(name).ok_or_else(|| {
            let text = format!("there is no replica `{name}`");
            ControlError::not_found(text, "`evenkeel status` lists the names")
        })
    }

    /// Why nothing is done about an incident right now.
    fn held(&self, id: &str) -> String {
        let view = self.0.board.view();
        view.open
            .iter()
            .find(|(open, _)| open.id == id)
            .map(|(_, held)| held.clone())
            .unwrap_or_default()
    }

    fn shown(&self, incident: &Incident) -> IncidentView {
        IncidentView::new(incident, &self.held(&incident.id))
    }

    async fn detail(&self, id: &str) -> Result<Option<IncidentDetail>, ControlError> {
        let found = self.inside()?.journal.incident(id).await;
        let found = found.map_err(|error| unreadable(error.to_string()))?;
        Ok(found.map(|(incident, rows)| IncidentDetail {
            incident: self.shown(&incident),
            rows: rows.iter().map(RowView::from).collect(),
        }))
    }

    /// The open incident of a replica, or its last.
    async fn of(&self, replica: &str) -> Result<Option<IncidentDetail>, ControlError> {
        let view = self.0.board.view();
        let open = view.open.iter().find(|(open, _)| open.target == replica);
        if let Some((open, _)) = open {
            return self.detail(&open.id).await;
        }
        let all = self.inside()?.journal.incidents(LAST).await;
        let all = all.map_err(|error| unreadable(error.to_string()))?;
        match all.iter().find(|incident| incident.target == replica) {
            Some(last) => self.detail(&last.id).await,
            None => Ok(None),
        }
    }

    async fn explained(&self, name: &str) -> Result<WhyView, ControlError> {
        if let Some(check) = self.0.state.checks().iter().find(|c| target_of(c) == name) {
            return Ok(self.explained_check(name, check).await);
        }
        let replica = self.replica(name)?;
        let live = &replica.live;
        let evidence = live.evidence();
        // Without its journal the rest is said all the same.
        let incident = self.of(name).await.unwrap_or_default();
        let gate = match live.gate() {
            Gate::Open => "takes traffic",
            Gate::Reserve => "stands by: takes traffic when nobody on duty can",
            Gate::LastResort => "takes traffic only when no other does",
            Gate::Desperate => "takes traffic only when nothing else is left",
            Gate::Shut => "takes no traffic",
        };
        let against = match evidence.against {
            Against::Nothing => "nothing",
            Against::One => "one",
            Against::Enough => "enough",
            Against::Certain => "certain",
        };
        let next = self.what_next(&replica, incident.as_ref().map(|detail| &detail.incident));
        Ok(WhyView {
            replica: replica.id.name.to_string(),
            node: self.0.state.node_of(name).map(|node| node.name),
            service: replica.id.service.to_string(),
            health: live.health().label().into(),
            gate: gate.into(),
            why: live.why().to_string(),
            against: against.into(),
            detectors: evidence.by.iter().map(|name| (*name).to_owned()).collect(),
            signs: live.signs().iter().map(SignView::from).collect(),
            incident,
            next,
        })
    }

    /// The same of what a check looks at, where that is no replica.
    async fn explained_check(&self, name: &str, check: &CheckStatus) -> WhyView {
        let incident = self.of(name).await.unwrap_or_default();
        let open = incident.as_ref().filter(|one| one.incident.resolved_unix_ms.is_none());
        let next = open.map(|one| &one.incident.next).filter(|next| !next.is_empty());
        WhyView {
            replica: name.to_owned(),
            node: None,
            service: String::new(),
            health: check.state.label().into(),
            gate: "is no replica".into(),
            why: check.why.clone(),
            against: "nothing".into(),
            detectors: Vec::new(),
            signs: Vec::new(),
            next: next.cloned().unwrap_or_else(|| "nothing for you".into()),
            incident,
        }
    }

    fn what_next(&self, replica: &Replica, incident: Option<&IncidentView>) -> String {
        if let Some(why) = self.0.board.why_not() {
            return format!("nothing is healed: {why}");
        }
        let open = incident.filter(|incident| incident.resolved_unix_ms.is_none());
        match open {
            Some(open) if !open.next.is_empty() => open.next.clone(),
            Some(open) if !open.held.is_empty() => format!("nothing for you: {}", open.held),
            Some(_) => "nothing for you: recovery is at work".into(),
            None if replica.live.gate() == Gate::Open => "nothing: it serves".into(),
            None if replica.live.duty() == Duty::Standby => "nothing: it stands by".into(),
            None if replica.live.evidence().by.contains(&"node") => {
                "see to its node and what is between: `evenkeel status` tells who hears it".into()
            }
            None if replica.live.evidence().by.contains(&"check") => {
                "see to what the check says; it is taken back once that is over".into()
            }
            None => {
                "nothing for you: it is watched, and acted upon once a second signal agrees".into()
            }
        }
    }

    fn seen(&self, name: &str) -> Result<Seen, ControlError> {
        let replica = self.replica(name)?;
        let instances = self.0.state.instances();
        let status = instances.iter().find(|status| status.name == name);
        world::seen(&replica, status).ok_or_else(|| {
            ControlError::conflict(format!("nothing is known of `{name}` yet"), "try again soon")
        })
    }
}

fn unreadable(why: String) -> ControlError {
    ControlError::unavailable(why, "see to the journal in the state directory; serving goes on")
}

impl Healing for Heal {
    fn view(&self) -> RecoveryView {
        let (board, now) = (&self.0.board, clock::unix_millis());
        let view = board.view();
        let mut actions: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        for ((name, good), count) in board.actions() {
            actions.entry(name.to_owned()).or_default()[usize::from(!good)] = count;
        }
        let pause = |pause: &Pause| PauseView {
            target: pause.target.clone(),
            owner: pause.owner.clone(),
            why: pause.why.clone(),
            until_unix_ms: pause.until,
        };
        let storm = view.standing.storm.as_ref();
        RecoveryView {
            epoch: view.epoch,
            error: board.why_not(),
            storm: storm.map(|s| StormView { since_unix_ms: s.since, why: s.why.clone() }),
            pauses: view.standing.pauses.iter().filter(|p| p.until > now).map(pause).collect(),
            open: view.open.iter().map(|(open, held)| IncidentView::new(open, held)).collect(),
            confirmed: board.confirmed.load(Relaxed),
            actions,
        }
    }

    fn detect(&self) -> &Histogram {
        &self.0.board.detect
    }

    fn mitigate(&self) -> &Histogram {
        &self.0.board.mitigate
    }

    fn incidents(&self, limit: u32) -> HealingFuture<'_, Vec<IncidentView>> {
        Box::pin(async move {
            let all = self.inside()?.journal.incidents(limit).await;
            let all = all.map_err(|error| unreadable(error.to_string()))?;
            Ok(all.iter().map(|incident| self.shown(incident)).collect())
        })
    }

    fn incident<'a>(&'a self, id: &'a str) -> HealingFuture<'a, IncidentDetail> {
        Box::pin(async move {
            self.detail(id).await?.ok_or_else(|| {
                let text = format!("there is no incident `{id}`");
                ControlError::not_found(text, "`evenkeel incident list` shows them")
            })
        })
    }

    fn why<'a>(&'a self, replica: &'a str) -> HealingFuture<'a, WhyView> {
        Box::pin(self.explained(replica))
    }

    fn plan<'a>(&'a self, replica: &'a str) -> HealingFuture<'a, PlanView> {
        Box::pin(async move {
            let found = self.inside()?.handle.preview(replica).await;
            if found.is_none() {
                self.seen(replica)?;
            }
            let found = found.ok_or_else(|| {
                ControlError::unavailable("recovery gave no answer", "try again soon")
            })?;
            let step = |step: Planned| PlanStepView {
                what: step.what,
                verdict: step.verdict,
                touches: step.touches.into(),
                undo: step.undo.into(),
            };
            Ok(PlanView {
                replica: replica.to_owned(),
                incident: found.incident,
                next: found.next,
                steps: found.steps.into_iter().map(step).collect(),
            })
        })
    }

    fn pause<'a>(
        &'a self,
        target: &'a str,
        owner: &'a str,
        why: &'a str,
        lasts: Duration,
    ) -> ControlFuture<'a> {
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let (target, owner, why) = (target.to_owned(), owner.to_owned(), why.to_owned());
        let until = clock::unix_millis().saturating_add(lasts);
        Box::pin(self.order(Order::Pause(Pause { target, owner, why, until })))
    }

    fn resume<'a>(&'a self, target: &'a str, owner: &'a str) -> ControlFuture<'a> {
        let (target, owner) = (target.to_owned(), owner.to_owned());
        Box::pin(self.order(Order::Resume { target, owner }))
    }

    fn approve<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        Box::pin(self.order(Order::Approve { id, owner }))
    }

    fn force<'a>(&'a self, id: &'a str, step: &'a str, owner: &'a str) -> ControlFuture<'a> {
        let (id, step, owner) = (id.to_owned(), step.to_owned(), owner.to_owned());
        Box::pin(self.order(Order::Force { id, step, owner }))
    }

    fn undo<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a> {
        let (id, owner) = (id.to_owned(), owner.to_owned());
        Box::pin(self.order(Order::Undo { id, owner }))
    }

    fn reset_storm<'a>(&'a self, owner: &'a str) -> ControlFuture<'a> {
        Box::pin(self.order(Order::ResetStorm { owner: owner.to_owned() }))
    }
}
