//! PagerDuty's Events API, version 2: one incident there for each time that something is wrong
//! in a group.

use super::http::{Place, shown};
use super::{Channel, Sending, retry};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::{json, text};
use evenkeel_domain::alert::{Kind, Message, Severity};
use evenkeel_domain::replica::Secret;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where PagerDuty takes events.
const USUAL: &str = "https://events.pagerduty.com";
/// Where below that.
const PATH: &str = "/v2/enqueue";
/// Characters of a summary at most.
const SUMMARY: usize = 1024;

struct PagerDuty {
    place: Place,
    key: Secret,
}

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    let place = Place::new(settings, Some(USUAL))?;
    let key = settings.key()?;
    let key = key.ok_or(("secret", "is needed: the routing key of the integration".to_owned()))?;
    if !place.is_safe() {
        return Err(("url", "a routing key is not sent unencrypted: use https://".into()));
    }
    Ok(Arc::new(PagerDuty { place, key }))
}

impl PagerDuty {
    /// The event; `None` where it has nothing to say to PagerDuty.
    fn event(&self, message: &Message) -> Option<Value> {
        let action = match message.kind {
            Kind::Fires | Kind::Repeats | Kind::Escalates | Kind::Test | Kind::Alive => "trigger",
            Kind::Acknowledged => "acknowledge",
            // Others of the group still fire: the incident goes on.
            Kind::Resolved if message.open => return None,
            Kind::Resolved => "resolve",
        };
        let mut event = json!({
            "routing_key": self.key.expose(),
            "event_action": action,
            "dedup_key": format!("evenkeel/{}/{}", message.group, message.episode),
        });
        if action == "trigger" {
            let page = message.alerts.iter().any(|a| a.finding.severity == Severity::Page);
            let first = message.alerts.first();
            let title = text::title(message);
            event["payload"] = json!({
                "summary": title.chars().take(SUMMARY).collect::<String>(),
                "source": "evenkeel",
                "severity": if page { "critical" } else if first.is_some() { "warning" } else { "info" },
                "timestamp": text::at_text(first.map_or(message.at, |alert| alert.since)),
                "component": first.map(|alert| alert.finding.service.clone()),
                "group": message.group,
                "class": first.map(|alert| alert.finding.alert.clone()),
                "custom_details": {
                    "text": text::body(message),
                    "message": message.id,
                    "alerts": message.alerts.iter().map(json::alert).collect::<Vec<_>>(),
                },
            });
        }
        Some(event)
    }
}

impl Channel for PagerDuty {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let Some(event) = self.event(message) else {
                return Answer::Delivered("others of the group still fire: nothing to send".into());
            };
            let answer = self.place.post(PATH, &[], &event).await;
            let answer = match answer.and_then(|answer| self.place.judge(answer)) {
                Ok(answer) => answer,
                Err(answer) => return answer,
            };
            let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            if said["status"] == "success" {
                return Answer::Delivered(format!("answered {}", answer.status()));
            }
            let said = shown(answer.body());
            let place = self.place.shown();
            retry(format!("{place} answered {said}, which PagerDuty does not; check `url`"))
        })
    }

    fn place(&self) -> String {
        self.place.shown()
    }
}
