//! The limit of one replica. Pure: looks in, a limit out.
//!
//! ```text
//!   unproven ── all is well at the limit: twice as much ──┐
//!      │                                                  │
//!      ├── no answers at all at the limit: a quarter more ┘
//!      │
//!      └── a queue in the replica ──► found: what it works on
//!                                       │  all is well at the limit: a little more, after
//!                                       │  a pause that grows each time that was too much
//!                                       └── a queue: what it works on
//! ```
//! Until a queue is seen the limit is only a brake on bursts: a replica without a queue is
//! never held back for more than a few times to first token. A cut that costs answers
//! was none of a queue, and is taken back.

use super::seen::Seen;
use super::times::{Normal, Reading, Window};
use evenkeel_domain::room::{Times, Told};
use std::time::{Duration, Instant};

/// Where a replica begins of which nothing is known.
const START: f64 = 16.0;
/// More than any connection table holds: as good as none.
const MOST: f64 = 1e6;
/// Times to first token above this multiple of the normal ones are a queue (Gradient2's
/// tolerance).
const QUEUE: f64 = 1.5;
/// The part that is worked on above which a queue is none worth a cut.
const MOSTLY: f64 = 0.8;
/// … and up to this one all is well with a limit that was found.
const WELL: f64 = 1.25;
/// Times that make a window, when it lasted long enough.
const ENOUGH: u64 = 4;
/// … and twice as many where two windows are compared.
const COMPARED: u64 = 8;
/// A window lasts so long at least, and one and a half times to first token.
const WINDOW: Duration = Duration::from_millis(500);
/// After so long even one time is a window.
const LONG_WINDOW: Duration = Duration::from_secs(2);
/// A cut that could not be judged for so long stays.
const UNJUDGED: Duration = Duration::from_secs(20);
/// What a replica said of its queue counts for so long.
const TOLD: Duration = Duration::from_secs(3);
/// More under way than is worked on by this much is a queue.
const QUEUED: f64 = 1.25;
/// Looks at what is worked on while something waits: the highest of them is the truth, the
/// others were taken between two requests.
const LOOKS: usize = 3;
/// Pause before a little more is tried, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// How long times are not believed after they had been wrong, at first and at most.
const DISTRUST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// A cut that has yet to prove right.
#[derive(Debug)]
struct Cut {
    at: Instant,
    ratio: f64,
    /// Answers a second below which it was wrong: half way to what fewer attempts would
    /// bring if each took as long as before.
    rate: f64,
    before: f64,
    found: bool,
    /// The replica has no more under way than the new limit.
    settled: bool,
}

/// What is tried above a limit that was found.
#[derive(Debug)]
struct More {
    not_before: Instant,
    pause: Duration,
    step: f64,
    /// The last one is still in force.
    holds: bool,
}

/// Finds the limit of one replica.
#[derive(Debug)]
pub(super) struct Controller {
    limit: f64,
    found: bool,
    normal: Normal,
    window: Window,
    busy: u64,
    /// Since when it has had something to do.
    busy_since: Option<Instant>,
    told_at: Option<Instant>,
    /// The last look found something waiting.
    waited: bool,
    running: [u32; LOOKS],
    cut: Option<Cut>,
    distrust: Duration,
    believe_from: Instant,
    more: More,
    /// At the last look it had more than it could start.
    queued: bool,
}

impl Controller {
    /// For a replica of which nothing is known. `comparable`: its times mean something, as
    /// those of inference do; else only what it tells counts, and nothing limits it before.
    pub(super) fn new(comparable: bool, now: Instant) -> Self {
        Self {
            limit: if comparable { START } else { f64::INFINITY },
            found: false,
            normal: Normal::default(),
            window: Window::from(now),
            busy: 0,
            busy_since: None,
            told_at: None,
            waited: false,
            running: [0; LOOKS],
            cut: None,
            distrust: DISTRUST.0,
            believe_from: now,
            more: More { not_before: now, pause: PAUSE.0, step: 1.0, holds: false },
            queued: false,
        }
    }

    /// The limit now; 0 for none.
    pub(super) fn limit(&self) -> u32 {
        if self.limit.is_finite() { self.limit as u32 } else { 0 }
    }

