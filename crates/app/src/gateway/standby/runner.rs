//! The task that carries the plan for standbys out.

use super::calls::{Done, Kind};
use super::duties::{Duties, Held};
use super::{Call, Rule, Standbys};
use crate::config::Config;
use crate::gateway::recovery::Recovery;
use crate::gateway::source::GatewayState;
use crate::link::ToKeeper;
use evenkeel_admin::view::StandbyView;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::standby::{Duty, Level};
use evenkeel_domain::{Gate, Pool, clock};
use evenkeel_health::AuthorityHandle;
use evenkeel_recovery::standby::{Deed, Look, Member, Watch};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How often all is looked at where nothing happens; events are looked at as they come.
const LOOK: Duration = Duration::from_millis(100);
/// How long a standby that could not be promoted is left out.
const FAILED: Duration = Duration::from_secs(60);
/// How long the keeper is given before it is told again.
pub(super) const TOLD: Duration = Duration::from_secs(2);
/// How long a step waits for the first answer of a standby that serves: without traffic there
/// is none.
pub(super) const ANSWERS: u64 = 1000;

/// Whoever waits for a standby in a replica's place.
pub(super) struct Ask {
    pub(super) target: String,
    pub(super) service: String,
    pub(super) answer: oneshot::Sender<Result<String, String>>,
}

/// What is remembered of one service.
#[derive(Default)]
pub(super) struct Known {
    watch: Watch,
    /// Since when too few take traffic, by the wall clock.
    lost_unix_ms: Option<u64>,
    pub(super) last: String,
    pub(super) last_unix_ms: Option<u64>,
    pub(super) promotions: u64,
}

/// Looks after standbys until its gateway drains.
pub(in super::super) struct Runner {
    shared: Arc<Standbys>,
    inbox: mpsc::Receiver<Call>,
    pub(super) state: Arc<GatewayState>,
    pub(super) authority: AuthorityHandle,
    recovery: Arc<Recovery>,
    pub(super) to_keeper: mpsc::Sender<ToKeeper>,
    drain: Duration,
    pub(super) duties: Duties,
    pub(super) known: HashMap<String, Known>,
    pub(super) asks: Vec<Ask>,
    /// The start of a warm standby's server that has its model, and that has not.
    pub(super) loaded: HashMap<String, u64>,
    pub(super) settled: HashMap<String, u64>,
    pub(super) tasks: HashMap<String, (Kind, JoinHandle<()>)>,
    pub(super) done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    pub(super) failed: HashMap<String, (Instant, String)>,
    pub(super) told: HashMap<String, Instant>,
}

impl Runner {
    pub(in super::super) fn new(
        config: &Config,
        state: &Arc<GatewayState>,
        authority: AuthorityHandle,
        recovery: Arc<Recovery>,
        to_keeper: mpsc::Sender<ToKeeper>,
    ) -> (Self, Arc<Standbys>) {
        let (shared, inbox) = Standbys::new(config);
        let runner = Self {
            shared: shared.clone(),
            inbox,
            duties: Duties::load(&state.state_dir),
            state: state.clone(),
            authority,
            recovery,
            to_keeper,
            drain: config.gateway.drain,
            known: HashMap::new(),
            asks: Vec::new(),
            loaded: HashMap::new(),
            settled: HashMap::new(),
            tasks: HashMap::new(),
            done: mpsc::channel(64),
            failed: HashMap::new(),
            told: HashMap::new(),
        };
        (runner, shared)
    }

