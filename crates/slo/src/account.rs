//! The account of all services: samples and requests in, ledgers and deltas for the store out.
//!
//! ```text
//!   sample ──────────┐ time between two samples, by what both of them say
//!   count ───────────┴─► ledgers      what is asked for
//!                    └─► pending ─► deltas ─► store ─► absorb, or restore where it failed
//! ```
//! Time is what both ends of an interval vouch for: up only where it was up at both. Nothing is
//! assumed of time that nobody sampled; it is unknown, since it is neither up, down nor planned.

use crate::axis::AxisClock;
use crate::ledger::{Ledger, MINUTE_MS, Window};
use evenkeel_domain::slo::{Added, Axis, Clocks, Delta, Kept, Taken, Tally};
use std::collections::BTreeMap;
use std::time::Duration;

/// Samples further apart than this say nothing of what lay between: the machine slept, or
/// this process was held.
pub const LAPSE_MS: u64 = 3_000;
/// What waits to be written while it cannot be: minutes of services. The oldest is dropped
/// then, and that time is unknown once this process has ended.
const PENDING: usize = 20_000;
/// How far into a minute the one before is still read again: another process may end what it
/// has begun.
const SETTLES_MS: u64 = 10_000;

/// What a service is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// A replica takes traffic.
    Up,
    /// None does.
    Down,
    /// None does, because a person wants it so.
    Planned,
    /// It cannot be told yet.
    Unknown,
}

impl Sample {
    /// What the time between two samples was. An end that is down makes it down: an outage is
    /// counted a little too long rather than too short.
    const fn and(self, next: Self) -> Self {
        match (self, next) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Up, Self::Up) => Self::Up,
            (Self::Down, _) | (_, Self::Down) => Self::Down,
            (Self::Planned, _) | (_, Self::Planned) => Self::Planned,
        }
    }

    const fn tally(self, ms: u64) -> Tally {
        let (mut up_ms, mut down_ms, mut planned_ms) = (0, 0, 0);
        match self {
            Self::Up => up_ms = ms,
            Self::Down => down_ms = ms,
            Self::Planned => planned_ms = ms,
            Self::Unknown => {}
        }
        Tally { good: 0, bad: 0, in_time: 0, good_down: 0, up_ms, down_ms, planned_ms }
    }
}

/// The account that one process keeps.
#[derive(Debug)]
pub struct Accountant {
    clock: AxisClock,
    epoch: u64,
    /// Whether the time is ours to keep.
    keeps_time: bool,
    ledgers: BTreeMap<String, Ledger>,
    pending: BTreeMap<(u64, String), Tally>,
    /// When was sampled last, and what was seen.
    sampled: Option<(Axis, BTreeMap<String, Sample>)>,
    dropped: u64,
    /// All that is on disk, by service, and until when.
    written: BTreeMap<String, (Axis, Tally)>,
}

impl Accountant {
    /// The account as it was taken over at `now`.
    #[must_use]
    pub fn new(taken: &Taken, now: &Clocks, kept: Vec<Kept>) -> Self {
        let written = kept.iter().map(|k| (k.service.clone(), (taken.axis_ms, k.total)));
        let written = written.collect();
        let ledgers = kept.into_iter().map(|kept| (kept.service.clone(), Ledger::of(kept)));
        Self {
            clock: AxisClock::new(taken, now),
            epoch: taken.epoch,
            keeps_time: true,
            ledgers: ledgers.collect(),
            pending: BTreeMap::new(),
            sampled: None,
            dropped: 0,
            written,
        }
    }

    /// Under which epoch it is kept.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the time is still ours to keep.
    #[must_use]
    pub const fn keeps_time(&self) -> bool {
        self.keeps_time
    }

    /// Minutes of services that could not be kept, for want of a store.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Where the axis is.
    #[must_use]
    pub fn at(&self, now: &Clocks) -> Axis {
        self.clock.at(now)
    }

    /// What people call a moment of the axis.
    #[must_use]
    pub fn unix_ms(&self, at: Axis, now: &Clocks) -> u64 {
        self.clock.unix_ms(at, now)
    }

    /// The ledger of a service that was seen.
    #[must_use]
    pub fn ledger(&self, service: &str) -> Option<&Ledger> {
        self.ledgers.get(service)
    }

    /// What was counted for a service in the last so long; nothing for one that is not known.
    #[must_use]
    pub fn window(&self, service: &str, now: Axis, span: Duration) -> Window {
        self.ledgers.get(service).map(|ledger| ledger.window(now, span)).unwrap_or_default()
    }

    /// All of a service that is on disk. Unlike what a crash may still take away it only grows,
    /// as counters of metrics must.
    #[must_use]
    pub fn written(&self, service: &str) -> Window {
        let Some((until, tally)) = self.written.get(service) else { return Window::default() };
        let since = self.ledgers.get(service).map_or(*until, Ledger::since_ms);
        Window { tally: *tally, elapsed_ms: until.saturating_sub(since) }
    }

    /// When was sampled last; what is asked of the time after it says nothing.
    #[must_use]
    pub fn sampled_at(&self) -> Option<Axis> {
        self.sampled.as_ref().map(|(at, _)| *at)
    }

