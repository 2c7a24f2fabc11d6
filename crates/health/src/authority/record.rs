//! What the authority knows of one replica.

use super::flap::Flap;
use crate::detector::{self, Detector, Verdict};
use crate::fusion::{self, Situation, Weight};
use crate::operator::Override;
use evenkeel_domain::health::{Against, Evidence};
use evenkeel_domain::incident::Sign;
use evenkeel_domain::settings::ServiceSettings;
use evenkeel_domain::{Gate, Health, Outcome, Replica, Signal, SignalKind, clock, outcome};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Share of its weight that a replica starts with, in per mille.
const RAMP_START: u32 = 100;
/// A replica in good health this long after its isolation starts a new count.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How evidence begins that a probe alone gave.
const PROBE: &str = "probe: ";
/// Two suspicions isolate when they have stood together for so long: a pause of a garbage
/// collector or a snapshot (up to 2.5 s) rouses several detectors at once, and ends.
const PAUSE: Duration = Duration::from_secs(3);

pub(super) struct Record {
    pub(super) replica: Arc<Replica>,
    pub(super) settings: Arc<ServiceSettings>,
    pub(super) probe_now: Arc<Notify>,
    detectors: Vec<Box<dyn Detector>>,
    proven: bool,
    /// Required questions that this incarnation has not answered rightly yet.
    unknown: BTreeSet<usize>,
    /// Whether it has ever answered.
    answered: bool,
    /// Isolations by statistics in a row, and the end of the current one.
    isolations: u32,
    until: Option<Instant>,
    /// Whether definite evidence stood at the last look.
    certain: bool,
    /// Since when two suspicions stand.
    two_since: Option<Instant>,
    flap: Flap,
    /// When slow start began; `None` before the replica ever took traffic.
    ramp_from: Option<Instant>,
    joined: Instant,
}

/// A change of state.
pub(super) struct Change {
    pub(super) from: Health,
    pub(super) to: Health,
    pub(super) why: String,
    pub(super) opens: bool,
}

impl Record {
    pub(super) fn new(replica: Arc<Replica>, settings: Arc<ServiceSettings>, now: Instant) -> Self {
        let detectors = detector::build(&settings);
        let unknown = required(&settings);
        Self {
            unknown,
            replica,
            settings,
            probe_now: Arc::default(),
            detectors,
            proven: false,
            answered: false,
            isolations: 0,
            until: None,
            certain: false,
            two_since: None,
            flap: Flap::default(),
            ramp_from: None,
            joined: now,
        }
    }

    /// New settings for a known replica: what was learnt of it stays.
    pub(super) fn inherit(&mut self, old: Self) {
        self.proven = old.proven;
        if old.settings.answers.golden == self.settings.answers.golden {
            self.unknown = old.unknown;
        }
        self.answered = old.answered;
        self.isolations = old.isolations;
        self.until = old.until;
        self.two_since = old.two_since;
        self.flap = old.flap;
        self.ramp_from = old.ramp_from;
        self.joined = old.joined;
        if old.settings.ejection == self.settings.ejection
            && old.settings.probe == self.settings.probe
            && old.settings.answers.quorum == self.settings.answers.quorum
            && old.settings.answers.golden == self.settings.answers.golden
        {
            self.detectors = old.detectors;
        }
    }

    pub(super) fn started(&mut self, signal: &Signal, now: Instant) {
        let live = &self.replica.live;
        let before = live.health();
        live.set_incarnation(signal.incarnation);
        self.detectors = detector::build(&self.settings);
        self.proven = false;
        self.unknown = required(&self.settings);
        self.until = None;
        self.ramp_from = None;
        if !matches!(before, Health::Draining) {
            live.set_health(Health::Starting, true, "started, not ready yet".into(), now);
        }
        self.probe_now.notify_one();
    }

    /// Its model was loaded anew: what was measured before says nothing of it.
    pub(super) fn renewed(&mut self, now: Instant) {
        self.reset_detectors(now);
        self.proven = false;
        self.unknown = required(&self.settings);
        self.until = None;
        self.ramp_from = None;
        let why = "its model was loaded, not ready yet".into();
        self.replica.live.set_health(Health::Starting, true, why, now);
        self.probe_now.notify_one();
    }

    pub(super) fn observe(&mut self, signal: &Signal) {
        // Refusals and failed probes are what starting looks like.
        let starting = self.replica.live.health() == Health::Starting;
        if let Some(text) = speaks_against(&signal.kind).filter(|_| !starting) {
            let observer = signal.observer.to_owned();
            self.replica.live.sign(Sign { at: clock::unix_millis(), observer, text });
        }
        match &signal.kind {
            SignalKind::ProbeOk(_) | SignalKind::Attempt(Outcome::Ok) => {
                (self.proven, self.answered) = (true, true);
            }
            SignalKind::Golden { question, right: true, .. } => {
                self.unknown.remove(question);
            }
            // A second opinion, soon.
            SignalKind::Attempt(_) | SignalKind::Waiting { .. } => self.probe_now.notify_one(),
            _ => {}
        }
        for detector in &mut self.detectors {
            detector.observe(signal);
        }
    }

