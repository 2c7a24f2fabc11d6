//! A webhook of Slack's shape, which Mattermost, Rocket.Chat and others take as well: `{"text"}`
//! in, `ok` out.

use super::http::{Place, shown};
use super::{Channel, Sending, retry};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::text;
use evenkeel_domain::alert::Message;
use serde_json::json;
use std::sync::Arc;

/// Characters that Slack shows of a message's text without a fold.
const TEXT: usize = 3_500;

struct Slack(Place);

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    Ok(Arc::new(Slack(Place::new(settings, None)?)))
}

impl Channel for Slack {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let whole = format!(
                "*{}*\n```\n{}```\n_{}_",
                escaped(&text::title(message)),
                escaped(&text::body(message)).chars().take(TEXT).collect::<String>(),
                message.id
            );
            let answer = self.0.post("", &[], &json!({ "text": whole })).await;
            match answer.and_then(|answer| self.0.judge(answer)) {
                Ok(answer) if answer.body().trim_ascii().eq_ignore_ascii_case(b"ok") => {
                    Answer::Delivered("answered ok".into())
                }
                Ok(answer) => retry(format!(
                    "{} answered {} where Slack says `ok`: what is there takes no such messages; \
                     check `url`",
                    self.0.shown(),
                    shown(answer.body())
                )),
                Err(answer) => answer,
            }
        })
    }

    fn place(&self) -> String {
        self.0.shown()
    }
}

/// Slack's three control characters; a fence would end what is quoted.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'")
}
