//! Who of those who wait is next. Pure.
//!
//! ```text
//!   flow a  ■ ■ ■ ■ ■ ■      the flow with the least virtual time is next, and pays for its
//!   flow b  ■ ■              request: one that sends much gets no more than its share
//!   flow c  ■
//!            └ oldest first; in an overload those that are not late yet, then the newest
//! ```
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996) between flows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// Flows without a request that are remembered, beyond one for each with some: they may not
/// begin anew before their time.
const IDLE_FLOWS: usize = 64;
/// Parts of a unit of cost, for shares of it.
const SCALE: u64 = 1 << 10;
/// Flows that are looked through for a request that is not late.
const LOOKED_THROUGH: usize = 32;

/// Requests of one tier that wait.
#[derive(Debug)]
pub(super) struct Lane<T> {
    flows: HashMap<u64, Flow<T>>,
    /// Flows with requests, by virtual time.
    turns: BTreeSet<(u64, u64)>,
    /// Flow and age of each request, by its number.
    ages: BTreeMap<u64, (u64, Instant)>,
    virtual_now: u64,
    /// Requests below this number are late.
    punctual_from: u64,
}

#[derive(Debug)]
struct Flow<T> {
    /// Virtual time of its next request.
    start: u64,
    /// By number; with what each costs.
    waiting: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            turns: BTreeSet::new(),
            ages: BTreeMap::new(),
            virtual_now: 0,
            punctual_from: 0,
        }
    }
}

impl<T> Lane<T> {
    pub(super) fn len(&self) -> usize {
        self.ages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    /// Adds a request at the end. Numbers rise with time.
    pub(super) fn push(&mut self, number: u64, at: Instant, flow: u64, cost: u64, item: T) {
        self.ages.insert(number, (flow, at));
        let now = self.virtual_now;
        let of =
            self.flows.entry(flow).or_insert_with(|| Flow { start: now, waiting: BTreeMap::new() });
        if of.waiting.is_empty() {
            of.start = of.start.max(now);
            self.turns.insert((of.start, flow));
        }
        of.waiting.insert(number, (cost.max(1), item));
    }

    /// Takes a request out that waits no longer.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let (flow, _) = self.ages.remove(&number)?;
        let of = self.flows.get_mut(&flow)?;
        let (_, item) = of.waiting.remove(&number)?;
        if of.waiting.is_empty() {
            self.turns.remove(&(of.start, flow));
            self.forget_idle();
        }
        Some(item)
    }

    /// The oldest request's number and age.
    #[cfg(test)]
    pub(super) fn oldest(&self) -> Option<(u64, Instant)> {
        self.ages.first_key_value().map(|(number, (_, at))| (*number, *at))
    }

    /// Takes the next request, with its age. With `late_before`, requests older than that
    /// yield to the others, and the newest of them goes first.
    pub(super) fn pop(&mut self, late_before: Option<Instant>) -> Option<(u64, Instant, T)> {
        let (start, flow) = match late_before {
            None => *self.turns.first()?,
            Some(limit) => self.punctual_turn(limit)?,
        };
        let of = self.flows.get_mut(&flow)?;
        let punctual = of.waiting.range(self.punctual_from..).next();
        let number = match late_before {
            None => of.waiting.first_key_value().map(|(number, _)| *number),
            Some(_) => punctual.or_else(|| of.waiting.last_key_value()).map(|(number, _)| *number),
        }?;
        let (cost, item) = of.waiting.remove(&number)?;
        let (_, at) = self.ages.remove(&number)?;
        self.turns.remove(&(start, flow));
        let cost = cost.saturating_mul(SCALE);
        of.start = start.saturating_add(cost);
        // Time passes as fast as each flow gets its share of the service.
        let share = cost / (self.turns.len() as u64 + 1);
        self.virtual_now = self.virtual_now.max(start).saturating_add(share);
        if of.waiting.is_empty() {
            self.forget_idle();
        } else {
            self.turns.insert((of.start, flow));
        }
        Some((number, at, item))
    }

