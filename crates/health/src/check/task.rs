//! One check: looks, judges, shows, and tells those it concerns.

use super::ahead::Trends;
use super::judge::Judge;
use super::limits::Limits;
use super::runner::{Shared, concerned};
use super::{Part, Reading, SUBJECTS, Source, Trouble, VALUES, kind, short};
use evenkeel_domain::check::{CheckSettings, CheckState, CheckStatus, CheckValue};
use evenkeel_domain::event::EventKind;
use evenkeel_domain::health::CheckFault;
use evenkeel_domain::{Incarnation, Replica, Signal, SignalKind, clock, rng};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Jitter of intervals: many checks must not look in step.
const JITTER: f64 = 0.1;
/// Characters of a measure's name.
const NAME: usize = 64;

/// Looks until it is to end. A look and a pause may be broken off; what was found is always
/// taken whole, or somebody who was told would never hear of the end.
pub(super) async fn run(mut check: Check, mut ended: watch::Receiver<bool>) {
    let mut source = None;
    let mut rng = rng::from_os();
    loop {
        let reading = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => break,
            reading = check.look(&mut source) => reading,
        };
        check.take(reading, clock::now()).await;
        let pause = rng::jittered(check.settings.interval, JITTER, &mut rng);
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => break,
            () = sleep(pause) => {}
        }
    }
    check.end().await;
}

/// One check with all that it has found.
pub(super) struct Check {
    settings: CheckSettings,
    shared: Shared,
    limits: Limits,
    name: Arc<str>,
    subjects: BTreeMap<Arc<str>, Subject>,
}

/// One thing that a check looks at.
struct Subject {
    judge: Judge,
    trends: Trends,
    stage: usize,
    status: CheckStatus,
    /// The replicas that it was about at the last look, where that is its own.
    concerns: Option<Vec<Arc<str>>>,
    /// Replicas that were told of it, by key.
    told: HashMap<u64, Incarnation>,
}

impl Check {
    pub(super) fn new(settings: CheckSettings, shared: Shared) -> Self {
        let known = kind(&settings).map_or(&[][..], |kind| kind.measures);
        let limits = Limits::compile(&settings, known).unwrap_or_default();
        let name = settings.name.as_str().into();
        let mut check = Self { settings, shared, limits, name, subjects: BTreeMap::new() };
        let first = check.subject(&"".into());
        check.subjects.insert("".into(), first);
        check.show();
        check
    }

    fn subject(&self, subject: &Arc<str>) -> Subject {
        let status = CheckStatus {
            check: self.settings.name.clone(),
            kind: self.settings.kind.clone(),
            subject: subject.to_string(),
            state: CheckState::Unknown,
            since_unix_ms: clock::unix_millis(),
            why: "not looked at yet".into(),
            pending: None,
            looked_unix_ms: None,
            values: Vec::new(),
            replicas: Vec::new(),
            ahead: None,
        };
        Subject {
            judge: Judge::new(self.settings.lasting),
            trends: Trends::default(),
            stage: 0,
            status,
            concerns: None,
            told: HashMap::new(),
        }
    }

    /// One look, in its time. A source that cannot be made is tried again with each.
    async fn look(&self, source: &mut Option<Box<dyn Source>>) -> Reading {
        let (limit, silence) = match kind(&self.settings) {
            Ok(kind) => (self.settings.timeout, kind.silence),
            Err((_, text)) => return said(CheckState::Unknown, text),
        };
        if source.is_none() {
            let kind = kind(&self.settings).map(|kind| kind.build);
            match kind.and_then(|build| build(&self.settings, &self.shared.members)) {
                Ok(made) => *source = Some(made),
                Err((key, text)) => return said(CheckState::Unknown, format!("{key}: {text}")),
            }
        }
        let Some(source) = source else { return Reading::default() };
        match timeout(limit, source.ask()).await {
            Ok(Ok(reading)) => reading,
            Ok(Err(Trouble::Failed(text))) => said(CheckState::Critical, text),
            Ok(Err(Trouble::NoData(text))) => said(CheckState::Unknown, text),
            Ok(Err(Trouble::Hangs(text))) => said(silence, text),
            Err(_) => said(silence, format!("nothing came back within {limit:?}")),
        }
    }

    /// Takes what was found, of each thing.
    async fn take(&mut self, reading: Reading, now: Instant) {
        let mut parts = reading.parts;
        parts.truncate(SUBJECTS);
        // What failed as a whole is said of each thing that is known.
        let whole = parts.len() == 1 && parts.first().is_some_and(|p| p.subject.is_empty());
        if whole && self.subjects.keys().any(|subject| !subject.is_empty()) {
            let said = parts.first().and_then(|part| part.said.clone());
            let all = self.subjects.iter().filter(|(subject, _)| !subject.is_empty());
            let part = |(subject, known): (&Arc<str>, &Subject)| Part {
                subject: subject.clone(),
                concerns: known.concerns.clone(),
                said: said.clone(),
                ..Part::default()
            };
            parts = all.map(part).collect();
        }
        let gone: Vec<_> = self
            .subjects
            .keys()
            .filter(|known| !parts.iter().any(|part| part.subject == **known))
            .cloned()
            .collect();
        for subject in gone {
            if let Some(mut gone) = self.subjects.remove(&subject) {
                self.tell(&mut gone, Vec::new(), None).await;
            }
        }
        for part in parts {
            let mut subject =
                self.subjects.remove(&part.subject).unwrap_or_else(|| self.subject(&part.subject));
            self.take_part(&mut subject, part, now).await;
            let name = subject.status.subject.as_str().into();
            self.subjects.insert(name, subject);
        }
        self.show();
    }

