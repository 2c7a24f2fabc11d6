//! Supervised replicas that the configuration has no more: each ends what it has begun,
//! and is stopped then.
//!
//! ```text
//!   gone from the file ──► finishing ── nothing is under way there any more, ──► ending ──► gone
//!                              │        or its time is over, or it ended
//!                              └─ in the file again: as before
//! ```
//! Decides only: what shall run is handed to the supervisor, whom to ask to the gateways.

use evenkeel_domain::orchestrator::{InstanceSpec, InstanceStatus, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What shall run, and what is on its way out.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    wanted: Vec<InstanceSpec>,
    /// What the supervisor was told last, by name.
    told: BTreeMap<String, InstanceSpec>,
    leaving: BTreeMap<String, Leaving>,
}

#[derive(Debug, Clone)]
struct Leaving {
    spec: InstanceSpec,
    /// The start of its process that finishes; a later one has nothing to finish.
    start: u64,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Finishing {
        until: Instant,
        /// Gateways that may have something under way there.
        busy: BTreeSet<u64>,
    },
    /// The supervisor stops it, or does so already.
    Ending,
}

/// What is to be known of the world when the wishes change.
pub(super) struct Now<'a> {
    pub(super) statuses: &'a [InstanceStatus],
    /// All gateways there are.
    pub(super) gateways: &'a [u64],
    /// When the time of those that leave is over.
    pub(super) until: Instant,
}

impl Fleet {
    /// Takes other wishes: what runs and is not wanted any more begins to leave.
    pub(super) fn want(&mut self, wanted: Vec<InstanceSpec>, now: &Now<'_>) {
        let told = std::mem::take(&mut self.told);
        let names: BTreeSet<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
        for (name, spec) in &told {
            if !names.contains(name.as_str()) && !self.leaving.contains_key(name) {
                self.leaving.insert(name.clone(), Leaving::begin(spec.clone(), now));
            }
        }
        self.leaving.retain(|name, _| !names.contains(name.as_str()));
        self.wanted = wanted;
        self.told = self.allowed(&told);
    }

    /// What shall run now, for the supervisor.
    pub(super) fn specs(&self) -> Vec<InstanceSpec> {
        self.told.values().cloned().collect()
    }

    /// Those that leave, each with the start of its process.
    pub(super) fn leaving(&self) -> Vec<(String, u64)> {
        self.leaving.iter().map(|(name, leaving)| (name.clone(), leaving.start)).collect()
    }

    /// A gateway has nothing under way there any more.
    pub(super) fn idle(&mut self, gateway: u64, name: &str, of: u64) {
        if let Some(leaving) = self.leaving.get_mut(name).filter(|leaving| leaving.start == of) {
            leaving.rid_of(gateway);
        }
    }

    /// A gateway is gone, and with it what it had under way.
    pub(super) fn gateway_ended(&mut self, gateway: u64) {
        for leaving in self.leaving.values_mut() {
            leaving.rid_of(gateway);
        }
    }

    /// Looks who has finished. Gives whether something else shall run now.
    pub(super) fn review(&mut self, statuses: &[InstanceStatus], now: Instant) -> bool {
        let mut changed = false;
        for (name, leaving) in &mut self.leaving {
            if let Some(why) = leaving.over(statuses, now) {
                tracing::info!(replica = name, why, "stopping what has left the configuration");
                leaving.stage = Stage::Ending;
                changed = true;
            }
        }
        let there = |name: &str| statuses.iter().any(|status| status.name == name);
        let before = self.leaving.len();
        self.leaving.retain(|name, leaving| {
            matches!(leaving.stage, Stage::Finishing { .. }) || there(name)
        });
        changed |= self.leaving.len() != before;
        if changed {
            let told = std::mem::take(&mut self.told);
            self.told = self.allowed(&told);
        }
        changed
    }

