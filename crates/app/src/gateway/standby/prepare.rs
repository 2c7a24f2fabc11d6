//! What makes a standby ready, and what is measured and said of it.

use super::Rule;
use super::calls::{self, Done, Kind};
use super::runner::{ANSWERS, Runner, TOLD, unix};
use crate::link::ToKeeper;
use evenkeel_admin::view::{DutyView, StandbyView};
use evenkeel_domain::orchestrator::Phase;
use evenkeel_domain::standby::{Duty, Level};
use evenkeel_domain::{Pool, Replica, clock};
use evenkeel_recovery::standby::Look;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Runner {
    /// Brings a standby's server to where its duty wants it.
    pub(super) fn prepare(
        &mut self,
        rule: &Rule,
        name: &str,
        level: Level,
        replica: Option<&Arc<Replica>>,
        now: Instant,
    ) {
        let duty = self.duties.of(name);
        match (level, replica) {
            (Level::Hot, _) | (Level::Warm, None) => {}
            (Level::Warm, Some(replica)) => self.prepare_warm(rule, name, duty, replica),
            (Level::Cold, _) => self.prepare_cold(name, duty, now),
        }
        let late = self.duties.get(name).filter(|held| held.duty == Duty::Promoting);
        let late = late.map(|held| clock::unix_millis().saturating_sub(held.since_unix_ms));
        if late.is_some_and(|late| Duration::from_millis(late) > rule.patience) {
            let why = format!("it was not ready within {:?}", rule.patience);
            self.failed.insert(name.to_owned(), (now, why));
        }
    }

    fn prepare_warm(&mut self, rule: &Rule, name: &str, duty: Duty, replica: &Arc<Replica>) {
        let start = replica.live.incarnation().0;
        if replica.id.supervised && start == 0 {
            return;
        }
        let (kind, is_so) = match duty {
            Duty::Promoting | Duty::Promoted => (Kind::Load, self.loaded.get(name)),
            Duty::Standby => (Kind::Settle, self.settled.get(name)),
            Duty::Demoting | Duty::Active => return,
        };
        let under_way = self.tasks.get(name).map(|(under_way, _)| *under_way);
        if is_so == Some(&start) || under_way == Some(kind) {
            return;
        }
        if kind == Kind::Load && self.failed.contains_key(name) {
            return;
        }
        if let Some((_, other)) = self.tasks.remove(name) {
            other.abort();
        }
        let (to, name_of) = (self.done.0.clone(), name.to_owned());
        let (replica, authority) = (replica.clone(), self.authority.clone());
        let limit = rule.patience;
        let task = tokio::spawn(async move {
            let result = match kind {
                Kind::Load => calls::load(replica, authority, limit).await,
                Kind::Settle => calls::settle(replica).await,
            };
            // Without a runner the gateway ends, too.
            let _ = to.send(Done { name: name_of, incarnation: start, kind, result }).await;
        });
        self.tasks.insert(name.to_owned(), (kind, task));
    }

    fn prepare_cold(&mut self, name: &str, duty: Duty, now: Instant) {
        let instances = self.state.instances();
        let Some(status) = instances.iter().find(|status| status.name == name) else { return };
        let gave_up = matches!(status.phase, Phase::CrashLoop { .. } | Phase::Failed { .. });
        if duty == Duty::Promoting && gave_up {
            let why = status.last_exit.clone().unwrap_or_else(|| "it cannot be started".into());
            self.failed.entry(name.to_owned()).or_insert((now, why));
        }
        let asleep = status.phase == Phase::Stopped;
        let run = match duty {
            Duty::Promoting | Duty::Promoted if asleep => true,
            Duty::Standby if !asleep && status.phase != Phase::Stopping => false,
            _ => return,
        };
        let told = self.told.get(name);
        if told.is_some_and(|at| now.saturating_duration_since(*at) < TOLD) {
            return;
        }
        if self.to_keeper.try_send(ToKeeper::Wake { name: name.to_owned(), run }).is_ok() {
            self.told.insert(name.to_owned(), now);
        }
    }

    /// Times those that serve, once each has given its first answer.
    pub(super) fn measure(&mut self, service: &str, rule: &Rule, pool: &Pool, now: Instant) {
        for (name, level) in &rule.standbys {
            let Some(held) = self.duties.get(name) else { continue };
            let (Duty::Promoted, None, Some(lost)) = (held.duty, held.took_ms, held.lost_unix_ms)
            else {
                continue;
            };
            let Some(replica) = pool.members().iter().find(|r| *r.id.name == **name).cloned()
            else {
                continue;
            };
            let Some(answered) = replica.live.answered_ms() else { continue };
            let took = unix(answered, now).saturating_sub(lost);
            self.duties.change(|all| {
                all.entry(name.clone()).and_modify(|held| held.took_ms = Some(took));
            });
            pool.counts.promotion(*level).record(Duration::from_millis(took));
            if let Some(known) = self.known.get_mut(service) {
                known.promotions += 1;
            }
            let why = first_answer(Some(took));
            tracing::info!(replica = name, level = level.label(), took_ms = took, "standby serves");
            self.tell(service, name, (Duty::Promoted, Duty::Promoted), why);
        }
    }

    /// Answers whoever waits for a standby.
    pub(super) fn answer(&mut self, service: &str, look: &Look) {
        let (ours, others) =
            std::mem::take(&mut self.asks).into_iter().partition(|ask| ask.service == service);
        self.asks = others;
        for ask in Vec::from_iter::<Vec<super::runner::Ask>>(ours) {
            match self.said(&ask.target, look) {
                // Whoever asked may be gone.
                Some(said) => drop(ask.answer.send(said)),
                None => self.asks.push(ask),
            }
        }
    }

    fn said(&self, target: &str, look: &Look) -> Option<Result<String, String>> {
        let now = clock::unix_millis();
        let mut promoted = self.duties.all().iter().filter(|(_, held)| held.duty == Duty::Promoted);
        if let Some((name, held)) = promoted.find(|(_, held)| held.instead_of == target) {
            let waits = held.took_ms.is_none() && held.lost_unix_ms.is_some();
            if waits && now.saturating_sub(held.since_unix_ms) < ANSWERS {
                return None;
            }
            return Some(Ok(format!("{name} serves in its place; {}", first_answer(held.took_ms))));
        }
        if !look.is_short() {
            return Some(Ok(format!("not needed: {} of {} serve", look.serving, look.keep)));
        }
        look.nobody.then(|| {
            let why: Vec<String> =
                self.failed.iter().map(|(name, (_, why))| format!("{name}: {why}")).collect();
            Err(format!("no standby is left ({})", why.join("; ")))
        })
    }

    pub(super) fn view(&self, service: &str, rule: &Rule, look: &Look) -> StandbyView {
        let one = |(name, level): &(String, Level)| {
            let held = self.duties.get(name);
            let view = DutyView {
                level: level.label().to_owned(),
                duty: self.duties.of(name).label().to_owned(),
                instead_of: held.map(|held| held.instead_of.clone()).unwrap_or_default(),
                took_ms: held.and_then(|held| held.took_ms),
            };
            (name.clone(), view)
        };
        let known = self.known.get(service);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        StandbyView {
            keep: count(look.keep),
            serving: count(look.serving),
            standbys: rule.standbys.iter().map(one).collect(),
            promotions: known.map_or(0, |known| known.promotions),
            last: known.map(|known| known.last.clone()).unwrap_or_default(),
            last_unix_ms: known.and_then(|known| known.last_unix_ms),
        }
    }
}

fn first_answer(took_ms: Option<u64>) -> String {
    match took_ms {
        Some(ms) => format!("its first answer came {} ms after too few took traffic", ms),
        None => "no request has reached it yet".into(),
    }
}
