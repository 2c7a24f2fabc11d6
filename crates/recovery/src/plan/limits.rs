//! How much may be done: restart intensity, back-off, how many at once, the floor, the storm
//! stop. Pure: counts and `now` in, a reason to hold out.

use evenkeel_domain::incident::{Millis, Rules, Standing};
use std::collections::BTreeSet;
use std::time::Duration;

/// Why something is not done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Later it may be; why it is not yet.
    Wait(String),
    /// A person has to decide.
    Escalate(String),
    /// Everything stops.
    Storm(String),
}

/// What the limits must know of the present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Replicas of the target's service.
    pub members: usize,
    /// … of which others are being changed right now.
    pub changing: usize,
    /// … of which others take traffic.
    pub others_open: usize,
    /// Whether the target takes traffic itself.
    pub open: bool,
    /// Replicas of all services.
    pub targets: usize,
}

pub(crate) fn ms(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// What stands against changing `target` now; `None` for nothing.
#[must_use]
pub fn check(
    target: &str,
    standing: &Standing,
    fleet: Fleet,
    rules: &Rules,
    now: Millis,
) -> Option<Limit> {
    storm(standing, Some(target), fleet.targets, rules, now)
        .map(Limit::Storm)
        .or_else(|| intensity(target, standing, rules, now).map(Limit::Escalate))
        .or_else(|| backoff(target, standing, rules, now).map(Limit::Wait))
        .or_else(|| at_once(fleet, rules).map(Limit::Wait))
        .or_else(|| floor(fleet, rules).map(Limit::Wait))
}

/// Why everything must stop: so many replicas were changed lately, `one_more` included.
#[must_use]
pub fn storm(
    standing: &Standing,
    one_more: Option<&str>,
    targets: usize,
    rules: &Rules,
    now: Millis,
) -> Option<String> {
    let window = ms(rules.window);
    let recent = standing.changes.iter().filter(|c| now.saturating_sub(c.at) < window);
    let changed: BTreeSet<&str> = recent.map(|c| c.target.as_str()).chain(one_more).collect();
    let share = targets * rules.storm_percent as usize / 100;
    let most = share.max(rules.storm_targets as usize);
    let span = humantime(rules.window);
    (changed.len() > most).then(|| {
        format!(
            "{} of {targets} replicas changed or to be changed within {span}, {most} may be",
            changed.len()
        )
    })
}

fn intensity(target: &str, standing: &Standing, rules: &Rules, now: Millis) -> Option<String> {
    let window = ms(rules.window);
    let of = standing.changes.iter().filter(|c| c.target == target);
    let recent = of.filter(|c| now.saturating_sub(c.at) < window).count();
    let span = humantime(rules.window);
    (recent >= rules.restarts as usize)
        .then(|| format!("restarted {recent} times within {span}: one more is not what helps"))
}

/// The wait doubles with each restart and begins anew after a clean time.
fn backoff(target: &str, standing: &Standing, rules: &Rules, now: Millis) -> Option<String> {
    let mut row = 0u32;
    let mut last: Option<Millis> = None;
    for change in standing.changes.iter().filter(|c| c.target == target) {
        let clean = last.is_some_and(|at| change.at.saturating_sub(at) >= ms(rules.clean));
        row = if clean { 1 } else { row + 1 };
        last = Some(change.at);
    }
    let last = last.filter(|at| now.saturating_sub(*at) < ms(rules.clean))?;
    let doubled = ms(rules.backoff).saturating_mul(1 << (row - 1).min(20));
    let until = last.saturating_add(doubled.min(ms(rules.backoff_max)));
    (now < until)
        .then(|| format!("back-off after {row} restarts: {} s to go", (until - now).div_ceil(1000)))
}

fn at_once(fleet: Fleet, rules: &Rules) -> Option<String> {
    let most = (fleet.members * rules.at_once_percent as usize / 100).max(1);
    (fleet.changing >= most).then(|| {
        format!("{} of its service are being changed, {most} may be at once", fleet.changing)
    })
}

fn floor(fleet: Fleet, rules: &Rules) -> Option<String> {
    let short = fleet.open && fleet.others_open < rules.floor as usize;
    short.then(|| {
        format!("only {} others of its service serve, {} must", fleet.others_open, rules.floor)
    })
}

/// A time for people.
pub(crate) fn humantime(time: Duration) -> String {
    let all = time.as_secs();
    match (all / 3600, all % 3600 / 60, all % 60) {
        (0, 0, 0) => format!("{} ms", time.as_millis()),
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::incident::ChangedBy;
    use proptest::prelude::*;

    const MIN: Millis = 60_000;

    fn fleet(members: usize) -> Fleet {
        Fleet { members, targets: members, others_open: members - 1, ..Fleet::default() }
    }

    fn changed(all: &[(&str, Millis)]) -> Standing {
        let mut standing = Standing::default();
        for (target, at) in all {
            standing.changed(target, ChangedBy::Recovery, *at);
        }
        standing
    }

    fn found(all: &[(&str, Millis)], now: Millis) -> Option<Limit> {
        check("a", &changed(all), fleet(10), &Rules::default(), now)
    }

    #[test]
    fn the_wait_doubles_and_begins_anew_after_ten_clean_minutes() {
        let waits = |all: &[(&str, Millis)], now| matches!(found(all, now), Some(Limit::Wait(_)));
        assert!(!waits(&[], 0));
        assert!(waits(&[("a", 0)], 9_999) && !waits(&[("a", 0)], 10_000));
        let two = [("a", 0), ("a", MIN)];
        assert!(waits(&two, MIN + 19_999) && !waits(&two, MIN + 20_000));
        let clean = [("a", 0), ("a", 11 * MIN)];
        assert!(waits(&clean, 11 * MIN + 9_999) && !waits(&clean, 11 * MIN + 10_000));
        assert!(!waits(&[("b", 0)], 1), "another one's restart");
    }

    #[test]
    fn three_restarts_in_ten_minutes_call_a_person() {
        let three = [("a", 0), ("a", MIN), ("a", 2 * MIN)];
        assert!(matches!(found(&three, 9 * MIN), Some(Limit::Escalate(_))));
        assert!(!matches!(found(&three, 10 * MIN), Some(Limit::Escalate(_))));
    }

    #[test]
    fn a_fourth_replica_of_ten_is_a_storm() {
        let three = [("b", 0), ("c", 0), ("d", 0)];
        assert!(matches!(found(&three, 9 * MIN), Some(Limit::Storm(_))));
        assert_eq!(found(&three, 10 * MIN), None);
        assert_eq!(found(&[("b", 0), ("c", 0)], MIN), None);
    }

    #[test]
    fn one_at_once_or_a_fifth_and_the_floor_stays() {
        let rules = Rules::default();
        for (members, changing, free) in
            [(1, 0, true), (3, 1, false), (9, 1, false), (10, 1, true), (10, 2, false)]
        {
            let fleet = Fleet { changing, ..fleet(members) };
            let got = check("a", &Standing::default(), fleet, &rules, 0);
            assert_eq!(got.is_none(), free, "{members} {changing} {got:?}");
        }
        let last = Fleet { open: true, ..fleet(1) };
        assert!(check("a", &Standing::default(), last, &rules, 0).is_some());
        let out = Fleet { open: false, ..fleet(1) };
        assert_eq!(check("a", &Standing::default(), out, &rules, 0), None);
    }

    proptest! {
        /// Whoever asks before each change, and changes only what is allowed, never changes
        /// more than the limits say, whatever the order and the times.
        #[test]
        fn the_limits_hold_whatever_is_tried(
            tries in prop::collection::vec((0usize..12, 0u64..120_000), 1..300),
            members in 1usize..13,
        ) {
            let rules = Rules::default();
            let mut standing = Standing::default();
            let mut now = 0;
            let mut stormy = false;
            for (target, wait) in tries {
                now += wait;
                let target = format!("t{}", target % members);
                match check(&target, &standing, fleet(members), &rules, now) {
                    None => standing.changed(&target, ChangedBy::Recovery, now),
                    Some(Limit::Storm(_)) => stormy = true,
                    Some(_) => {}
                }
                let recent: Vec<_> =
                    standing.changes.iter().filter(|c| now - c.at < 10 * MIN).collect();
                let distinct: BTreeSet<_> = recent.iter().map(|c| &c.target).collect();
                prop_assert!(distinct.len() <= 3.max(members * 3 / 10));
                for one in distinct {
                    prop_assert!(recent.iter().filter(|c| c.target == *one).count() <= 3);
                }
            }
            prop_assert!(!stormy || members > 3);
        }
    }
}