    /// Runs until this gateway drains: then its successor does.
    pub(in super::super) async fn run(mut self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut happened = self.state.shared.events.watch();
        let mut draining = self.state.shared.draining.subscribe();
        loop {
            tokio::select! {
                _ = draining.wait_for(|draining| *draining) => break,
                Some(call) = self.inbox.recv() => self.call(call),
                Some(done) = self.done.1.recv() => self.done(done),
                _ = happened.changed() => {}
                _ = tick.tick() => {}
            }
            self.look().await;
        }
        self.tasks.values().for_each(|(_, task)| task.abort());
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Instead { target, answer } => {
                let service = self.state.member(&target).map(|r| r.id.service.to_string());
                let Some(service) = service.filter(|s| self.shared.rules.load().contains_key(s))
                else {
                    // Whoever asked may be gone, here and below.
                    let _ = answer.send(Err("its service has no standby".into()));
                    return;
                };
                self.asks.push(Ask { target, service, answer });
            }
            Call::Order { name, promote, owner, answer } => {
                let _ = answer.send(self.order(&name, promote, &owner));
            }
        }
    }

    fn order(&mut self, name: &str, promote: bool, owner: &str) -> Result<(), String> {
        let rules = self.shared.rules.load_full();
        let found = rules.iter().find(|(_, rule)| rule.standbys.iter().any(|(n, _)| n == name));
        let Some((service, _)) = found else { return Err(format!("`{name}` is no standby")) };
        let why = format!("ordered by {owner}");
        match (promote, self.duties.of(name)) {
            (true, Duty::Standby | Duty::Demoting) => {
                self.failed.remove(name);
                self.set(service, name, Duty::Promoting, &why);
                self.duties.change(|all| {
                    all.entry(name.to_owned()).and_modify(|held| held.by_hand = true);
                });
            }
            (false, Duty::Promoting | Duty::Promoted) => {
                self.set(service, name, Duty::Demoting, &why);
            }
            (_, duty) => return Err(format!("`{name}` is {} already", duty.label())),
        }
        Ok(())
    }

    /// A load or unload has ended.
    fn done(&mut self, done: Done) {
        self.tasks.remove(&done.name);
        let Done { name, incarnation, kind, result } = done;
        match (kind, result) {
            (Kind::Load, Ok(())) => {
                self.loaded.insert(name, incarnation);
            }
            (Kind::Load, Err(why)) => {
                tracing::error!(replica = name, why, "a warm standby did not load its model");
                self.failed.insert(name, (clock::now(), why));
            }
            (Kind::Settle, result) => {
                if let Err(why) = result {
                    // It answers all the same: it can be promoted.
                    tracing::error!(replica = name, why, "a warm standby keeps its model");
                }
                // Its server is as ready as it is meant to be. The supervisor must hear it, or
                // it would start it anew: where it cannot, this is done again.
                let ready = ToKeeper::MarkReady { name: name.clone(), incarnation };
                if self.to_keeper.try_send(ready).is_ok() {
                    self.settled.insert(name, incarnation);
                }
            }
        }
    }

    async fn look(&mut self) {
        let now = clock::now();
        self.failed.retain(|_, (at, _)| now.saturating_duration_since(*at) < FAILED);
        let rules = self.shared.rules.load_full();
        self.known.retain(|name, _| rules.contains_key(name));
        self.duties.change(|all| {
            all.retain(|name, _| rules.values().any(|r| r.standbys.iter().any(|(n, _)| n == name)));
        });
        let services = self.state.services();
        let mut views = BTreeMap::new();
        for (service, rule) in rules.iter() {
            let pool = services.iter().find(|(s, _)| s.name == *service).map(|(_, pool)| pool);
            if let Some(pool) = pool {
                views.insert(service.clone(), self.one(service, rule, pool, now).await);
            }
        }
        *self.shared.views.lock().unwrap_or_else(PoisonError::into_inner) = views;
        let promoted = self.duties.all().iter().filter(|(_, held)| held.duty == Duty::Promoted);
        let replaced = promoted.map(|(name, held)| (held.instead_of.clone(), name.clone()));
        *self.shared.replaced.lock().unwrap_or_else(PoisonError::into_inner) = replaced.collect();
    }

    async fn one(&mut self, service: &str, rule: &Rule, pool: &Pool, now: Instant) -> StandbyView {
        self.assume_loaded(rule, pool);
        let members = self.members(rule, pool, now);
        let known = self.known.entry(service.to_owned()).or_default();
        self.asks.retain(|ask| !ask.answer.is_closed());
        if self.asks.iter().any(|ask| ask.service == service) {
            known.watch.ask();
        }
        let look = known.watch.look(&rule.rules, &members, self.drain, now);
        self.time_of_loss(service, &look, pool, now);
        for deed in &look.deeds {
            self.act(service, deed).await;
        }
        for (name, level) in &rule.standbys {
            let replica = pool.members().iter().find(|r| *r.id.name == **name).cloned();
            self.prepare(rule, name, *level, replica.as_ref(), now);
        }
        if !look.deeds.is_empty() {
            self.authority.duties();
            pool.improved();
        }
        self.measure(service, rule, pool, now);
        self.answer(service, &look);
        self.view(service, rule, &look)
    }

    /// A gateway that follows finds those that serve with their models.
    fn assume_loaded(&mut self, rule: &Rule, pool: &Pool) {
        for (name, _) in rule.standbys.iter().filter(|(_, level)| *level == Level::Warm) {
            let members = pool.members();
            let Some(replica) = members.iter().find(|r| *r.id.name == **name) else { continue };
            let begun = replica.live.incarnation().0 > 0 || !replica.id.supervised;
            let fresh = !self.loaded.contains_key(name) && !self.tasks.contains_key(name);
            if begun && fresh && self.duties.of(name) == Duty::Promoted {
                self.loaded.insert(name.clone(), replica.live.incarnation().0);
            }
        }
    }

    fn members(&self, rule: &Rule, pool: &Pool, now: Instant) -> Vec<Member> {
        let level = |name: &str| rule.standbys.iter().find(|(n, _)| n == name).map(|(_, l)| *l);
        let mut all = Vec::new();
        for replica in pool.members().iter() {
            let name = replica.id.name.to_string();
            let level = level(&name);
            let duty = if level.is_some() { self.duties.of(&name) } else { Duty::Active };
            replica.live.set_duty(duty);
            let has_model = level != Some(Level::Warm)
                || self.loaded.get(&name) == Some(&replica.live.incarnation().0);
            let ready = replica.live.judged() == Gate::Open && has_model;
            let idle = replica.live.in_flight() == 0;
            all.push(Member { ready, idle, ..self.member(name, level, duty, now) });
        }
        // What has not been started yet is no member of the pool.
        for (name, level) in &rule.standbys {
            if !all.iter().any(|member| member.name == *name) {
                all.push(self.member(name.clone(), Some(*level), self.duties.of(name), now));
            }
        }
        all
    }

    fn member(&self, name: String, level: Option<Level>, duty: Duty, now: Instant) -> Member {
        let held = self.duties.get(&name);
        let age = held.map_or(0, |held| clock::unix_millis().saturating_sub(held.since_unix_ms));
        Member {
            level,
            duty,
            ready: false,
            idle: true,
            by_hand: held.is_some_and(|held| held.by_hand),
            failed: self.failed.contains_key(&name),
            since: now.checked_sub(Duration::from_millis(age)).unwrap_or(now),
            name,
        }
    }

    /// Remembers since when too few take traffic: what promotions are timed from.
    fn time_of_loss(&mut self, service: &str, look: &Look, pool: &Pool, now: Instant) {
        let Some(known) = self.known.get_mut(service) else { return };
        if !look.is_short() {
            known.lost_unix_ms = None;
            return;
        }
        if known.lost_unix_ms.is_some() {
            return;
        }
        let members = pool.members();
        let out = members.iter().filter(|r| r.live.duty().is_on() && r.live.gate() != Gate::Open);
        let at = out.map(|r| r.live.since_ms()).max().unwrap_or_else(|| clock::millis(now));
        known.lost_unix_ms = Some(unix(at, now));
        for standby in members.iter().filter(|r| r.live.duty() == Duty::Standby) {
            if standby.live.answered_ms().is_some_and(|answered| answered < at) {
                standby.live.await_answer();
            }
        }
    }

    async fn act(&mut self, service: &str, deed: &Deed) {
        match deed {
            Deed::Promote(name) => self.set(service, name, Duty::Promoting, "too few serve"),
            Deed::Serve(name) => self.set(service, name, Duty::Promoted, "it is ready"),
            Deed::Cancel(name) => {
                let failed = self.failed.get(name).map(|(_, why)| why.clone());
                let why = failed.unwrap_or_else(|| "enough others serve".into());
                self.set(service, name, Duty::Demoting, &why);
            }
            Deed::Demote(name) => {
                let why = "the active ones have served for long enough";
                let text = format!("{name} goes back to standing by: {why}");
                // Without a journal it stays: that costs nothing but what it holds.
                if self.recovery.note("demote", text).await.is_ok() {
                    self.set(service, name, Duty::Demoting, why);
                }
            }
            Deed::Rest(name) => {
                self.set(service, name, Duty::Standby, "it has ended what it had begun");
                self.loaded.remove(name);
                self.settled.remove(name);
                // The world shows it, should it not be written.
                let _ = self.recovery.note("demoted", format!("{name} stands by")).await;
            }
        }
    }

    fn set(&mut self, service: &str, name: &str, duty: Duty, why: &str) {
        let from = self.duties.of(name);
        let now = clock::unix_millis();
        let asked = self.asks.iter().find(|ask| ask.service == service);
        let asked = asked.map(|ask| ask.target.clone()).unwrap_or_default();
        let lost = self.known.get(service).and_then(|known| known.lost_unix_ms);
        self.duties.change(|all| {
            if duty == Duty::Standby {
                all.remove(name);
                return;
            }
            if duty == Duty::Promoting {
                // What was known of an earlier time is over.
                all.remove(name);
            }
            let held = all.entry(name.to_owned()).or_insert_with(|| Held {
                duty,
                instead_of: asked,
                by_hand: false,
                since_unix_ms: now,
                lost_unix_ms: lost,
                took_ms: None,
            });
            (held.duty, held.since_unix_ms) = (duty, now);
        });
        if let Some(replica) = self.state.member(name) {
            // A hot one may have answered already: that counts.
            let hot = replica.id.standby.as_ref().is_some_and(|s| s.level == Level::Hot);
            if duty == Duty::Promoting && !hot {
                replica.live.await_answer();
            }
            replica.live.set_duty(duty);
        }
        tracing::info!(replica = name, from = from.label(), to = duty.label(), why, "standby");
        self.tell(service, name, (from, duty), why.to_owned());
    }

    pub(super) fn tell(
        &mut self,
        service: &str,
        name: &str,
        (from, to): (Duty, Duty),
        why: String,
    ) {
        if let Some(known) = self.known.get_mut(service) {
            known.last = format!("{name} {}: {why}", to.label());
            known.last_unix_ms = Some(clock::unix_millis());
        }
        let (service, replica) = (service.to_owned(), name.to_owned());
        let (from, to) = (from.label().into(), to.label().into());
        self.state.shared.events.push(EventKind::Standby { service, replica, from, to, why });
    }
}

/// A time of the monotonic clock by the wall clock.
pub(super) fn unix(at_ms: u64, now: Instant) -> u64 {
    clock::unix_millis().saturating_sub(clock::millis(now).saturating_sub(at_ms))
}