    /// What is wanted and what finishes. A port that one who leaves still holds cannot be
    /// another's yet: whoever wants it goes on as before until then, or is not started.
    fn allowed(&self, told: &BTreeMap<String, InstanceSpec>) -> BTreeMap<String, InstanceSpec> {
        let mut held: BTreeSet<u16> =
            self.leaving.values().filter_map(|leaving| leaving.spec.port).collect();
        let waits = |spec: &InstanceSpec, held: &BTreeSet<u16>| {
            spec.port.is_some_and(|port| held.contains(&port))
        };
        loop {
            // One that goes on as before goes on holding its port, too.
            let kept = self.wanted.iter().filter(|spec| waits(spec, &held));
            let ports = kept.filter_map(|spec| told.get(&spec.name)?.port);
            let more: Vec<u16> = ports.filter(|port| !held.contains(port)).collect();
            if more.is_empty() {
                break;
            }
            held.extend(more);
        }
        let wanted = self.wanted.iter().filter_map(|spec| {
            if waits(spec, &held) { told.get(&spec.name).cloned() } else { Some(spec.clone()) }
        });
        let finishing = self.leaving.values().filter_map(|leaving| match leaving.stage {
            Stage::Finishing { .. } => Some(leaving.spec.clone()),
            Stage::Ending => None,
        });
        wanted.chain(finishing).map(|spec| (spec.name.clone(), spec)).collect()
    }
}

impl Leaving {
    fn begin(spec: InstanceSpec, now: &Now<'_>) -> Self {
        let status = serving(&spec, now.statuses);
        let stage = match status {
            None => Stage::Ending,
            Some(_) => {
                let busy = now.gateways.iter().copied().collect();
                Stage::Finishing { until: now.until, busy }
            }
        };
        Self { start: status.map_or(0, |status| status.incarnation), spec, stage }
    }

    fn rid_of(&mut self, gateway: u64) {
        if let Stage::Finishing { busy, .. } = &mut self.stage {
            busy.remove(&gateway);
        }
    }

    /// Why it need not go on, once it need not.
    fn over(&self, statuses: &[InstanceStatus], now: Instant) -> Option<&'static str> {
        let Stage::Finishing { until, busy } = &self.stage else { return None };
        let status = serving(&self.spec, statuses);
        if status.is_none_or(|status| status.incarnation != self.start) {
            return Some("it has ended");
        }
        if busy.is_empty() {
            return Some("it has nothing under way");
        }
        (now >= *until).then_some("it had its time")
    }
}

