//! What a drill has seen of its targets and its clients.

use crate::plan::marks::Timeline;
use crate::plan::{Drill, LoadSeen, Look, MarkKind, Resolved, Seen, Severity, Task};
use crate::plan::{marks::millis, tell};
use evenkeel_domain::event::{Event, EventKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// The name under which the gateway stands among the targets.
pub(crate) const GATEWAY: &str = "gateway";

/// One target.
#[derive(Debug, Default)]
struct Struck {
    at: Duration,
    detected: Option<Duration>,
    /// Its process before, where another one must take its place.
    pid: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    service: String,
    severity: Severity,
    /// Those that took traffic at first.
    whole: Vec<String>,
    struck: BTreeMap<String, Struck>,
    incident: bool,
    load: LoadSeen,
    good: u64,
    last_good: Duration,
    begun: Option<Duration>,
    longest_gap: Duration,
    last: Look,
    /// The gateway's clock at the drill's beginning, as it has it now.
    offset: Option<i128>,
    whole_since: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(drill: &Drill, resolved: &Resolved, look: &Look) -> Self {
        let replicas = look.service(&resolved.service).map(|s| s.replicas.as_slice());
        let open = replicas.unwrap_or_default().iter().filter(|r| r.is_open());
        Self {
            service: resolved.service.clone(),
            severity: drill.expect.severity,
            whole: open.map(|r| r.name.clone()).collect(),
            struck: BTreeMap::new(),
            incident: false,
            load: LoadSeen::default(),
            good: 0,
            last_good: Duration::ZERO,
            begun: None,
            longest_gap: Duration::ZERO,
            last: look.clone(),
            offset: None,
            whole_since: None,
        }
    }

    pub(crate) fn load(&self) -> LoadSeen {
        self.load
    }

    /// Why the error budget forbids to go on.
    pub(crate) fn budget(&self) -> Result<(), String> {
        self.last.service(&self.service).map_or(Ok(()), |service| service.may_drill())
    }

    pub(crate) fn open(&self) -> usize {
        let service = self.last.service(&self.service);
        service.map_or(0, |s| s.replicas.iter().filter(|r| r.is_open()).count())
    }

    /// The first fault comes now: gaps count from here.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.begun = Some(now);
    }

    /// How long no good answer has come.
    pub(crate) fn gap(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_good)
    }

    pub(crate) fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    pub(crate) fn incident(&self) -> bool {
        self.incident
    }

    /// Since when all take traffic again.
    pub(crate) fn whole_since(&self) -> Option<Duration> {
        self.whole_since
    }

    /// Times from fault to its being known, one for each target; `None` for one that is not.
    pub(crate) fn detections(&self) -> Vec<Option<Duration>> {
        self.struck.values().map(|s| s.detected.map(|at| at.saturating_sub(s.at))).collect()
    }

    /// When the first fault was there.
    pub(crate) fn first_struck(&self) -> Option<Duration> {
        self.struck.values().map(|struck| struck.at).min()
    }

    /// Whether one that is not known yet may still be in time.
    pub(crate) fn may_yet_detect(&self, now: Duration, within: Duration) -> bool {
        let mut unknown = self.struck.values().filter(|struck| struck.detected.is_none());
        unknown.any(|struck| now.saturating_sub(struck.at) <= within)
    }

    /// A fault is there.
    pub(crate) fn struck(&mut self, now: Duration, task: &Task) {
        let replaced = task.kind.is_over_at_once();
        let (name, pid) = match &task.replica {
            Some(name) => (name.clone(), self.pid(name)),
            None if task.kind.is_of_gateway() => (GATEWAY.to_owned(), Some(self.last.gateway_pid)),
            None => ("host".to_owned(), None),
        };
        let reload = task.what.starts_with("reload");
        let pid = pid.filter(|_| replaced && !reload);
        let struck = self.struck.entry(name).or_insert(Struck { at: now, ..Struck::default() });
        struck.pid = pid.or(struck.pid);
        self.whole_since = None;
    }

    fn pid(&self, name: &str) -> Option<u32> {
        let service = self.last.service(&self.service)?;
        service.replicas.iter().find(|r| r.name == *name)?.pid
    }

    pub(crate) fn take(&mut self, now: Duration, seen: &Seen, timeline: &mut Timeline) {
        self.clients(now, seen.load);
        if let Some(Some(look)) = &seen.look {
            self.offset = Some(i128::from(look.at_unix_ms) - i128::from(millis(now)));
        }
        // What is told knows its time; what is seen is seen a little later.
        for event in &seen.events {
            self.event(now, event, timeline);
        }
        match &seen.look {
            None => {}
            Some(None) => {
                timeline.state(now, GATEWAY, "silent");
                self.whole_since = None;
                self.detect(GATEWAY, now, now, "the admin API does not answer", timeline);
            }
            Some(Some(look)) => self.looked(now, look, timeline),
        }
    }

    fn clients(&mut self, now: Duration, load: LoadSeen) {
        let good = load.ended.saturating_sub(load.failed);
        if good > self.good {
            (self.good, self.last_good) = (good, now);
        }
        // What began before the fault counts from the fault on.
        if let Some(begun) = self.begun {
            self.longest_gap = self.longest_gap.max(now.saturating_sub(self.last_good.max(begun)));
        }
        self.load = load;
    }

    fn looked(&mut self, now: Duration, look: &Look, timeline: &mut Timeline) {
        timeline.state(now, GATEWAY, "healthy");
        self.last = look.clone();
        let Some(service) = look.service(&self.service).cloned() else { return };
        for replica in &service.replicas {
            timeline.state(now, &replica.name, &replica.health);
            if severity(&replica.health) >= Some(self.severity) {
                self.detect(&replica.name, now, now, &replica.health, timeline);
            }
        }
        if self.replaced(GATEWAY, Some(look.gateway_pid)) {
            self.detect(GATEWAY, now, now, "another gateway serves", timeline);
        }
        let whole = self.whole.iter().all(|name| {
            let replica = service.replicas.iter().find(|r| r.name == *name);
            replica.is_some_and(|r| r.is_open() && !self.awaits_other(name, r.pid))
        });
        let whole = whole && !self.awaits_other(GATEWAY, Some(look.gateway_pid));
        self.whole_since = match whole {
            true => self.whole_since.or(Some(now)),
            false => None,
        };
    }

    fn replaced(&self, name: &str, pid: Option<u32>) -> bool {
        let before = self.struck.get(name).and_then(|struck| struck.pid);
        before.is_some() && pid != before
    }

    /// Whether another process must take this one's place and has not.
    fn awaits_other(&self, name: &str, pid: Option<u32>) -> bool {
        let before = self.struck.get(name).and_then(|struck| struck.pid);
        before.is_some() && (pid == before || pid.is_none())
    }

    fn event(&mut self, now: Duration, event: &Event, timeline: &mut Timeline) {
        let at = self.offset.map(|offset| i128::from(event.at_unix_ms) - offset);
        let at =
            at.and_then(|ms| u64::try_from(ms).ok()).map_or(now, Duration::from_millis).min(now);
        match &event.kind {
            EventKind::Health { replica, to, why, .. } => {
                timeline.state(at, replica, to);
                if severity(to) >= Some(self.severity) {
                    self.detect(replica, at, now, why, timeline);
                }
            }
            EventKind::Incident { replica, .. } if self.struck.contains_key(replica) => {
                self.incident = true;
            }
            _ => {}
        }
        if let Some(text) = tell::event(&event.kind) {
            timeline.mark(at, MarkKind::Event, text);
        }
    }

    fn detect(
        &mut self,
        name: &str,
        at: Duration,
        now: Duration,
        why: &str,
        timeline: &mut Timeline,
    ) {
        let Some(struck) = self.struck.get_mut(name) else { return };
        if struck.detected.is_none() {
            // What was told as of before the fault was known when it was heard of.
            let at = if at < struck.at { now } else { at };
            struck.detected = Some(at);
            timeline.mark(at, MarkKind::Detected, format!("{name}: {why}"));
        }
    }
}

/// How bad a state is.
fn severity(health: &str) -> Option<Severity> {
    match health {
        "suspect" => Some(Severity::Suspect),
        // A process that starts anew is as far out as one that is isolated.
        "isolated" | "starting" | "stopped" => Some(Severity::Isolated),
        _ => None,
    }
}