    /// Whether a queue was seen, so that the limit is what the replica can start.
    pub(super) fn is_found(&self) -> bool {
        self.found
    }

    /// Whether the replica had a queue at the last look that says something of its times.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Takes a look. True when times of attempts begun before now say nothing any more.
    pub(super) fn look(&mut self, seen: &Seen) -> bool {
        let busy = seen.busy.saturating_sub(std::mem::replace(&mut self.busy, seen.busy));
        self.busy_since = (seen.in_flight > 0).then(|| self.busy_since.unwrap_or(seen.now));
        let has_had = self.busy_since.map(|since| seen.now.saturating_duration_since(since));
        self.window.add(seen, has_had.unwrap_or_default());
        self.queued = f64::from(seen.in_flight) > self.limit * QUEUED + 1.0;
        if seen.in_flight == 0 && self.window.times.count() == 0 {
            self.window = Window::after(seen);
            return false;
        }
        let is_new = self.normal.is_new(&self.window.times);
        self.normal.learn_shorter(&seen.times);
        let told = seen.told.filter(|told| seen.now.saturating_duration_since(told.at) < TOLD);
        if let Some(told) = told {
            self.cut = None;
            self.beside_told(&told, seen);
            if self.told_at.replace(told.at) != Some(told.at) {
                self.by_told(&told, seen);
            }
            return false;
        }
        if !self.limit.is_finite() {
            return false;
        }
        if busy > 0 && 2.0 * f64::from(seen.in_flight) >= self.limit {
            self.cut_to(f64::from(seen.in_flight), f64::from(seen.in_flight), seen.now);
        }
        if self.cut.is_some() {
            return self.judge_cut(seen);
        }
        self.by_times(seen, is_new)
    }

    /// What it tells comes seldom; meanwhile times let a burst through.
    fn beside_told(&mut self, told: &Told, seen: &Seen) {
        let Some((window, read)) = self.close_window(seen, ENOUGH) else { return };
        if told.waiting > 0 {
            return;
        }
        self.normal.learn_longer(&window);
        if seen.wanted && !self.found && read.ratio < QUEUE {
            self.grow(seen.now);
        }
    }

    /// The replica tells of its queue: nothing has to be guessed.
    fn by_told(&mut self, told: &Told, seen: &Seen) {
        let all = told.running + told.waiting;
        // Others may send there, too: of what it works on, our share is ours.
        let share = if all > told.ours { f64::from(told.ours) / f64::from(all) } else { 1.0 };
        if let Some(slots) = told.slots {
            let others = f64::from(all.saturating_sub(told.ours));
            (self.limit, self.found) = ((f64::from(slots) - others).max(1.0), true);
            return;
        }
        if told.waiting == 0 {
            self.running = [0; LOOKS];
            // One look may fall between two requests.
            let calm = !std::mem::replace(&mut self.waited, false) || !self.found;
            if seen.wanted && calm && !told.full {
                self.grow(seen.now);
            }
            return;
        }
        self.running.rotate_right(1);
        self.running[0] = told.running;
        let many = told.waiting > told.running / 4 + 1;
        self.queued |= many;
        // A request or two may just be on their way through its queue.
        if std::mem::replace(&mut self.waited, true) || many {
            let running = self.running.iter().max().copied().unwrap_or(0);
            let under_way = f64::from(seen.in_flight);
            self.cut_to((f64::from(running) * share).ceil(), under_way, seen.now);
        }
    }

    /// Judges by times to first token.
    fn by_times(&mut self, seen: &Seen, is_new: bool) -> bool {
        let silent = self.window.times.count() == 0 && self.window.age(seen.now) >= WINDOW;
        if silent && seen.wanted && !self.found {
            // Nothing speaks against it, and whoever waits must not wait for long.
            self.limit = (self.limit * 1.25).ceil().min(MOST);
            self.window = Window::after(seen);
            return false;
        }
        let Some((window, read)) = self.close_window(seen, ENOUGH) else { return false };
        if is_new {
            return false;
        }
        if read.paused {
            // Attempts begun before it went on tell of the pause.
            return read.ratio > QUEUE;
        }
        if read.ratio > QUEUE {
            return seen.now >= self.believe_from && self.queue_seen(read, seen);
        }
        if !seen.wanted {
            self.normal.learn_longer(&window);
        } else if (read.ratio < WELL || !self.found)
            && window.count() * 2 >= u64::from(seen.unanswered)
        {
            self.grow(seen.now);
        }
        false
    }

