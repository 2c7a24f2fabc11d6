//! Which steps there are, and whether the next one's condition holds. Pure.

use super::Book;
use evenkeel_domain::incident::{
    About, Action, Cause, Incident, More, Rules, Seen, Step, Verify, When,
};
use std::time::Duration;

/// How long a process that is not stopped by asking may take before it is killed: what hangs
/// does not listen.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long a start may take: models load for minutes. As long as the supervisor's own.
const LOADS: Duration = Duration::from_secs(600);

/// How long the target waits for a standby before something is done about itself: a warm one
/// loads within. A promotion goes on beyond that by itself.
const PROMOTES: Duration = Duration::from_secs(60);

/// The steps where the configuration names none.
///
/// What ended is left to the supervisor. What hangs or lies is restarted at once; what else
/// fails may first come back by itself.
#[must_use]
pub fn default_steps(supervised: bool, rules: &Rules) -> Vec<Step> {
    let step =
        |action, when, timeout| Step { action, when, timeout, verify: Verify::Serves, tries: 1 };
    if !supervised {
        return vec![step(Action::Wait, When::Always, rules.remote_patience)];
    }
    let restart = Action::Restart { grace: GRACE };
    vec![
        step(Action::Wait, When::Exited, LOADS),
        step(Action::Wait, When::Failing, rules.patience),
        step(Action::Wait, When::Refusing, rules.patience),
        Step { tries: rules.restarts.max(1), ..step(restart, When::Running, LOADS) },
    ]
}

/// A standby first: that helps whoever waits, whatever becomes of the target.
fn promote() -> Step {
    let (when, verify) = (When::Always, Verify::None);
    Step { action: Action::Promote, when, timeout: PROMOTES, verify, tries: 1 }
}

/// The steps for a target.
#[must_use]
pub fn steps(seen: &Seen, cause: Cause, book: &Book) -> Vec<Step> {
    let own = |of: &dyn Fn(&About) -> bool| {
        book.playbooks.iter().find(|playbook| of(&playbook.about)).map(|one| one.steps.clone())
    };
    if let Some(outlook) = seen.ahead.as_ref().filter(|_| cause == Cause::Forecast) {
        // Who names the check means it more exactly.
        let check = &outlook.foreseen.check;
        return own(&|about| matches!(about, About::Check(name) if name == check))
            .or_else(|| own(&|about| matches!(about, About::Foreseen(s) if *s == seen.service)))
            .unwrap_or_else(|| outlook.steps.clone());
    }
    if let Some(steps) = own(&|about| matches!(about, About::Service(s) if *s == seen.service)) {
        return steps;
    }
    // It was never there: nothing of it can be waited for, or come back.
    if cause == Cause::Absent {
        return Vec::new();
    }
    let steps = default_steps(seen.process.is_some(), &book.rules);
    match seen.has_standby {
        true => std::iter::once(promote()).chain(steps).collect(),
        false => steps,
    }
}

/// Whether a step's condition holds.
#[must_use]
pub fn applies(when: When, incident: &Incident, seen: &Seen) -> bool {
    match when {
        When::Always => true,
        When::Supervised => seen.process.is_some(),
        When::Remote => seen.process.is_none(),
        When::Running => seen.runs(),
        When::Exited => incident.cause == Cause::Exited,
        When::Refusing => incident.cause == Cause::Refusing,
        When::Hung => incident.cause == Cause::Hung,
        When::Lying => incident.cause == Cause::Lying,
        When::Failing => incident.cause == Cause::Failing,
        When::Absent => incident.cause == Cause::Absent,
    }
}

/// A step for people.
#[must_use]
pub fn describe(step: &Step) -> String {
    match &step.action {
        Action::Isolate => "take it out of traffic".into(),
        Action::Wait => format!("wait up to {} for it to come back", time(step.timeout)),
        Action::Restart { .. } => "restart it".into(),
        Action::Renew => "drain and restart it at a quiet time".into(),
        Action::DropLogs => "drop old logs of Evenkeel's own".into(),
        Action::Promote => "have a standby take over".into(),
        Action::Scale { more: More::Add(n) } => format!("start {n} more of its service"),
        Action::Scale { more: More::Copies(n) } => format!("have {n} copies of its service run"),
        Action::FailOver { to } => format!("have {to} answer for its service"),
        Action::MoveStreams => "move what is under way to its peers".into(),
        Action::Reload { path, .. } => format!("have it load its model again (POST {path})"),
        Action::Script { command } => format!("run `{}`", command.join(" ")),
        Action::Webhook { url } => format!("tell {url}"),
        Action::Ask { text } => format!("ask a person: {text}"),
    }
}

fn time(time: Duration) -> String {
    super::limits::humantime(time)
}
