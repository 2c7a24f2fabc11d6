//! Alertmanager's API, version 2: each alert with its labels. It groups, silences and sends on
//! by its own configuration, and takes the same alert any number of times.

use super::http::{Place, shown};
use super::{Channel, Sending, retry};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::text;
use evenkeel_domain::alert::{Alert, Kind, Labels, Message, Millis};
use evenkeel_domain::replica::Secret;
use http::header;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where below the URL.
const PATH: &str = "/api/v2/alerts";
/// How long an alert stands there without our saying so again: what is acknowledged is not
/// repeated, and must not end there by itself.
const STANDS: Millis = 7 * 24 * 3_600_000;
/// The same for what says that alerting lives: it ends there when that stops.
const LIVES: Millis = 300_000;

struct Alertmanager {
    place: Place,
    token: Option<Secret>,
}

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    let (place, token) = (Place::new(settings, None)?, settings.key()?);
    if token.is_some() && !place.is_safe() {
        return Err(("url", "a token is not sent unencrypted: use https://".into()));
    }
    Ok(Arc::new(Alertmanager { place, token }))
}

impl Channel for Alertmanager {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let mut fields = Vec::new();
            if let Some(token) = &self.token {
                fields.push((header::AUTHORIZATION, format!("Bearer {}", token.expose())));
            }
            let answer = self.place.post(PATH, &fields, &alerts(message)).await;
            match answer.and_then(|answer| self.place.judge(answer)) {
                Ok(answer) if answer.body().trim_ascii().is_empty() => {
                    Answer::Delivered(format!("answered {}", answer.status()))
                }
                Ok(answer) => retry(format!(
                    "{} answered {} where Alertmanager says nothing: check `url`",
                    self.place.shown(),
                    shown(answer.body())
                )),
                Err(answer) => answer,
            }
        })
    }

    fn place(&self) -> String {
        self.place.shown()
    }
}

fn alerts(message: &Message) -> Value {
    if message.alerts.is_empty() {
        let (name, until) = match message.kind {
            Kind::Alive => ("EvenkeelAlive", message.at + LIVES),
            _ => ("EvenkeelTest", message.at + 60_000),
        };
        return json!([{
            "labels": { "alertname": name, "source": "evenkeel" },
            "annotations": { "summary": text::title(message), "description": text::body(message) },
            "startsAt": text::at_text(message.at),
            "endsAt": text::at_text(until),
        }]);
    }
    message.alerts.iter().map(|alert| one(message, alert)).collect()
}

fn one(message: &Message, alert: &Alert) -> Value {
    let finding = &alert.finding;
    let mut labels: Labels = finding.all_labels();
    labels.insert("alertname".into(), finding.alert.clone());
    labels.insert("source".into(), "evenkeel".into());
    // Alertmanager refuses the whole message for one empty value.
    labels.retain(|_, value| !value.is_empty());
    json!({
        "labels": labels,
        "annotations": {
            "summary": finding.what,
            "description": finding.why,
            "affected": finding.affected,
            "done": finding.done.join("; "),
            "next": finding.next,
            "message": message.id,
            "acknowledged_by": alert.acknowledged.as_ref().map_or("", |by| &by.owner),
        },
        "startsAt": text::at_text(alert.since),
        "endsAt": text::at_text(alert.resolved.unwrap_or(message.at + STANDS)),
    })
}