    /// Takes what services are now. Gives by how many milliseconds the wall clock was stepped
    /// since the last sample, if it was.
    pub fn sample(&mut self, now: &Clocks, states: BTreeMap<String, Sample>) -> Option<i64> {
        let step = self.clock.step(now);
        let at = self.clock.at(now);
        for service in states.keys() {
            let begin = || Ledger::new(at);
            self.ledgers.entry(service.clone()).or_insert_with(begin);
        }
        if let Some((since, before)) = &self.sampled
            && self.keeps_time
            && at.saturating_sub(*since) <= LAPSE_MS
        {
            let took = at.saturating_sub(*since);
            let between = states.iter().filter_map(|(service, next)| {
                Some((service.clone(), before.get(service)?.and(*next).tally(took)))
            });
            for (service, tally) in between.collect::<Vec<_>>() {
                self.add(service, at, tally);
            }
        }
        self.sampled = Some((at, states));
        step
    }

    /// Counts requests: good, bad, and in time of the good ones.
    pub fn count(&mut self, now: &Clocks, service: &str, [good, bad, in_time]: [u64; 3]) {
        let at = self.clock.at(now);
        self.ledgers.entry(service.to_owned()).or_insert_with(|| Ledger::new(at));
        let seen = self.sampled.as_ref().and_then(|(_, states)| states.get(service));
        let good_down = if seen == Some(&Sample::Down) { good } else { 0 };
        let tally = Tally { good, bad, in_time, good_down, ..Tally::default() };
        self.add(service.to_owned(), at, tally);
    }

    fn add(&mut self, service: String, at: Axis, tally: Tally) {
        if tally.is_empty() {
            return;
        }
        let minute = at / MINUTE_MS;
        if let Some(ledger) = self.ledgers.get_mut(&service) {
            ledger.add(minute, tally);
        }
        *self.pending.entry((minute, service)).or_default() += tally;
        while self.pending.len() > PENDING {
            self.pending.pop_first();
            self.dropped += 1;
        }
    }

    /// What is to be written: at most once until it was absorbed or restored.
    pub fn deltas(&mut self, now: &Clocks) -> Vec<Delta> {
        let at = self.clock.at(now);
        let (minute, into) = (at / MINUTE_MS, at % MINUTE_MS);
        if into < SETTLES_MS && minute > 0 {
            let sampled = self.sampled.iter().flat_map(|(_, states)| states.keys());
            for service in sampled.cloned().collect::<Vec<_>>() {
                let known = self.ledgers.get(&service).map_or(at, Ledger::since_ms);
                if known / MINUTE_MS < minute {
                    self.pending.entry((minute - 1, service)).or_default();
                }
            }
        }
        let pending = std::mem::take(&mut self.pending).into_iter();
        pending
            .map(|((minute, service), tally)| {
                let since_ms = self.ledgers.get(&service).map_or(at, Ledger::since_ms);
                Delta { service, since_ms, minute, tally }
            })
            .collect()
    }

    /// They could not be written: another time.
    pub fn restore(&mut self, deltas: Vec<Delta>) {
        for Delta { service, minute, tally, .. } in
            deltas.into_iter().filter(|d| !d.tally.is_empty())
        {
            *self.pending.entry((minute, service)).or_default() += tally;
        }
    }

    /// They were written, `until` where the axis was then, and this is what stands there now:
    /// what other processes have counted included, what came here since not.
    pub fn absorb(&mut self, until: Axis, added: &Added) {
        for row in &added.totals {
            self.written.insert(row.service.clone(), (until, row.tally));
        }
        self.keeps_time &= !added.fenced;
        let since = |service: &str, of: &dyn Fn(u64) -> bool| -> Tally {
            let ours = self.pending.iter().filter(|((at, s), _)| s == service && of(*at));
            ours.map(|(_, tally)| *tally).sum()
        };
        let mut sets = Vec::new();
        for row in &added.minutes {
            sets.push((row, 0, since(&row.service, &|at| at == row.minute)));
        }
        for row in &added.hours {
            sets.push((row, 1, since(&row.service, &|at| at / 60 == row.minute)));
        }
        for row in &added.totals {
            sets.push((row, 2, since(&row.service, &|_| true)));
        }
        for (row, table, more) in sets {
            let Some(ledger) = self.ledgers.get_mut(&row.service) else { continue };
            let mut stands = row.tally;
            stands += more;
            match table {
                0 => ledger.set_minute(row.minute, stands),
                1 => ledger.set_hour(row.minute, stands),
                _ => ledger.set_total(stands),
            }
        }
    }

    /// Forgets what is too old, and services that have nothing left and are not sampled.
    pub fn trim(&mut self, now: &Clocks) {
        let at = self.clock.at(now);
        let sampled = self.sampled.as_ref().map(|(_, states)| states);
        let known = |service: &String| sampled.is_some_and(|states| states.contains_key(service));
        self.ledgers.retain(|service, ledger| {
            ledger.trim(at);
            !ledger.is_bare() || known(service)
        });
        self.written.retain(|service, _| self.ledgers.contains_key(service));
    }
}

#[cfg(test)]
mod tests;