    pub(super) fn still_for(&self, now: Instant) -> Duration {
        let moved = self.replica.live.last_move_ms();
        if moved == 0 {
            return now.saturating_duration_since(self.joined);
        }
        Duration::from_millis(clock::millis(now).saturating_sub(moved))
    }

    pub(super) fn tally(&mut self, still: Duration, peers_move: bool, now: Instant) {
        let since = now.saturating_duration_since(self.joined);
        // What stands by without a model has nothing to answer with.
        let expected = !self.answered && self.replica.live.rest().is_none();
        let deadline = self.replica.id.startup_deadline.filter(|_| expected);
        if let Some(deadline) = deadline.filter(|deadline| since >= *deadline) {
            self.told(SignalKind::Absent { deadline }, now);
        }
        let live = &self.replica.live;
        let count = |of: fn(&Outcome) -> bool| {
            outcome::ALL.iter().filter(|o| of(o)).map(|o| live.count(*o)).sum()
        };
        let faults = count(|o| o.blames_replica());
        let silent = count(|o| o.is_silence());
        let good = live.count(Outcome::Ok);
        let tally = SignalKind::Tally { good, faults, silent, still, peers_move };
        self.told(tally, now);
    }

    /// Takes in what the sweep found.
    pub(super) fn told(&mut self, kind: SignalKind, now: Instant) {
        let live = &self.replica.live;
        let signal = Signal {
            replica: self.replica.id.key,
            incarnation: live.incarnation(),
            observer: "sweep",
            at: now,
            kind,
        };
        for detector in &mut self.detectors {
            detector.observe(&signal);
        }
    }

    /// Judges, and moves the replica when its state changes.
    pub(super) fn judge(
        &mut self,
        may_isolate: bool,
        order: Option<&Override>,
        now: Instant,
    ) -> Option<Change> {
        self.end_of_time(now);
        let mut weight = self.weigh(now);
        let certain = matches!(weight, Weight::Certain(_));
        if std::mem::replace(&mut self.certain, certain) && !certain {
            // It is back from the dead: what failed while it was gone says nothing of it now.
            self.reset_detectors(now);
            self.until = None;
            weight = self.weigh(now);
        }
        self.publish(&weight, now);
        let from = self.replica.live.health();
        let gate_before = self.replica.live.judged();
        let (to, definite, why) = match (order, self.replica.live.rest()) {
            (Some(order), _) => (order.health(), true, order.describe()),
            (None, Some((health, why))) => (health, true, why.to_owned()),
            (None, None) => {
                let last = matches!(weight, Weight::Two(_) | Weight::Enough(_));
                self.two_since = last.then(|| self.two_since.unwrap_or(now));
                let (to, definite) = fusion::next(&weight, self.situation(from, may_isolate, now));
                match self.is_held(&weight, to, may_isolate, now) {
                    true => (Health::Suspect, false, self.flap.describe()),
                    false => (to, definite, self.explain(&weight, to, now)),
                }
            }
        };
        self.keep_time(from, to, definite, now);
        self.ramp(to, now);
        let gate = Gate::of(to, definite);
        if to == from && gate == gate_before {
            if *self.replica.live.why() != why {
                self.replica.live.set_health(to, definite, why, now);
            }
            return None;
        }
        self.replica.live.set_health(to, definite, why.clone(), now);
        Some(Change { from, to, why, opens: gate < gate_before })
    }

    /// Whether it is held out although nothing speaks against it at this moment.
    fn is_held(&mut self, weight: &Weight, to: Health, may_isolate: bool, now: Instant) -> bool {
        let ejection = &self.settings.ejection;
        // Packets are lost, and who is held is probed often: a lost probe alone
        // changes nothing.
        let lost = matches!(weight, Weight::One(text) if text.starts_with(PROBE));
        let out = (!lost).then_some(matches!(to, Health::Suspect | Health::Isolated));
        let held = self.flap.look(out, ejection.time, ejection.time_max, now);
        held && may_isolate && matches!(to, Health::Healthy | Health::Probation)
    }

    fn weigh(&self, now: Instant) -> Weight {
        let verdicts: Vec<_> = self.detectors.iter().map(|d| (d.name(), d.verdict(now))).collect();
        fusion::weigh(&verdicts)
    }

    /// Shows what stands against it, whatever follows from that here.
    fn publish(&self, weight: &Weight, now: Instant) {
        let against = match weight {
            Weight::Clear => Against::Nothing,
            Weight::Two(_) if self.two_last(now) => Against::Enough,
            Weight::One(_) | Weight::Two(_) => Against::One,
            Weight::Enough(_) => Against::Enough,
            Weight::Certain(_) => Against::Certain,
        };
        let mut by = Vec::new();
        if against != Against::Nothing {
            let speaking = self
                .detectors
                .iter()
                .filter(|d| !matches!(d.verdict(now), Verdict::Clear | Verdict::Busy(_)));
            by.extend(speaking.map(|d| d.evidence()));
        }
        self.replica.live.set_evidence(Evidence { against, by });
    }

