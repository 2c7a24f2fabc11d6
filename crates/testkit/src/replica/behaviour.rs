//! What a replica can be told to do.

use super::body::{Part, Plan};
use crate::answer;
use bytes::Bytes;
use std::time::Duration;

/// What becomes of one request. Answers are streamed if that was asked for; the right
/// answer is [`crate::answer::tokens`] of the last message and `max_tokens` (16 by default).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// The right answer at once.
    Good,
    /// The right answer, its head after so long.
    SlowHead(Duration),
    /// The right answer, its head at once, its body after so long.
    SlowBody(Duration),
    /// The right answer at a pace; a unary one takes as long in all.
    Paced {
        /// Until the first token.
        first: Duration,
        /// Between tokens.
        gap: Duration,
    },
    /// These in turn, request by request; probes are answered.
    InTurn(Vec<Behaviour>),
    /// An answer of empty tokens.
    Hollow {
        /// Between tokens.
        gap: Duration,
    },
    /// The right answer at this pace, or an error when the prompt is longer than so many bytes.
    LongFails {
        /// Longest prompt that is answered.
        most: usize,
        /// How it is answered.
        pace: (Duration, Duration),
    },
    /// The right answer at this pace, under another model's name.
    Named {
        /// The name.
        model: &'static str,
        /// Until the first token, and between tokens.
        pace: (Duration, Duration),
    },
    /// The right answer at this pace, which then goes on.
    Endless {
        /// Until the first token, and between tokens.
        pace: (Duration, Duration),
    },
    /// A whole answer that is wrong.
    Lie,
    /// An error.
    Status {
        /// Such as 429 or 500.
        status: u16,
        /// The `retry-after` header, in seconds.
        retry_after: Option<u32>,
    },
    /// An error with a body of the test's choice.
    Error {
        /// Such as 400.
        status: u16,
        /// JSON.
        body: String,
    },
    /// No answer, ever.
    Hang,
    /// The connection closes in order, without an answer.
    Close,
    /// The connection is reset, without an answer.
    Reset,
    /// 200 with half a JSON document, whole by its length.
    TruncatedJson,
    /// 200 with no body.
    Empty,
    /// The answer breaks after so many tokens; a unary one before its end.
    Break {
        /// Tokens that still come.
        after: u32,
        /// Between tokens.
        gap: Duration,
        /// How it breaks.
        how: Break,
    },
}

/// How a stream breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The connection closes in the middle of the body.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing more comes.
    Stall,
    /// The body ends in order, but the answer does not.
    End,
    /// An error in band, then the end.
    ErrorEvent,
    /// Bytes that are no event.
    Garbage,
}

impl Behaviour {
    pub(super) fn plan(&self, body: &Bytes) -> Plan {
        let asked = Asked::read(body);
        match self {
            Self::Good => asked.whole(Duration::ZERO, Duration::ZERO),
            Self::SlowHead(delay) => Plan { before: *delay, ..Self::Good.plan(body) },
            Self::SlowBody(delay) => {
                let mut plan = Self::Good.plan(body);
                plan.parts.push_front(Part::Wait(*delay));
                plan
            }
            Self::Paced { first, gap } => asked.whole(*first, *gap),
            Self::InTurn(all) => all.first().map_or_else(Plan::default, |one| one.plan(body)),
            Self::Hollow { gap } => asked.hollow(*gap),
            Self::LongFails { most, pace } if asked.prompt.len() <= *most => {
                asked.whole(pace.0, pace.1)
            }
            Self::LongFails { .. } => Self::Status { status: 500, retry_after: None }.plan(body),
            Self::Named { model, pace } => asked.whole(pace.0, pace.1).named(model),
            Self::Endless { pace } => asked.endless(pace.0, pace.1),
            Self::Lie => Asked { prompt: format!("not {}", asked.prompt), ..asked }
                .whole(Duration::ZERO, Duration::ZERO),
            Self::Status { status, retry_after } => {
                let error = r#"{"error":{"message":"as told","type":"test"}}"#;
                let mut plan = Plan::json(*status, error.into());
                plan.headers.extend(retry_after.map(|s| ("retry-after", s.to_string())));
                plan
            }
            Self::Error { status, body } => Plan::json(*status, body.clone()),
            Self::Hang => Plan { hang: true, ..Plan::default() },
            Self::Close => Plan { reset: Some(false), ..Plan::default() },
            Self::Reset => Plan { reset: Some(true), ..Plan::default() },
            Self::TruncatedJson => {
                let whole = asked.json();
                Plan::json(200, whole[..whole.len() / 2].to_owned())
            }
            Self::Empty => Plan::json(200, String::new()),
            Self::Break { after, gap, how } => asked.broken(*after, *gap, *how),
        }
    }
}