    async fn take_part(&self, subject: &mut Subject, mut part: Part, now: Instant) {
        part.values = series(std::mem::take(&mut part.values));
        let (mut says, mut why) = match part.said.take() {
            // Without values nothing is compared: what is said is all that is known.
            Some((says, why)) if part.values.is_empty() => (says, why),
            Some((says, why)) => {
                let (limit, text) = self.limits.judge(&part.values);
                let both = if limit == CheckState::Ok { why } else { format!("{text}; {why}") };
                (says.worse(limit), both)
            }
            None => self.limits.judge(&part.values),
        };
        if part.values.is_empty() && why.is_empty() {
            (says, why) = (CheckState::Unknown, "nothing was measured".into());
        }
        let why = short(&why);
        let before = subject.judge.state();
        let counts = subject.judge.look(says, part.certain, now);
        let status = &mut subject.status;
        status.looked_unix_ms = Some(clock::unix_millis());
        status.values = part.values;
        let within = self.settings.forecast.within;
        let unix = clock::unix_millis();
        let ahead = subject.trends.look(&status.values, &self.limits, within, unix);
        // What the kind knows needs no trend.
        let ahead = part.ahead.or(ahead).filter(|_| !within.is_zero());
        let again = part.stage > subject.stage || (ahead.is_some() && status.ahead.is_none());
        (subject.stage, status.ahead) = (part.stage, ahead);
        if counts == says {
            (status.why, status.pending) = (why, None);
        } else {
            status.pending = Some(short(&format!("{says}: {why}")));
        }
        status.state = counts;
        if counts != before {
            status.since_unix_ms = clock::unix_millis();
            if counts != says {
                status.why = "what it says now has not lasted yet".into();
            }
            self.announce(status, before);
        } else if again && counts != CheckState::Unknown {
            // It is as it was, and will not stay so.
            self.announce(status, before);
        }
        subject.concerns = part.concerns;
        let replicas = match &subject.concerns {
            Some(names) => names.iter().filter_map(|n| self.shared.members.named(n)).collect(),
            None => concerned(&self.settings, &*self.shared.members),
        };
        subject.status.replicas = replicas.iter().map(|r| r.id.name.to_string()).collect();
        let definite = self.settings.definite || subject.judge.is_certain();
        let fault = (counts == CheckState::Critical)
            .then(|| CheckFault { text: subject.status.why.as_str().into(), definite });
        self.tell(subject, replicas, fault).await;
    }

    /// Says it to those it concerns, and takes it back from all others that were told. Said
    /// again with each look: a replica that was started anew does not know of it.
    async fn tell(
        &self,
        subject: &mut Subject,
        replicas: Vec<Arc<Replica>>,
        fault: Option<CheckFault>,
    ) {
        let name: Arc<str> = match subject.status.subject.as_str() {
            "" => self.name.clone(),
            subject => format!("{} ({subject})", self.name).into(),
        };
        let mut told = std::mem::take(&mut subject.told);
        if fault.is_some() {
            for replica in replicas {
                let (key, incarnation) = (replica.id.key, replica.live.incarnation());
                let news = told.remove(&key) != Some(incarnation);
                subject.told.insert(key, incarnation);
                self.signal(key, incarnation, &name, fault.clone(), news).await;
            }
        }
        for (key, incarnation) in told {
            self.signal(key, incarnation, &name, None, true).await;
        }
    }

    async fn signal(
        &self,
        replica: u64,
        incarnation: Incarnation,
        name: &Arc<str>,
        against: Option<CheckFault>,
        news: bool,
    ) {
        let kind = SignalKind::Check { name: name.clone(), against, news };
        let signal = Signal { replica, incarnation, observer: "check", at: clock::now(), kind };
        // The authority ends only with the process.
        let _ = self.shared.signals.send(signal).await;
    }

    fn announce(&self, status: &CheckStatus, from: CheckState) {
        let (check, subject) = (&*status.check, &*status.subject);
        let why = match &status.ahead {
            Some(ahead) if ahead.text != status.why => format!("{}; {}", status.why, ahead.text),
            _ => status.why.clone(),
        };
        let why = &*why;
        let (from, to) = (from.label(), status.state.label());
        match status.state {
            _ if status.ahead.is_some() => {
                tracing::warn!(check, subject, from, to, why, "check: a limit is ahead");
            }
            CheckState::Critical | CheckState::Warning => {
                tracing::warn!(check, subject, from, to, why, "check changed");
            }
            _ => tracing::info!(check, subject, from, to, why, "check changed"),
        }
        self.shared.events.push(EventKind::Check {
            check: check.into(),
            subject: subject.into(),
            from: from.into(),
            to: to.into(),
            why: why.into(),
        });
    }

    fn show(&self) {
        let all = self.subjects.values().map(|subject| subject.status.clone()).collect();
        let mut board = self.shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.insert(self.settings.name.clone(), all);
    }

    async fn end(mut self) {
        for (_, mut subject) in std::mem::take(&mut self.subjects) {
            self.tell(&mut subject, Vec::new(), None).await;
        }
        let mut board = self.shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.remove(&self.settings.name);
    }
}

/// Values as metrics may have them: each measure once, by a name that needs no quoting. What
/// a script prints may be anything.
fn series(values: Vec<CheckValue>) -> Vec<CheckValue> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for mut value in values {
        value.measure.retain(|c| !c.is_control() && !matches!(c, '"' | '\\'));
        value.measure = value.measure.chars().take(NAME).collect();
        let good = value.value.is_finite() && !value.measure.is_empty();
        if good && kept.len() < VALUES && seen.insert(value.measure.clone()) {
            kept.push(value);
        }
    }
    kept
}

fn said(state: CheckState, text: String) -> Reading {
    let part = Part { said: Some((state, text)), ..Part::default() };
    Reading { parts: vec![part] }
}

#[cfg(test)]
mod tests;
