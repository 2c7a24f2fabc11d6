//! Ways by which messages go. *When* belongs in `stage`.
//!
//! A new channel is one file here and one line in [`KINDS`]. The suite in `suite.rs` runs for
//! all of them. A channel sends once and says what came of it; it never tries again by itself.

mod alertmanager;
mod command;
mod email;
mod http;
mod pagerduty;
mod slack;
mod webhook;

#[cfg(test)]
mod suite;

use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use evenkeel_domain::alert::Message;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What sending gives.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Sends once, and says what came of it.
pub trait Channel: Send + Sync {
    /// Sends a message. Whoever drops this stops it.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;

    /// Where it goes, for people: no secret.
    fn place(&self) -> String;
}

/// A kind of channel.
pub struct Kind {
    /// Its name, as the configuration spells it.
    pub name: &'static str,
    /// Keys that belong to it.
    keys: &'static [&'static str],
    make: fn(&ChannelSettings) -> Result<Arc<dyn Channel>, Wrong>,
}

/// All kinds.
pub static KINDS: &[Kind] = &[
    Kind { name: "webhook", keys: &["url", "secret", "ca"], make: webhook::make },
    Kind { name: "slack", keys: &["url", "ca"], make: slack::make },
    Kind { name: "pagerduty", keys: &["url", "secret", "ca"], make: pagerduty::make },
    Kind { name: "alertmanager", keys: &["url", "secret", "ca"], make: alertmanager::make },
    Kind { name: "email", keys: &["url", "secret", "ca", "user", "from", "to"], make: email::make },
    Kind { name: "command", keys: &["command"], make: command::make },
];

/// Longer ones are typing errors.
const LONGEST: Duration = Duration::from_secs(60);

/// The channel that is configured.
///
/// # Errors
/// (key, what is wrong with it and what helps).
pub fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    let kind = KINDS.iter().find(|kind| kind.name == settings.kind).ok_or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        let text =
            format!("there is no channel `{}`; use one of {}", settings.kind, known.join(", "));
        ("kind", text)
    })?;
    if settings.timeout.is_zero() || settings.timeout > LONGEST {
        return Err(("timeout", "must be above zero and at most a minute".into()));
    }
    if let Some(key) = settings.own_keys().into_iter().find(|key| !kind.keys.contains(key)) {
        return Err((key, format!("a channel of kind `{}` has no such key; remove it", kind.name)));
    }
    let inner = (kind.make)(settings)?;
    Ok(Arc::new(Timed { inner, within: settings.timeout }))
}

/// A channel that is given up after its time.
struct Timed {
    inner: Arc<dyn Channel>,
    within: Duration,
}

impl Channel for Timed {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            match tokio::time::timeout(self.within, self.inner.send(message)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let why = format!("no answer of {} within {:?}", self.place(), self.within);
                    Answer::Retryable { why, after: None }
                }
            }
        })
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

/// Not now, because of this.
fn retry(why: impl Into<String>) -> Answer {
    Answer::Retryable { why: why.into(), after: None }
}
