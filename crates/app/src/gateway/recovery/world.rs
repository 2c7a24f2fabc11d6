//! What recovery sees: the health authority's state and the keeper's processes.

use super::super::forecast::target_of;
use super::super::overrides::Overrides;
use super::super::scale::number;
use super::super::source::GatewayState;
use super::super::standby::Standbys;
use super::hands::OWNER;
use evenkeel_domain::check::CheckState;
use evenkeel_domain::incident::{Copies, Elsewhere, Seen, World};
use evenkeel_domain::orchestrator::{InstanceStatus, Phase};
use evenkeel_domain::standby::Duty;
use evenkeel_domain::{Gate, Pool, Replica};
use evenkeel_health::operator::Override;
use std::collections::HashMap;
use std::sync::Arc;

/// The world of this gateway.
pub(super) struct GatewayWorld {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
    standbys: Option<Arc<Standbys>>,
}

impl GatewayWorld {
    pub(super) fn new(
        state: Arc<GatewayState>,
        overrides: Arc<Overrides>,
        standbys: Option<Arc<Standbys>>,
    ) -> Self {
        Self { state, overrides, standbys }
    }
}

impl GatewayWorld {
    /// Copies of a service whose number may change, once it is known.
    fn copies(&self, pool: &Pool) -> Option<Copies> {
        let size = self.state.sizes()?.get(&*pool.name).copied()?;
        let scale = self.state.scale_of(&pool.name)?;
        // A person's number is theirs.
        let max = if scale.ordered_by.is_some() { size } else { scale.max };
        let members = pool.members();
        let open = members.iter().filter(|replica| replica.live.gate() == Gate::Open);
        let open = open.filter_map(|replica| number(&pool.name, &replica.id.name)).collect();
        Some(Copies { size, max, open })
    }
}

impl World for GatewayWorld {
    fn look(&self) -> Vec<Seen> {
        let instances = self.state.instances();
        let instances: HashMap<&str, &InstanceStatus> =
            instances.iter().map(|status| (status.name.as_str(), status)).collect();
        let orders = self.overrides.all();
        let ordered = |seen: &Seen| {
            let theirs = |o: &&Override| o.replica == seen.target && !o.owner.starts_with(OWNER);
            orders.iter().find(theirs).map(|order| order.owner.clone())
        };
        let unreached = self.state.unreached();
        let mut all = Vec::new();
        for (_, pool) in self.state.services() {
            let members = pool.members();
            let before = all.len();
            all.extend(members.iter().filter_map(|r| seen(r, instances.get(&*r.id.name).copied())));
            let copies = self.copies(&pool);
            let stand_in = pool.stand_in().map(|name| Elsewhere::Service(name.to_string()));
            for seen in &mut all[before..] {
                seen.copies.clone_from(&copies);
                seen.stand_in.clone_from(&stand_in);
            }
        }
        let mut outlooks = self.state.outlooks();
        for seen in &mut all {
            seen.ahead = outlooks.remove(&seen.target);
            seen.ordered = ordered(seen);
            if let Some(standbys) = &self.standbys {
                seen.has_standby = standbys.has(&seen.service, &seen.target);
                seen.replaced_by = standbys.replaced_by(&seen.target);
            }
            // Whatever was ordered there would not arrive, or not be seen to have.
            if unreached.contains(&seen.target) {
                seen.process = None;
            }
        }
        // What no check has data about is not seen either.
        let told = self.state.checks().into_iter().filter(|c| c.state != CheckState::Unknown);
        all.extend(told.map(|status| {
            let target = target_of(&status);
            let ahead = outlooks.remove(&target);
            Seen::of_check(target, status.why, ahead)
        }));
        all
    }
}

/// A replica as it looks; `None` while the keeper has not told of its process yet.
pub(super) fn seen(replica: &Replica, status: Option<&InstanceStatus>) -> Option<Seen> {
    let live = &replica.live;
    // Read before the state: the authority sets it first, so the state is never one of an
    // earlier start.
    let incarnation = live.incarnation().0;
    if replica.id.supervised && (status.is_none() || incarnation == 0) {
        return None;
    }
    let status = status.filter(|_| replica.id.supervised);
    Some(Seen {
        target: replica.id.name.to_string(),
        service: replica.id.service.to_string(),
        incarnation,
        health: live.health(),
        gate: live.gate(),
        evidence: (*live.evidence()).clone(),
        why: live.why().to_string(),
        signs: live.signs(),
        ordered: None,
        in_flight: live.in_flight(),
        process: status.map(|status| match live.duty() {
            // Its model is being loaded: silence is no fault of it.
            Duty::Promoting => Phase::Starting { since_ms: 0, deadline_ms: u64::MAX },
            _ => status.phase.clone(),
        }),
        ends: status.map_or(0, |status| status.ends),
        last_exit: status.and_then(|status| status.last_exit.clone()),
        has_standby: false,
        replaced_by: None,
        copies: None,
        stand_in: None,
        ahead: None,
    })
}