    /// The turn of a flow that has a request which is not late; any turn when none has.
    fn punctual_turn(&mut self, limit: Instant) -> Option<(u64, u64)> {
        while let Some((number, (_, at))) = self.ages.range(self.punctual_from..).next()
            && *at < limit
        {
            self.punctual_from = number + 1;
        }
        let from = self.punctual_from;
        let has = |flow: &u64| {
            self.flows.get(flow).is_some_and(|of| of.waiting.range(from..).next().is_some())
        };
        let mut turns = self.turns.iter().take(LOOKED_THROUGH);
        turns.find(|(_, flow)| has(flow)).or_else(|| self.turns.first()).copied()
    }

    fn forget_idle(&mut self) {
        if self.flows.len() > 2 * self.turns.len() + IDLE_FLOWS {
            let now = self.virtual_now;
            self.flows.retain(|_, flow| !flow.waiting.is_empty() || flow.start > now);
            if self.flows.len() > 2 * self.turns.len() + 2 * IDLE_FLOWS {
                self.flows.retain(|_, flow| !flow.waiting.is_empty());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;
    use proptest::prelude::*;
    use std::time::Duration;

    fn filled(of: &[(u64, u64)]) -> Lane<u64> {
        let mut lane = Lane::default();
        let begin = clock::now();
        for (number, (flow, cost)) in (0..).zip(of) {
            lane.push(number, begin + Duration::from_millis(number), *flow, *cost, number);
        }
        lane
    }

    fn order(lane: &mut Lane<u64>, late_before: Option<Instant>) -> Vec<u64> {
        std::iter::from_fn(|| lane.pop(late_before).map(|(number, ..)| number)).collect()
    }

    #[test]
    fn flows_take_turns_and_each_is_served_in_order() {
        let mut lane = filled(&[(1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (3, 1)]);
        assert_eq!(order(&mut lane, None), [0, 3, 5, 1, 4, 2]);
        assert!(lane.is_empty());
    }

    #[test]
    fn who_asks_for_more_gets_fewer_turns() {
        let mut of = vec![(1, 4); 20];
        of.extend([(2, 1); 20]);
        let mut lane = filled(&of);
        let first: Vec<_> = order(&mut lane, None).into_iter().take(15).collect();
        let cheap = first.iter().filter(|number| **number >= 20).count();
        assert_eq!(cheap, 12, "{first:?}");
    }

    #[test]
    fn who_sends_one_at_a_time_does_not_overtake_for_ever() {
        let mut lane = filled(&[(1, 1); 10]);
        let at = clock::now();
        let mut served = Vec::new();
        for number in 100..110 {
            lane.push(number, at, 2, 1, number);
            served.push(lane.pop(None).map(|(number, ..)| number).unwrap());
        }
        let greedy = served.iter().filter(|number| **number < 100).count();
        assert_eq!(greedy, 5, "{served:?}");
    }

    #[test]
    fn in_an_overload_the_late_yield_and_the_newest_of_them_goes_first() {
        let mut lane = filled(&[(1, 1), (1, 1), (1, 1), (1, 1), (2, 1)]);
        let (_, begin) = lane.oldest().unwrap();
        let limit = begin + Duration::from_millis(2);
        // 0 and 1 are late.
        assert_eq!(order(&mut lane, Some(limit)), [2, 4, 3, 1, 0]);
    }

    #[test]
    fn idle_flows_are_forgotten() {
        let mut lane = Lane::default();
        for number in 0..10_000 {
            lane.push(number, clock::now(), number, 1, ());
            lane.pop(None);
        }
        assert!(lane.flows.len() <= 2 * IDLE_FLOWS + 2, "{}", lane.flows.len());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_given_twice(
            of in proptest::collection::vec((0u64..5, 1u64..9), 1..60),
            gone in proptest::collection::vec(0u64..60, 0..20),
            late in proptest::option::of(0u64..60),
        ) {
            let mut lane = filled(&of);
            let (_, begin) = lane.oldest().unwrap();
            let mut left: Vec<u64> = (0..of.len() as u64).collect();
            for number in gone {
                let was_there = left.contains(&number);
                prop_assert_eq!(lane.remove(number).is_some(), was_there);
                left.retain(|n| *n != number);
            }
            let late = late.map(|ms| begin + Duration::from_millis(ms));
            let mut served = order(&mut lane, late);
            served.sort_unstable();
            prop_assert_eq!(served, left);
            prop_assert!(lane.turns.is_empty() && lane.is_empty());
        }
    }
}
