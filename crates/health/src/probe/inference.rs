//! A real inference with an expected answer: the only probe that sees an engine which is
//! dead behind a living server.

use super::http::{expected, fetch, good};
use super::{Asking, Probe};
use bytes::Bytes;
use evenkeel_domain::Replica;
use evenkeel_domain::settings::Probe as Settings;
use http::Method;

#[derive(Debug)]
pub(super) struct Inference {
    path: String,
    body: Bytes,
    expect: String,
    /// Whether the body is the default one, in which a replica's own model name goes.
    default_body: bool,
}

fn one_token(model: &str) -> String {
    format!(r#"{{"model":{},"prompt":"1","max_tokens":1,"temperature":0}}"#, quoted(model))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Inference {
    pub(super) fn new(settings: &Settings, model: &str) -> Self {
        let default_body = settings.inference_body.is_empty();
        let body = if default_body { one_token(model) } else { settings.inference_body.clone() };
        Self {
            path: settings.inference_path.clone(),
            body: body.into(),
            expect: settings.expect.clone(),
            default_body,
        }
    }
}

impl Probe for Inference {
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a> {
        Box::pin(async move {
            let body = match &replica.id.model {
                Some(model) if self.default_body => Bytes::from(one_token(model)),
                _ => self.body.clone(),
            };
            let response = fetch(replica, Method::POST, &self.path, body).await?;
            good(&self.path, &response)?;
            expected(&self.path, &self.expect, &response)
        })
    }
}
