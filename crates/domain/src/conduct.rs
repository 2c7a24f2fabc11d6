//! How a replica's answers come, beside how they end: what it is compared with its peers by.
//!
//! Written on the request path, one or two additions an attempt; read by the health authority
//! once a second.

use crate::clock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Classes of requests by size: what fails for long prompts only shows in its own class.
pub const SIZES: usize = 8;
/// Classes of times that are comparable among themselves only.
pub const TIMES: usize = 17;
/// The class of gaps between tokens; those below are the classes of first tokens and whole
/// answers.
pub const GAPS: usize = TIMES - 1;
/// Models whose names are remembered at once.
const NAMES: usize = 16;
/// Parts of an octave in which logarithms are summed.
const PARTS: f64 = 1024.0;

/// What a replica did since it was configured.
#[derive(Debug, Default)]
pub struct Conduct {
    good: [AtomicU64; SIZES],
    faults: [AtomicU64; SIZES],
    rows: [AtomicU64; SIZES],
    counts: [AtomicU64; TIMES],
    logs: [AtomicU64; TIMES],
    answered: AtomicU64,
    passed_over: AtomicU64,
    /// The latest start of an attempt that was answered, by size (see [`clock::millis`]).
    youngest_ms: [AtomicU64; SIZES],
    named: [AtomicU64; NAMES],
}

/// One look at it; two of them subtract to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Attempts that ended well, by size of the request.
    pub good: [u64; SIZES],
    /// Attempts that blame it, by size of the request.
    pub faults: [u64; SIZES],
    /// Those since the last good one; of a window, as it was at its end.
    pub rows: [u64; SIZES],
    /// Times, by class: how many, and the sum of their logarithms.
    pub times: [(u64, u64); TIMES],
    /// Attempts whose answer began.
    pub answered: u64,
    /// Attempts that waited for long while younger ones were answered.
    pub passed_over: u64,
}

impl Conduct {
    /// Another start of the replica: what the one before failed at says nothing of it.
    pub(crate) fn begin_anew(&self) {
        for row in &self.rows {
            row.store(0, Relaxed);
        }
    }

    /// An attempt for a request of this size ended so. Silence is left out: a pause of the
    /// process meets all sizes alike.
    pub fn ended(&self, size: usize, good: bool) {
        let counts = if good { &self.good } else { &self.faults };
        if let Some(count) = counts.get(size) {
            count.fetch_add(1, Relaxed);
        }
        if let Some(row) = self.rows.get(size) {
            match good {
                false => drop(row.fetch_add(1, Relaxed)),
                // Read first: the line is shared, and hardly ever anything else.
                true if row.load(Relaxed) != 0 => row.store(0, Relaxed),
                true => {}
            }
        }
    }

    /// A time, comparable within its class.
    pub fn took(&self, class: usize, time: Duration) {
        let (Some(count), Some(sum)) = (self.counts.get(class), self.logs.get(class)) else {
            return;
        };
        // A mean of logarithms is that of ordinary times: one late answer does not move it.
        let log = (time.as_micros().max(1) as f64).log2() * PARTS;
        count.fetch_add(1, Relaxed);
        sum.fetch_add(log as u64, Relaxed);
    }

    /// An attempt begun at `started` was answered.
    pub fn answered(&self, size: usize, started: Instant) {
        self.answered.fetch_add(1, Relaxed);
        if let Some(youngest) = self.youngest_ms.get(size) {
            youngest.fetch_max(clock::millis(started), Relaxed);
        }
    }

    /// An attempt begun at `started` waits for far longer than is normal. Where a younger one
    /// of its size was answered meanwhile that is no queue: somebody forgot it.
    pub fn late(&self, size: usize, started: Instant) {
        let youngest = self.youngest_ms.get(size).map_or(0, |y| y.load(Relaxed));
        if youngest > clock::millis(started) {
            self.passed_over.fetch_add(1, Relaxed);
        }
    }

    /// Notes that it answered with this pair of names, given as hashes of what was asked and
    /// what was said. Whether that is news.
    pub fn named(&self, asked: u64, said: u64) -> bool {
        let pair = asked.rotate_left(17) ^ said;
        let slot = &self.named[(asked % NAMES as u64) as usize];
        slot.load(Relaxed) != pair && slot.swap(pair, Relaxed) != pair
    }

