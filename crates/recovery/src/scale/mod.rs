//! How many copies a service needs: measurements in, a size and its reason out.
//!
//! ```text
//!   Measures ─► needs, one for each target ─► Series ─► plan ─► size, why
//!                                              │  up:   the least that was asked all the while
//!                                              └─ down: the most that was asked all the while
//! ```
//! Pure: no clock, no I/O. What is not known is not zero: without measurements the size
//! stays, and nothing is taken away before a whole window of them has been seen.

#[cfg(test)]
mod tests;

use evenkeel_domain::settings::Scale;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Stretches that are kept: an hour of changes at every look of half a second. Beyond that
/// the oldest go, and the service is made smaller later.
const STRETCHES: usize = 7200;
/// Looks further apart than this are a gap: what was between is not known.
const GAP: Duration = Duration::from_secs(3);
/// Waiting time of what is no queue before more is started.
const UP_AFTER: Duration = Duration::from_secs(30);
/// A first token is well within its target below this share of it.
const RELIEF: f64 = 0.5;
/// What is under way must fit into this share of the room that is left.
const FITS: f64 = 0.8;

/// One look at a service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measures {
    /// Copies that take traffic.
    pub open: u32,
    /// Requests that wait for a place or a replica.
    pub waiting: u32,
    /// Attempts under way.
    pub under_way: u32,
    /// How many may be, on all that are open; `None` where a bound is not known.
    pub room: Option<u32>,
    /// The 90th percentile of recent times to first token; `None` without enough of them.
    pub first_token: Option<Duration>,
}

impl Measures {
    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.under_way == 0
    }
}

/// What each target asks for: queue, utilisation, time to first token. `None`: not known,
/// or not looked at.
type Needs = [Option<u32>; 3];

/// Names of the targets, in the order of [`Needs`].
const TARGETS: [&str; 3] = ["requests wait", "places are in use", "first tokens are late"];

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    from: Instant,
    until: Instant,
    needs: Needs,
    /// Whether all that is looked at was known.
    whole: bool,
}

/// What was asked for over time, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Series(VecDeque<Stretch>);

impl Series {
    /// Takes a look in; `None` when nothing could be measured.
    pub fn observe(&mut self, settings: &Scale, size: u32, seen: Option<&Measures>, now: Instant) {
        let Some(seen) = seen else { return };
        let needs = needs(settings, size, seen);
        let asked = [
            settings.target_queue.is_some(),
            settings.target_utilisation.is_some(),
            settings.target_first_token.is_some(),
        ];
        let whole = asked.iter().zip(&needs).all(|(asked, need)| !asked || need.is_some());
        match self.0.back_mut() {
            Some(last) if now.duration_since(last.until) > GAP => self.0.clear(),
            Some(last) => {
                // It held until now, whatever comes next.
                last.until = now;
                if (last.needs, last.whole) == (needs, whole) {
                    return;
                }
            }
            None => {}
        }
        if self.0.len() == STRETCHES {
            self.0.pop_front();
        }
        self.0.push_back(Stretch { from: now, until: now, needs, whole });
    }

    /// Forgets what no window looks at.
    pub fn forget(&mut self, before: Instant) {
        while self.0.front().is_some_and(|oldest| oldest.until < before) {
            self.0.pop_front();
        }
    }

    fn is_current(&self, now: Instant) -> bool {
        self.0.back().is_some_and(|last| now.duration_since(last.until) <= GAP)
    }

    /// The stretches of a window that ends now, if all of it was seen.
    fn window(&self, length: Duration, now: Instant) -> Option<Vec<&Stretch>> {
        let covered = self.0.front().is_some_and(|s| now.duration_since(s.from) >= length);
        let within = |s: &&Stretch| now.duration_since(s.until) < length || length.is_zero();
        match length.is_zero() {
            true => self.0.back().map(|last| vec![last]),
            false => covered.then(|| self.0.iter().filter(within).collect()),
        }
    }

    /// The most that one target has asked for without a break.
    fn lasting(&self, target: usize, length: Duration, now: Instant) -> Option<u32> {
        let window = self.window(length, now)?;
        window.iter().map(|stretch| stretch.needs[target]).min().flatten()
    }

    /// What was enough all the while; `None` unless everything was known all the while.
    fn enough(&self, length: Duration, now: Instant) -> Option<u32> {
        let window = self.window(length, now)?;
        if window.iter().any(|stretch| !stretch.whole) {
            return None;
        }
        window.iter().map(|s| s.needs.iter().flatten().max().copied()).max().flatten()
    }
}

fn needs(settings: &Scale, size: u32, seen: &Measures) -> Needs {
    [
        settings.target_queue.map(|target| by_queue(target, size, seen)),
        settings.target_utilisation.and_then(|target| by_use(target, seen)),
        settings.target_first_token.and_then(|target| by_first_token(target, size, seen)),
    ]
}

/// One copy for so many that wait. None waits: one fewer may do, if the rest has room.
fn by_queue(target: f64, size: u32, seen: &Measures) -> u32 {
    let asked = ceil(f64::from(seen.waiting) / target);
    match (asked > seen.open, seen.is_idle()) {
        (true, _) => asked,
        (false, true) => 0,
        (false, false) if seen.waiting == 0 && fits_fewer(size, seen) => size.saturating_sub(1),
        (false, false) => size,
    }
}