    /// Whether two suspicions have stood together for longer than a pause lasts.
    fn two_last(&self, now: Instant) -> bool {
        self.two_since.is_some_and(|since| now.saturating_duration_since(since) >= PAUSE)
    }

    fn reset_detectors(&mut self, now: Instant) {
        for detector in &mut self.detectors {
            detector.reset(now);
        }
    }

    /// When the time of an isolation is over its evidence is, too: only new faults speak.
    fn end_of_time(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now >= until) {
            self.until = None;
            self.reset_detectors(now);
        }
    }

    fn situation(&self, from: Health, may_isolate: bool, now: Instant) -> Situation {
        // What an operator had taken out comes back as if it were new.
        let health = match from {
            Health::Draining | Health::Stopped => Health::Starting,
            other => other,
        };
        Situation {
            health,
            proven: self.proven && self.unknown.is_empty(),
            absent: self.detectors.iter().any(|detector| {
                let definite = matches!(detector.verdict(now), Verdict::Definite(_));
                definite && detector.name() == detector::absent::NAME
            }),
            serving_time: self.until.is_some_and(|until| now < until),
            ramped: self.ramped(now),
            may_isolate,
            two_last: self.two_last(now),
        }
    }

    fn explain(&self, weight: &Weight, to: Health, now: Instant) -> String {
        match weight {
            Weight::One(text)
            | Weight::Two(text)
            | Weight::Enough(text)
            | Weight::Certain(text) => text.clone(),
            Weight::Clear => match to {
                Health::Healthy => self.busy(now).unwrap_or_else(|| "answers as it should".into()),
                Health::Probation => "answers again; its share grows".into(),
                Health::Starting => "not ready yet".into(),
                Health::Isolated => "isolated for its faults; not yet tried again".into(),
                other => other.label().into(),
            },
        }
    }

    /// That it has much to do, where a detector says so.
    fn busy(&self, now: Instant) -> Option<String> {
        self.detectors.iter().find_map(|detector| match detector.verdict(now) {
            Verdict::Busy(text) => Some(text),
            _ => None,
        })
    }

    /// Times of isolation: 30 s × count, at most 300 s.
    fn keep_time(&mut self, from: Health, to: Health, definite: bool, now: Instant) {
        if to == Health::Isolated && from != Health::Isolated {
            // What stands until now proves nothing any more.
            self.proven = false;
            if !definite {
                self.isolations += 1;
                let ejection = &self.settings.ejection;
                self.until = Some(now + (ejection.time * self.isolations).min(ejection.time_max));
            }
        }
        if from == Health::Isolated && to != Health::Isolated {
            self.reset_detectors(now);
            self.until = None;
            self.ramp_from = None;
        }
    }

    fn ramp(&mut self, to: Health, now: Instant) {
        let live = &self.replica.live;
        if !matches!(to, Health::Healthy | Health::Probation) {
            return;
        }
        let from = *self.ramp_from.get_or_insert(now);
        let whole = self.settings.ejection.slow_start;
        let passed = now.saturating_duration_since(from);
        if whole.is_zero() || passed >= whole {
            live.set_ramp(1000);
            if passed > FORGIVEN {
                self.isolations = 0;
            }
            return;
        }
        let share = passed.as_secs_f64() / whole.as_secs_f64();
        let per_mille = RAMP_START + (f64::from(1000 - RAMP_START) * share) as u32;
        live.set_ramp(u16::try_from(per_mille).unwrap_or(1000));
    }

    fn ramped(&self, now: Instant) -> bool {
        let whole = self.settings.ejection.slow_start;
        whole.is_zero()
            || self.ramp_from.is_some_and(|from| now.saturating_duration_since(from) >= whole)
    }
}

/// A measurement that a person wants to read of, in words.
/// What nobody may serve without knowing.
fn required(settings: &ServiceSettings) -> BTreeSet<usize> {
    let questions = settings.answers.golden.iter().enumerate();
    questions.filter(|(_, golden)| golden.required).map(|(at, _)| at).collect()
}

fn speaks_against(kind: &SignalKind) -> Option<String> {
    match kind {
        SignalKind::Attempt(outcome) if outcome.blames_replica() => {
            Some(format!("an attempt ended with {}", outcome.label()))
        }
        SignalKind::Waiting { .. } => Some("an attempt waits longer than is normal".into()),
        SignalKind::ProbeFailed(failure) => Some(format!("a probe failed: {}", failure.text)),
        SignalKind::Deviated(text) => Some(format!("it deviated from its peers: {text}")),
        SignalKind::Golden { right: false, text, .. } => Some(format!("a wrong answer: {text}")),
        SignalKind::Check { name, against: Some(fault), news: true } => {
            Some(format!("the check {name}: {}", fault.text))
        }
        SignalKind::Exited(how) => Some(format!("its process ended: {how}")),
        _ => None,
    }
}