    /// As it is now.
    #[must_use]
    pub fn look(&self) -> Look {
        let all = |counts: &[AtomicU64; SIZES]| std::array::from_fn(|at| counts[at].load(Relaxed));
        Look {
            good: all(&self.good),
            faults: all(&self.faults),
            rows: all(&self.rows),
            times: std::array::from_fn(|at| {
                (self.counts[at].load(Relaxed), self.logs[at].load(Relaxed))
            }),
            answered: self.answered.load(Relaxed),
            passed_over: self.passed_over.load(Relaxed),
        }
    }
}

impl Look {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: &[u64; SIZES], then: &[u64; SIZES]| {
            std::array::from_fn(|at| now[at].saturating_sub(then[at]))
        };
        Self {
            good: less(&self.good, &earlier.good),
            faults: less(&self.faults, &earlier.faults),
            rows: self.rows,
            times: std::array::from_fn(|at| {
                let ((n, sum), (m, before)) = (self.times[at], earlier.times[at]);
                (n.saturating_sub(m), sum.saturating_sub(before))
            }),
            answered: self.answered.saturating_sub(earlier.answered),
            passed_over: self.passed_over.saturating_sub(earlier.passed_over),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let more = |a: &[u64; SIZES], b: &[u64; SIZES]| std::array::from_fn(|at| a[at] + b[at]);
        Self {
            good: more(&self.good, &other.good),
            faults: more(&self.faults, &other.faults),
            rows: self.rows,
            times: std::array::from_fn(|at| {
                let ((n, sum), (m, more)) = (self.times[at], other.times[at]);
                (n + m, sum + more)
            }),
            answered: self.answered + other.answered,
            passed_over: self.passed_over + other.passed_over,
        }
    }

    /// How long its ordinary answer took in these classes, and how long its peers' did for
    /// the same mix of work, with how many of its own were compared.
    #[must_use]
    pub fn beside(
        &self,
        peers: &Self,
        classes: std::ops::Range<usize>,
    ) -> Option<(Duration, Duration, u64)> {
        let (mut own, mut theirs, mut count) = (0.0, 0.0, 0);
        for at in classes {
            let ((n, sum), (m, others)) = (self.times[at], peers.times[at]);
            if n > 0 && m > 0 {
                own += sum as f64;
                theirs += others as f64 / m as f64 * n as f64;
                count += n;
            }
        }
        let time = |logs: f64| Duration::from_micros((logs / count as f64 / PARTS).exp2() as u64);
        (count > 0).then(|| (time(own), time(theirs), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_compared_with_like() {
        let [own, peers] = [Conduct::default(), Conduct::default()];
        let ms = Duration::from_millis;
        (0..30).for_each(|_| own.took(3, ms(800)));
        (0..10).for_each(|_| peers.took(3, ms(800)));
        (0..90).for_each(|_| peers.took(0, ms(20)));
        let (mine, theirs, count) = own.look().beside(&peers.look(), 0..GAPS).unwrap();
        assert_eq!(count, 30);
        assert!(mine.abs_diff(theirs) < ms(5), "long work is not slow: {mine:?} {theirs:?}");
        own.took(3, Duration::from_secs(900));
        let (mine, ..) = own.look().beside(&peers.look(), 0..GAPS).unwrap();
        assert!(mine < ms(1100), "one late answer does not make it slow: {mine:?}");
        assert_eq!(own.look().beside(&peers.look(), GAPS..TIMES), None);
    }

    #[test]
    fn another_start_begins_with_no_faults_in_a_row() {
        let conduct = Conduct::default();
        (0..5).for_each(|_| conduct.ended(2, false));
        assert_eq!(conduct.look().rows[2], 5);
        conduct.begin_anew();
        assert_eq!(conduct.look().rows[2], 0);
        conduct.ended(2, false);
        assert_eq!(conduct.look().rows[2], 1);
    }

    #[test]
    fn a_queue_passes_nobody_over() {
        let conduct = Conduct::default();
        let at = |ms| clock::now() + Duration::from_millis(ms);
        conduct.answered(0, at(10_000));
        conduct.late(0, at(11_000));
        conduct.late(1, at(9000));
        assert_eq!(conduct.look().passed_over, 0);
        conduct.late(0, at(9000));
        assert_eq!(conduct.look().passed_over, 1);
    }

    #[test]
    fn only_another_name_is_news() {
        let conduct = Conduct::default();
        assert!(conduct.named(1, 2) && !conduct.named(1, 2));
        assert!(conduct.named(1, 3) && conduct.named(1, 2));
    }
}
