//! A webhook: the message as JSON, signed where a secret is set.
//!
//! `evenkeel-signature: t=SECONDS,v1=HEX` is the HMAC-SHA-256 of `SECONDS.BODY` under the
//! secret; whoever refuses what is older than minutes cannot be told the same twice by others.
//! `idempotency-key` is the message's id. Any answer of 200 to 299 is a delivery.

use super::http::Place;
use super::{Channel, Sending};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::{json, text};
use evenkeel_domain::alert::Message;
use evenkeel_domain::clock;
use evenkeel_domain::replica::Secret;
use http::HeaderName;
use ring::hmac;
use std::sync::Arc;

struct Webhook {
    place: Place,
    secret: Option<Secret>,
}

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    Ok(Arc::new(Webhook { place: Place::new(settings, None)?, secret: settings.key()? }))
}

impl Channel for Webhook {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let body = json::message(message, &text::title(message), &text::body(message));
            let mut fields = vec![(HeaderName::from_static("idempotency-key"), message.id.clone())];
            if let Some(secret) = &self.secret {
                let seconds = clock::unix_millis() / 1000;
                let signature = sign(secret, seconds, &body.to_string());
                fields.push((HeaderName::from_static("evenkeel-signature"), signature));
            }
            let answer = self.place.post("", &fields, &body).await;
            match answer.and_then(|answer| self.place.judge(answer)) {
                Ok(answer) => Answer::Delivered(format!("answered {}", answer.status())),
                Err(answer) => answer,
            }
        })
    }

    fn place(&self) -> String {
        self.place.shown()
    }
}

fn sign(secret: &Secret, seconds: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_openssl() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        let signature = sign(&Secret::new("s3cret".into()), 1_700_000_000, "{\"a\":1}");
        assert_eq!(signature, SIGNED);
    }

    const SIGNED: &str =
        "t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
}