    fn queue_seen(&mut self, read: Reading, seen: &Seen) -> bool {
        if read.works_on > MOSTLY * read.in_flight {
            // It works on nearly all of them, only slower.
            if seen.wanted && !self.found {
                self.grow(seen.now);
            }
            return false;
        }
        self.cut = Some(Cut {
            at: seen.now,
            ratio: read.ratio,
            rate: read.rate * (1.0 + read.works_on / read.in_flight) / 2.0,
            before: self.limit,
            found: self.found,
            settled: false,
        });
        let under_way = read.in_flight.max(f64::from(seen.in_flight));
        self.cut_to(read.works_on.ceil(), under_way, seen.now);
        self.normal.begin_anew();
        true
    }

    /// Whether the last cut was right: a shorter queue costs no answers. True when times of
    /// attempts begun before now say nothing any more.
    fn judge_cut(&mut self, seen: &Seen) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        if !cut.settled {
            cut.settled = f64::from(seen.in_flight) <= self.limit;
            self.window = Window::after(seen);
            return false;
        }
        let long_ago = seen.now.saturating_duration_since(cut.at) > UNJUDGED;
        let Some((_, read)) = self.close_window(seen, COMPARED) else {
            if long_ago {
                self.cut = None;
            }
            return false;
        };
        if read.paused && !long_ago {
            return true;
        }
        let Some(cut) = self.cut.take() else { return false };
        if seen.wanted && read.rate < cut.rate && read.ratio > WELL {
            self.normal.accept(cut.ratio);
            self.normal.begin_anew();
            (self.limit, self.found) = (cut.before, cut.found);
            self.believe_from = seen.now + self.distrust;
            self.distrust = (self.distrust * 2).min(DISTRUST.1);
        }
        false
    }

    /// All is well with all it may have: more.
    fn grow(&mut self, now: Instant) {
        if !self.found {
            self.limit = (self.limit * 2.0).min(MOST);
            return;
        }
        if now < self.more.not_before {
            return;
        }
        if std::mem::replace(&mut self.more.holds, true) {
            // The last one did no harm: it is another replica than it was.
            self.more.pause = PAUSE.0;
            self.more.step *= 2.0;
        }
        self.limit = (self.limit + self.more.step).min(MOST);
        self.more.not_before = now + self.more.pause;
    }

    /// `under_way`: what it had when that was seen. Only if it was more there was a queue; a
    /// limit that nobody had reached made none.
    fn cut_to(&mut self, works_on: f64, under_way: f64, now: Instant) {
        let limit = works_on.max(1.0);
        if limit >= self.limit {
            return;
        }
        self.queued |= under_way > limit * QUEUED + 1.0;
        if std::mem::replace(&mut self.more.holds, false) {
            self.more.pause = (self.more.pause * 2).min(PAUSE.1);
        }
        (self.limit, self.found) = (limit, true);
        self.more.step = 1.0;
        self.more.not_before = now + self.more.pause;
    }

    /// Ends the window where it says enough.
    fn close_window(&mut self, seen: &Seen, enough: u64) -> Option<(Times, Reading)> {
        let (times, age) = (&self.window.times, self.window.age(seen.now));
        let count = times.count();
        let long = WINDOW.max(times.mean().mul_f32(1.5));
        let all_are_heard = count * 2 >= u64::from(seen.unanswered) && enough == ENOUGH;
        let says_enough = count >= enough && (all_are_heard || age >= long);
        if !says_enough && (count == 0 || age < LONG_WINDOW.max(long * 2)) {
            return None;
        }
        let window = std::mem::replace(&mut self.window, Window::after(seen));
        let read = self.normal.read(&window, seen);
        Some((window.times, read))
    }
}
