//! Incidents and what is done about them, as JSON.

use evenkeel_domain::incident::{Incident, Row, Sign, Step, When};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What recovery does in this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryView {
    /// Under which epoch it runs; 0 before it does.
    pub epoch: u64,
    /// Why nothing is done at all; absent while everything is well.
    pub error: Option<String>,
    /// The storm stop, while it holds.
    pub storm: Option<StormView>,
    /// Pauses that hold.
    pub pauses: Vec<PauseView>,
    /// Open incidents, oldest first.
    pub open: Vec<IncidentView>,
    /// Incidents confirmed since the process began.
    pub confirmed: u64,
    /// Actions that ended since then, by name: `[succeeded, failed]`.
    pub actions: BTreeMap<String, [u64; 2]>,
}

/// Everything is stopped until a person resets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StormView {
    /// Since when.
    pub since_unix_ms: u64,
    /// What was too much.
    pub why: String,
}

/// A person wants nothing done for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseView {
    /// A replica, a service, or `all`.
    pub target: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub why: String,
    /// Until when.
    pub until_unix_ms: u64,
}

/// What is wrong with one replica, why, what was done, and what to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentView {
    /// Its number.
    pub id: String,
    /// The replica; `check:NAME` for what a check looks at, where that is none.
    pub replica: String,
    /// Its service; empty for what is no replica.
    pub service: String,
    /// `suspected`, `confirmed`, `isolated`, `acting`, `verifying`, `probation`, `resolved`,
    /// `escalated`, `paused`, `storm` or `unknown`.
    pub phase: String,
    /// Since when it is that.
    pub since_unix_ms: u64,
    /// `exited`, `refusing`, `hung`, `lying`, `failing`, `absent` or `forecast`.
    pub cause: String,
    /// The evidence.
    pub why: String,
    /// Measurements that led there.
    pub signs: Vec<SignView>,
    /// The first sign.
    pub onset_unix_ms: u64,
    /// When it was confirmed.
    pub detected_unix_ms: Option<u64>,
    /// When nothing new reached the replica any more.
    pub isolated_unix_ms: Option<u64>,
    /// When it served again.
    pub mitigated_unix_ms: Option<u64>,
    /// When it was over.
    pub resolved_unix_ms: Option<u64>,
    /// Steps of its playbook, with their conditions.
    pub steps: Vec<String>,
    /// Which of them comes next or is being done, from 1.
    pub step: u64,
    /// Steps that were begun.
    pub tried: u64,
    /// The present or last step: its key.
    pub key: Option<String>,
    /// What made it what it is.
    pub note: String,
    /// Why nothing is done right now; empty where something is.
    pub held: String,
    /// What a person can do next; empty for nothing.
    pub next: String,
    /// What it keeps in force until it is over.
    #[serde(default)]
    pub holds: Vec<String>,
}

/// One measurement that spoke against a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignView {
    /// When.
    pub at_unix_ms: u64,
    /// Who saw it.
    pub observer: String,
    /// What.
    pub text: String,
}

/// One row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowView {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at_unix_ms: u64,
    /// Which process wrote it.
    pub writer: String,
    /// Under which epoch.
    pub epoch: u64,
    /// One word.
    pub kind: String,
    /// What happened.
    pub text: String,
}

/// An incident with all that was written down about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentDetail {
    /// The incident.
    #[serde(flatten)]
    pub incident: IncidentView,
    /// Its rows, oldest first.
    pub rows: Vec<RowView>,
}

/// Why a replica is in its state, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// The replica.
    pub replica: String,
    /// The node it runs on; absent: that of the keeper, or none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its service.
    pub service: String,
    /// Its state.
    pub health: String,
    /// What that means for picks.
    pub gate: String,
    /// Why, in one line.
    pub why: String,
    /// `nothing`, `one`, `enough` or `certain`: how much stands against it.
    pub against: String,
    /// The detectors that say so.
    pub detectors: Vec<String>,
    /// The last measurements against it, oldest first.
    pub signs: Vec<SignView>,
    /// Its open incident, or the last one.
    pub incident: Option<IncidentDetail>,
    /// What to do next.
    pub next: String,
}

/// What would be done about a replica now; nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The replica.
    pub replica: String,
    /// Its open incident.
    pub incident: Option<String>,
    /// What comes next, and why.
    pub next: String,
    /// Steps that are left.
    pub steps: Vec<PlanStepView>,
}

/// One step that would follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStepView {
    /// What.
    pub what: String,
    /// Whether it would be done, and if not, why.
    pub verdict: String,
    /// What it touches beside the replica that is out of traffic anyway.
    #[serde(default)]
    pub touches: String,
    /// How it is undone; empty for what cannot be.
    #[serde(default)]
    pub undo: String,
}

/// Body of a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PauseBody {
    /// A replica, a service, or `all`, which is meant when it is left out.
    pub target: String,
    /// Who, for the record; up to 64 printable characters.
    pub owner: String,
    /// Why: needed.
    pub why: String,
    /// For how long, like `"30m"`; at most a week.
    #[serde(rename = "for")]
    pub lasts: String,
}

/// Body of an order about incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealBody {
    /// Who, for the record; up to 64 printable characters.
    pub owner: String,
    /// For `force`: number (from 1) or name of the step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// For `resume`: what was paused; `all` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
}

impl From<&Sign> for SignView {
    fn from(sign: &Sign) -> Self {
        Self { at_unix_ms: sign.at, observer: sign.observer.clone(), text: sign.text.clone() }
    }
}

impl From<&Row> for RowView {
    fn from(row: &Row) -> Self {
        Self {
            seq: row.seq,
            at_unix_ms: row.entry.at,
            writer: row.writer.clone(),
            epoch: row.epoch,
            kind: row.entry.kind.clone(),
            text: row.entry.text.clone(),
        }
    }
}

impl IncidentView {
    /// An incident, and why nothing is done about it right now.
    #[must_use]
    pub fn new(incident: &Incident, held: &str) -> Self {
        let times = &incident.times;
        let name = |step: &Step| match step.when {
            When::Always => step.action.name().to_owned(),
            when => format!("{} if {}", step.action.name(), when.label()),
        };
        Self {
            id: incident.id.clone(),
            replica: incident.target.clone(),
            service: incident.service.clone(),
            phase: incident.phase.label().into(),
            since_unix_ms: incident.since,
            cause: incident.cause.label().into(),
            why: incident.why.clone(),
            signs: incident.signs.iter().map(SignView::from).collect(),
            onset_unix_ms: times.onset,
            detected_unix_ms: times.detected,
            isolated_unix_ms: times.isolated,
            mitigated_unix_ms: times.mitigated,
            resolved_unix_ms: times.resolved,
            steps: incident.steps.iter().map(name).collect(),
            step: incident.at as u64 + 1,
            tried: incident.done.into(),
            key: incident.doing.as_ref().map(|doing| doing.key.clone()),
            note: incident.note.clone(),
            held: held.to_owned(),
            next: incident.next.clone(),
            holds: incident.holds.iter().map(|hold| hold.what.text()).collect(),
        }
    }
}
