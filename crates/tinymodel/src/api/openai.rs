//! What OpenAI's two generating endpoints have in common on the wire: chat and text
//! completions differ in what stands in a choice, and in nothing around it.

use bytes::BytesMut;

use crate::app::{App, Head};
use crate::run::Run;
use crate::wire;

fn head_json(app: &App, head: &Head, object: &str, out: &mut BytesMut) {
    wire::raw(out, "{\"id\":");
    wire::string(out, &head.id);
    wire::raw(out, ",\"object\":");
    wire::string(out, object);
    wire::raw(out, ",\"created\":");
    wire::number(out, head.created as usize);
    wire::raw(out, ",\"model\":");
    wire::string(out, &app.settings.model);
    wire::raw(out, ",\"system_fingerprint\":");
    wire::string(out, &app.model.fingerprint);
}

/// A unary answer up to its choices.
pub(super) fn whole_start(app: &App, head: &Head, object: &str) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    head_json(app, head, object, &mut out);
    wire::raw(&mut out, ",\"choices\":[");
    out
}

/// A unary answer from the end of its choices to its usage.
pub(super) fn whole_usage(run: &Run, out: &mut BytesMut) {
    wire::raw(out, "],\"usage\":");
    wire::usage(out, run.prompt_tokens, run.produced);
}

/// The beginning of a choice in a unary answer.
pub(super) fn choice_start(index: usize, out: &mut BytesMut) {
    wire::raw(out, if index == 0 { "{\"index\":" } else { ",{\"index\":" });
    wire::number(out, index);
}

/// Why a choice has ended; `None` for one that goes on.
pub(super) fn finish_reason(word: Option<&str>, out: &mut BytesMut) {
    wire::raw(out, ",\"logprobs\":null,\"finish_reason\":");
    wire::string_or_null(out, word);
}

/// The stop string that has ended a choice, if one has.
pub(super) fn stop_reason(stop: Option<&str>, out: &mut BytesMut) {
    wire::raw(out, ",\"stop_reason\":");
    wire::string_or_null(out, stop);
}

/// A stream's events, around what stands in their choice.
pub(super) struct Events {
    start: String,
    include_usage: bool,
}

impl Events {
    /// For events of this `object`.
    pub(super) fn new(app: &App, head: &Head, object: &str, include_usage: bool) -> Self {
        let mut start = BytesMut::new();
        wire::raw(&mut start, "data: ");
        head_json(app, head, object, &mut start);
        wire::raw(&mut start, ",\"choices\":[");
        Self { start: String::from_utf8_lossy(&start).into_owned(), include_usage }
    }

    /// An event up to what stands in its choice.
    pub(super) fn open(&self, index: usize, out: &mut BytesMut) {
        wire::raw(out, &self.start);
        wire::raw(out, "{\"index\":");
        wire::number(out, index);
    }

    /// Its end, after the choice.
    pub(super) fn close(&self, out: &mut BytesMut) {
        wire::raw(out, "}]");
        self.close_event(out);
    }

    /// Its end, after what stands beside the choices.
    pub(super) fn close_event(&self, out: &mut BytesMut) {
        // OpenAI: every event has the field once it was asked for.
        wire::raw(out, if self.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" });
    }

    /// The end of the stream.
    pub(super) fn end(&self, run: &Run, out: &mut BytesMut) {
        if self.include_usage {
            wire::raw(out, &self.start);
            wire::raw(out, "],\"usage\":");
            wire::usage(out, run.prompt_tokens, run.produced);
            wire::raw(out, "}\n\n");
        }
        wire::raw(out, "data: [DONE]\n\n");
    }
}