/// Tokens of an answer without an end: more than any test waits for.
const ENDLESS: u32 = 4000;

/// What a request wants.
struct Asked {
    prompt: String,
    tokens: u32,
    stream: bool,
}

impl Asked {
    fn read(body: &[u8]) -> Self {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let last = body["messages"].as_array().and_then(|messages| messages.last());
        let prompt = last.map_or(&body["prompt"], |message| &message["content"]);
        let tokens = body["max_tokens"].as_u64().and_then(|n| u32::try_from(n).ok());
        Self {
            prompt: prompt.as_str().unwrap_or_default().to_owned(),
            tokens: tokens.unwrap_or(16),
            stream: body["stream"] == true,
        }
    }

    fn json(&self) -> String {
        serde_json::json!({
            "id": "test", "object": "chat.completion", "created": 1, "model": "test",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant", "content": answer::text(&self.prompt, self.tokens)
                },
                "finish_reason": "stop",
            }],
        })
        .to_string()
    }

    fn whole(&self, first: Duration, gap: Duration) -> Plan {
        if !self.stream {
            let after = first + gap * self.tokens.saturating_sub(1);
            return Plan { before: after, ..Plan::json(200, self.json()) };
        }
        let mut plan = Plan::events();
        plan.event(r#"{"role":"assistant","content":""}"#, None);
        plan.parts.push_back(Part::Wait(first));
        self.tokens(&mut plan, self.tokens, gap);
        plan.event("{}", Some("stop"));
        plan.raw("data: [DONE]\n\n");
        plan
    }

    fn hollow(&self, gap: Duration) -> Plan {
        let mut plan = Plan::events();
        for _ in 0..=self.tokens {
            plan.event(r#"{"content":""}"#, None);
            plan.parts.push_back(Part::Wait(gap));
        }
        plan.event("{}", Some("stop"));
        plan.raw("data: [DONE]\n\n");
        plan
    }

    fn endless(&self, first: Duration, gap: Duration) -> Plan {
        let mut plan = Plan::events();
        plan.event(r#"{"role":"assistant","content":""}"#, None);
        plan.parts.push_back(Part::Wait(first));
        self.tokens(&mut plan, self.tokens, gap);
        for _ in 0..ENDLESS {
            plan.parts.push_back(Part::Wait(gap));
            plan.event(r#"{"content":" more"}"#, None);
        }
        plan.parts.push_back(Part::Never);
        plan
    }

    fn broken(&self, after: u32, gap: Duration, how: Break) -> Plan {
        let mut plan = if self.stream {
            let mut plan = Plan::events();
            plan.event(r#"{"role":"assistant","content":""}"#, None);
            self.tokens(&mut plan, after, gap);
            plan
        } else {
            let whole = self.json();
            let mut plan = Plan::json(200, whole[..whole.len() / 2].to_owned());
            plan.headers.push(("content-length", whole.len().to_string()));
            plan
        };
        // What was handed over just before a cut would not be written any more.
        plan.parts.push_back(Part::Wait(gap.max(Duration::from_millis(1))));
        match how {
            Break::Cut => plan.parts.push_back(Part::Cut { reset: false }),
            Break::Reset => plan.parts.push_back(Part::Cut { reset: true }),
            Break::Stall => plan.parts.push_back(Part::Never),
            Break::End => {}
            Break::ErrorEvent => plan.raw("data: {\"error\":{\"message\":\"as told\"}}\n\n"),
            Break::Garbage => plan.raw("data: {\"choi\n\n\u{0}\u{1}"),
        }
        plan
    }

    fn tokens(&self, plan: &mut Plan, count: u32, gap: Duration) {
        let tokens = answer::tokens(&self.prompt, self.tokens);
        for (number, token) in tokens.iter().take(count as usize).enumerate() {
            if number > 0 {
                plan.parts.push_back(Part::Wait(gap));
            }
            plan.event(&serde_json::json!({ "content": token }).to_string(), None);
        }
    }
}
