//! Each replica beside its peers: what it does that they, at the same moment and for the same
//! kind of work, do not.
//!
//! A wave of long prompts or a slow network meets all alike, and so speaks against nobody.

use evenkeel_domain::conduct::{GAPS, Look, SIZES, TIMES};
use evenkeel_domain::health::Timed;
use evenkeel_domain::{Pool, Replica, SignalKind};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks (one a second) in which times are compared, the first that have enough of them: one
/// that has become slow gets little work, and its faster past would outvote it.
const SPANS: [usize; 3] = [1, 2, 4];
const PACE_LOOKS: usize = SPANS[SPANS.len() - 1];
/// Times that are enough.
const ENOUGH: u64 = 20;
/// Looks in which outcomes are compared: they are fewer.
const LOOKS: usize = 20;
/// A queue this long ago has been worked off, or is still seen: looks come once a second.
const JUST_NOW: Duration = Duration::from_millis(1500);

type Spans = [Option<Look>; SPANS.len()];

/// The last looks at one replica.
#[derive(Default)]
struct Window {
    looks: VecDeque<Look>,
    /// For how many of them it has had no queue.
    calm: usize,
}

/// What came of one replica lately.
#[derive(Clone, Copy)]
struct Recent {
    key: u64,
    /// What it did over each of [`SPANS`].
    spans: Spans,
    /// The same for how long its answers took: `None` while it had a queue of its own. The
    /// next token of a stream waits in no queue.
    answers: Spans,
    long: Look,
}

/// The replicas of one service.
#[derive(Default)]
pub(super) struct Compare {
    windows: HashMap<u64, Window>,
}

impl Window {
    fn look(&mut self, now: Look, queued: bool) -> (Spans, Spans, Look) {
        self.calm = if queued { 0 } else { (self.calm + 1).min(PACE_LOOKS + 1) };
        let long = self.looks.front().map(|then| now.since(then)).unwrap_or_default();
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(now);
        (self.spans(now, self.looks.len()), self.spans(now, self.calm), long)
    }

    /// What came over each span within the last so many looks.
    fn spans(&self, now: Look, looks: usize) -> Spans {
        SPANS.map(|span| {
            let back = span.min(looks.checked_sub(1)?);
            let then = self.looks.len().checked_sub(back + 1)?;
            (back > 0).then(|| self.looks.get(then).map(|then| now.since(then)))?
        })
    }
}

impl Compare {
    /// What is to be told of each replica.
    pub(super) fn look(&mut self, pool: &Pool, now: Instant) -> Vec<(u64, SignalKind)> {
        let members = pool.members();
        self.windows.retain(|key, _| members.iter().any(|r| r.id.key == *key));
        let recent: Vec<Recent> = members.iter().map(|r| self.recent(r, now)).collect();
        let mut found = Vec::new();
        for own in &recent {
            let others = || recent.iter().filter(|other| other.key != own.key);
            let sum = |of: &dyn Fn(&Recent) -> Option<Look>| {
                others().filter_map(of).fold(Look::default(), |sum, look| sum.plus(&look))
            };
            for of in [Timed::Answers, Timed::Tokens] {
                let spans = (0..SPANS.len()).filter_map(|span| {
                    let peers = sum(&|other| other.timed(of)[span]);
                    own.timed(of)[span]?.beside(&peers, classes(of))
                });
                if let Some((mine, peers, samples)) = enough(spans) {
                    found.push((own.key, SignalKind::Pace { of, own: mine, peers, samples }));
                }
            }
            let peers = sum(&|other| Some(other.long));
            found.extend(sizes(&own.long, &peers).map(|kind| (own.key, kind)));
            found.push((own.key, passed_over(&own.long, &peers)));
        }
        found
    }

    /// One that had a queue of its own answers late because it was given too much, which is
    /// no fault of its.
    fn recent(&mut self, replica: &Arc<Replica>, now: Instant) -> Recent {
        let key = replica.id.key;
        let queued = replica.live.room.was_queued(now, JUST_NOW);
        let window = self.windows.entry(key).or_default();
        let (spans, answers, long) = window.look(replica.live.conduct.look(), queued);
        Recent { key, spans, answers, long }
    }
}

impl Recent {
    fn timed(&self, of: Timed) -> &Spans {
        match of {
            Timed::Answers => &self.answers,
            Timed::Tokens => &self.spans,
        }
    }
}

fn classes(of: Timed) -> std::ops::Range<usize> {
    match of {
        Timed::Answers => 0..GAPS,
        Timed::Tokens => GAPS..TIMES,
    }
}