/// Whether what is under way would have room on one copy fewer, as far as bounds are known.
fn fits_fewer(size: u32, seen: &Measures) -> bool {
    let Some(room) = seen.room.filter(|_| seen.open > 0) else { return true };
    let each = f64::from(room) / f64::from(seen.open);
    f64::from(seen.under_way) <= FITS * each * f64::from(size.saturating_sub(1))
}

/// As many as have the places for what is under way and what waits.
fn by_use(target: f64, seen: &Measures) -> Option<u32> {
    if seen.is_idle() {
        return Some(0);
    }
    let room = seen.room.filter(|room| *room > 0 && seen.open > 0)?;
    let each = f64::from(room) / f64::from(seen.open);
    Some(ceil(f64::from(seen.under_way + seen.waiting) / (each * target)))
}

/// As many times more as it is too late, of those that serve.
fn by_first_token(target: Duration, size: u32, seen: &Measures) -> Option<u32> {
    if seen.is_idle() {
        return Some(0);
    }
    let ratio = seen.first_token?.as_secs_f64() / target.as_secs_f64();
    Some(match ratio {
        late if late > 1.0 => ceil(f64::from(seen.open) * late.min(2.0)),
        early if early < RELIEF && fits_fewer(size, seen) => size.saturating_sub(1),
        _ => size,
    })
}

fn ceil(n: f64) -> u32 {
    // Rounding errors must not start a copy; `as` saturates.
    (n - 1e-9).ceil().max(0.0) as u32
}

/// What holds a service as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Nothing is changed, and why.
    pub all: Option<String>,
    /// Nothing is taken away, and why.
    pub down: Option<String>,
}

/// What shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Copies that shall run.
    pub size: u32,
    /// Why, in a few words.
    pub why: String,
}

/// What a plan is made from, beside the series.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// How many copies run or are being started.
    pub size: u32,
    /// How many of the lowest numbers take traffic without a gap: those would be left.
    pub steady: u32,
    /// Copies that must go on taking traffic.
    pub floor: u32,
    /// A number that a person has ordered, with who it was.
    pub ordered: Option<(u32, &'a str)>,
    /// Copies that run in any case while an incident is open, with its number.
    pub at_least: Option<(u32, &'a str)>,
    /// What holds it.
    pub held: &'a Held,
}

/// How many copies shall run now. Always within `min` and `max`; an order of a person goes
/// before what is measured, and not beyond these either.
#[must_use]
pub fn plan(settings: &Scale, series: &Series, at: &Situation<'_>, now: Instant) -> Plan {
    let (min, max) = (settings.min, settings.max.max(settings.min));
    let bounded = |size: u32| size.clamp(min, max);
    let stay = |why: String| Plan { size: bounded(at.size), why };
    if let Some((size, owner)) = at.ordered {
        return Plan { size: bounded(size), why: format!("{size} ordered by {owner}") };
    }
    if bounded(at.size) != at.size {
        return stay(format!("between {min} and {max}"));
    }
    if let Some(why) = &at.held.all {
        return stay(format!("held: {why}"));
    }
    if let Some((least, incident)) = at.at_least.filter(|(n, _)| bounded(*n) > at.size) {
        let why = format!("{least} at least while incident {incident} is open");
        return Plan { size: bounded(least), why };
    }
    if !series.is_current(now) {
        return stay("held: nothing is measured".into());
    }
    let (up, target) = rise(settings, series, now);
    if up > at.size {
        let size = bounded(up.min(at.size.saturating_add(settings.step_up)));
        return match size > at.size {
            true => Plan { size, why: format!("{target}: {up} would do") },
            false => stay(format!("{target}, and {max} is the most")),
        };
    }
    fall(settings, series, at, now)
}

/// The most that any target has asked for long enough.
fn rise(settings: &Scale, series: &Series, now: Instant) -> (u32, &'static str) {
    let after =
        |target| settings.up_after.unwrap_or(if target == 0 { Duration::ZERO } else { UP_AFTER });
    let asked = (0..TARGETS.len())
        .map(|target| (series.lasting(target, after(target), now).unwrap_or(0), TARGETS[target]));
    asked.fold((0, TARGETS[0]), |most, one| if one.0 > most.0 { one } else { most })
}

fn fall(settings: &Scale, series: &Series, at: &Situation<'_>, now: Instant) -> Plan {
    let (min, max) = (settings.min, settings.max.max(settings.min));
    let stay = |why: String| Plan { size: at.size, why };
    let Some(enough) = series.enough(settings.down_after, now) else {
        return stay("as measured".into());
    };
    let wanted = enough.max(at.size.saturating_sub(settings.step_down)).clamp(min, max);
    if wanted >= at.size {
        return stay("as measured".into());
    }
    if let Some(why) = &at.held.down {
        return stay(format!("held: {why}"));
    }
    if at.steady < wanted.max(at.floor) {
        return stay(format!("held: only {} of those that would be left serve", at.steady));
    }
    let least = at.at_least.map_or(0, |(n, _)| n);
    let size = wanted.max(at.floor.max(least).min(at.size));
    let lasted = settings.down_after.as_secs_f64();
    Plan { size, why: format!("{enough} were enough for {lasted:.0} s") }
}