/// The status of one whose process may answer requests.
fn serving<'a>(spec: &InstanceSpec, statuses: &'a [InstanceStatus]) -> Option<&'a InstanceStatus> {
    let serves =
        |status: &InstanceStatus| matches!(status.phase, Phase::Starting { .. } | Phase::Ready);
    statuses.iter().find(|status| status.name == spec.name && serves(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock;
    use std::time::Duration;

    fn spec(name: &str, port: Option<u16>) -> InstanceSpec {
        InstanceSpec { port, ..InstanceSpec::new(name, "chat", &["serve", "{port}"]) }
    }

    fn running(name: &str) -> InstanceStatus {
        let status = InstanceStatus::new(name, "chat");
        InstanceStatus { phase: Phase::Ready, incarnation: 1, ..status }
    }

    /// A fleet and the world around it.
    struct World {
        fleet: Fleet,
        statuses: Vec<InstanceStatus>,
        until: Instant,
    }

    impl World {
        fn of(specs: &[InstanceSpec]) -> Self {
            let statuses = specs.iter().map(|spec| running(&spec.name)).collect();
            let until = clock::now() + Duration::from_secs(30);
            let mut world = Self { fleet: Fleet::default(), statuses, until };
            world.want(specs);
            world
        }

        fn want(&mut self, specs: &[InstanceSpec]) {
            let (statuses, until) = (&self.statuses[..], self.until);
            self.fleet.want(specs.to_vec(), &Now { statuses, gateways: &[1, 2], until });
        }

        fn review(&mut self) -> bool {
            let now = self.until - Duration::from_secs(10);
            self.fleet.review(&self.statuses, now)
        }

        fn runs(&self) -> Vec<(String, Option<u16>)> {
            self.fleet.specs().into_iter().map(|spec| (spec.name, spec.port)).collect()
        }

        fn names(&self) -> Vec<String> {
            self.runs().into_iter().map(|(name, _)| name).collect()
        }

        fn gone(&mut self, name: &str) {
            self.statuses.retain(|status| status.name != name);
        }
    }

    fn pair() -> World {
        let (a, b) = (spec("a", None), spec("b", None));
        let mut world = World::of(&[a.clone(), b]);
        world.want(&[a]);
        world
    }

    #[test]
    fn it_runs_until_every_gateway_is_done_with_it() {
        let mut world = pair();
        assert_eq!(world.fleet.leaving(), [("b".to_owned(), 1)]);
        assert!(!world.review() && world.names() == ["a", "b"]);
        world.fleet.idle(1, "b", 1);
        assert!(!world.review() && world.names() == ["a", "b"]);
        world.fleet.gateway_ended(2);
        assert!(world.review() && world.names() == ["a"]);
        assert_eq!(world.fleet.leaving().len(), 1, "its process is still there");
        world.gone("b");
        world.review();
        assert!(world.fleet.leaving().is_empty());
    }

    #[test]
    fn it_has_its_time_and_no_more() {
        let mut world = pair();
        let (statuses, until) = (world.statuses.clone(), world.until);
        assert!(!world.fleet.review(&statuses, until - Duration::from_millis(1)));
        assert!(world.fleet.review(&statuses, until));
        assert_eq!(world.names(), ["a"]);
    }

    #[test]
    fn one_that_ends_by_itself_is_not_started_again() {
        let mut world = pair();
        world.statuses[1].incarnation = 2;
        assert!(world.review() && world.names() == ["a"]);
        let mut world = pair();
        world.statuses[1].phase = Phase::Backoff { until_ms: 0 };
        assert!(world.review() && world.names() == ["a"]);
    }

    #[test]
    fn what_does_not_run_has_nothing_to_finish() {
        let (a, b) = (spec("a", None), spec("b", None));
        let mut world = World::of(&[a.clone(), b]);
        world.statuses[1].phase = Phase::CrashLoop { until_ms: 0 };
        world.want(&[a]);
        assert_eq!(world.names(), ["a"]);
    }

    #[test]
    fn one_that_is_wanted_again_stays() {
        let mut world = pair();
        world.want(&[spec("a", None), spec("b", None)]);
        assert!(world.fleet.leaving().is_empty());
        world.fleet.gateway_ended(1);
        world.fleet.gateway_ended(2);
        assert!(!world.review() && world.names() == ["a", "b"]);
    }

    #[test]
    fn a_word_about_an_earlier_start_does_not_count() {
        let mut world = pair();
        world.fleet.idle(1, "b", 7);
        world.fleet.idle(2, "b", 7);
        assert!(!world.review() && world.names() == ["a", "b"]);
    }

    #[test]
    fn its_time_does_not_begin_anew_with_another_reload() {
        let mut world = pair();
        let until = world.until;
        world.until += Duration::from_secs(30);
        world.want(&[spec("a", None), spec("c", None)]);
        let statuses = world.statuses.clone();
        assert!(world.fleet.review(&statuses, until));
    }

    #[test]
    fn a_port_is_passed_on_when_it_is_free() {
        // The first entry of two is taken out, so the second one's process gets its name.
        let mut world = World::of(&[spec("a", Some(1)), spec("b", Some(2))]);
        world.want(&[spec("a", Some(2)), spec("c", Some(1)), spec("d", None)]);
        let before = [("a", Some(1)), ("b", Some(2)), ("d", None)];
        let own = |all: &[(&str, Option<u16>)]| -> Vec<_> {
            all.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
        };
        assert_eq!(world.runs(), own(&before), "`c` waits for `a`, and `a` for `b`");
        world.fleet.gateway_ended(1);
        world.fleet.gateway_ended(2);
        assert!(world.review());
        assert_eq!(world.runs(), own(&[("a", Some(1)), ("d", None)]), "`b` still holds its port");
        world.gone("b");
        assert!(world.review());
        assert_eq!(world.runs(), own(&[("a", Some(2)), ("c", Some(1)), ("d", None)]));
    }
}
