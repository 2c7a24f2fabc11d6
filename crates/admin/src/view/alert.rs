//! Alerts, who is told of them, and what people say to that, as JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// All that is known of alerts now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertsView {
    /// Why they are not kept; absent while they are.
    pub error: Option<String>,
    /// What is wrong now, oldest first.
    pub open: Vec<AlertView>,
    /// Who is not told of what.
    pub silences: Vec<SilenceView>,
    /// Ways to people.
    pub channels: Vec<ChannelView>,
    /// What raises alerts.
    pub sources: Vec<SourceView>,
    /// Findings for which there was no room, since the process began.
    pub overflow: u64,
}

/// One alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    /// Its number.
    pub id: String,
    /// What kind it is, such as `no_replica`.
    pub alert: String,
    /// `page` or `ticket`.
    pub severity: String,
    /// The service; empty where it is about none.
    pub service: String,
    /// By what it is matched and silenced.
    pub labels: BTreeMap<String, String>,
    /// What is wrong.
    pub what: String,
    /// The evidence.
    pub why: String,
    /// Who feels it.
    pub affected: String,
    /// What was done about it.
    pub done: Vec<String>,
    /// What a person does next.
    pub next: String,
    /// Since when.
    pub since_unix_ms: u64,
    /// When it had been so for long enough.
    pub fired_unix_ms: u64,
    /// Who looks after it.
    pub acknowledged_by: Option<String>,
    /// Why nobody is told.
    pub silenced: Option<String>,
    /// What it is told with.
    pub group: String,
    /// Which step of its route is told, from 1; 0 before anybody is.
    pub step: u64,
    /// Channels that it was given to.
    pub told: Vec<String>,
}

/// Nobody is told of what matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SilenceView {
    /// Its number.
    pub id: String,
    /// Labels.
    pub matching: BTreeMap<String, String>,
    /// Who.
    pub owner: String,
    /// Why.
    pub why: String,
    /// Until when.
    pub until_unix_ms: u64,
}

/// A way to people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Where it goes, without what is secret.
    pub place: String,
    /// Its breaker: `admitting`, `rejecting` or `trial`.
    pub state: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages that it took since the process began.
    pub delivered: u64,
    /// Times that it did not.
    pub failed: u64,
    /// Why it took nothing the last time; absent once it has.
    pub error: Option<String>,
}

/// What raises alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// The label `alert`.
    pub name: String,
    /// When it speaks.
    pub about: String,
    /// `page` or `ticket`, unless what is seen says otherwise.
    pub severity: String,
    /// For how long it must be so, in seconds.
    pub for_seconds: u64,
    /// Whether anybody is told.
    pub enabled: bool,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastView {
    /// When.
    pub at_unix_ms: u64,
    /// The alert; empty for what is about none.
    pub alert: String,
    /// One word: `fires`, `delivered`, `undelivered`, `acknowledged`, `escalated`, `silenced`,
    /// `heard`, `resolved`, `lost`, `silence` or `unsilence`.
    pub kind: String,
    /// What.
    pub text: String,
}

/// What came of trying a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedView {
    /// The channel.
    pub channel: String,
    /// Whether it took the message.
    pub delivered: bool,
    /// What it said.
    pub said: String,
}

/// Body of a silence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SilenceBody {
    /// Labels that must all match; `*` at the end of a value stands for anything.
    pub matching: BTreeMap<String, String>,
    /// Who, for the record; up to 64 printable characters.
    pub owner: String,
    /// Why.
    pub why: String,
    /// For how long, like `"2h"`.
    #[serde(rename = "for")]
    pub lasts: String,
}

/// Body of a trial of channels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TryBody {
    /// The channel; all without it.
    pub channel: Option<String>,
}