/// The first comparison of enough times, or else the last.
fn enough(
    mut all: impl Iterator<Item = (Duration, Duration, u64)>,
) -> Option<(Duration, Duration, u64)> {
    let mut last = None;
    all.find(|found| {
        last = Some(*found);
        found.2 >= ENOUGH
    })
    .or(last)
}

fn sizes<'a>(own: &'a Look, peers: &'a Look) -> impl Iterator<Item = SignalKind> + use<'a> {
    (0..SIZES).filter(|class| own.good[*class] + own.faults[*class] > 0).map(|class| {
        let peers = (peers.good[class], peers.faults[class]);
        SignalKind::Size { class, row: own.rows[class], peers }
    })
}

fn passed_over(own: &Look, peers: &Look) -> SignalKind {
    let of = |look: &Look| (look.passed_over, look.answered);
    SignalKind::PassedOver { own: of(own), peers: of(peers) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::testing::at;

    #[test]
    fn who_answers_late_for_its_queue_is_not_called_slow() {
        let pool = Pool::new("s".into());
        let replicas = [1, 2].map(|key| Arc::new(super::super::tests::replica(key)));
        pool.set_members(replicas.to_vec());
        let mut compare = Compare::default();
        let mut look = |first: [u64; 2], at_ms: u64| -> Vec<(u64, Duration, Duration)> {
            for (replica, ms) in replicas.iter().zip(first) {
                let took = Duration::from_millis(ms);
                (0..20).for_each(|_| replica.live.conduct.took(0, took));
            }
            let told = compare.look(&pool, at(at_ms)).into_iter();
            told.filter_map(|(key, kind)| match kind {
                SignalKind::Pace { own, peers, .. } => Some((key, own, peers)),
                _ => None,
            })
            .collect()
        };
        assert!(look([50, 50], 1000).is_empty(), "one look is no comparison");
        assert_eq!(look([900, 50], 2000).len(), 2);
        replicas[0].live.room.set_queued(at(2500));
        assert!(look([900, 50], 3000).is_empty(), "there is nobody to compare with");
        assert!(look([50, 50], 4000).is_empty(), "its times from before do not count");
        let paces = look([900, 50], 5000);
        assert!(paces.iter().any(|(key, own, peers)| *key == 1 && *own > *peers * 5), "{paces:?}");
    }

    #[test]
    fn a_queue_excuses_no_gaps_between_tokens() {
        let pool = Pool::new("s".into());
        let replicas = [1, 2].map(|key| Arc::new(super::super::tests::replica(key)));
        pool.set_members(replicas.to_vec());
        let mut compare = Compare::default();
        compare.look(&pool, at(0));
        for (replica, ms) in replicas.iter().zip([200, 5]) {
            let took = Duration::from_millis(ms);
            (0..20).for_each(|_| replica.live.conduct.took(GAPS, took));
            (0..20).for_each(|_| replica.live.conduct.took(0, took));
        }
        replicas[0].live.room.set_queued(at(900));
        let told = compare.look(&pool, at(1000));
        let pace = |wanted| move |(_, kind): &(u64, SignalKind)| matches!(kind, SignalKind::Pace { of, .. } if *of == wanted);
        assert!(told.iter().any(pace(Timed::Tokens)), "{told:?}");
        assert!(!told.iter().any(pace(Timed::Answers)), "{told:?}");
    }

    #[test]
    fn sizes_and_those_passed_over_are_told_beside_the_peers() {
        let pool = Pool::new("s".into());
        let replicas = [1, 2, 3].map(|key| Arc::new(super::super::tests::replica(key)));
        pool.set_members(replicas.to_vec());
        let mut compare = Compare::default();
        compare.look(&pool, at(0));
        replicas[0].live.conduct.ended(2, false);
        replicas[1].live.conduct.ended(2, true);
        replicas[2].live.conduct.ended(2, true);
        replicas[0].live.conduct.answered(2, at(900));
        replicas[0].live.conduct.late(2, at(100));
        let told = compare.look(&pool, at(1000));
        let size = |(key, kind): &(u64, SignalKind)| {
            *key == 1 && matches!(kind, SignalKind::Size { class: 2, row: 1, peers: (2, 0) })
        };
        assert!(told.iter().any(size), "{told:?}");
        let over = |(key, kind): &(u64, SignalKind)| {
            *key == 1 && matches!(kind, SignalKind::PassedOver { own: (1, 1), peers: (0, 0) })
        };
        assert!(told.iter().any(over), "{told:?}");
    }
}
