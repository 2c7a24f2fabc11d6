//! What the built-in model can be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of one server. The defaults answer as fast as they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. [`serve`](crate::serve) takes a bound listener and only reports this.
    pub listen: SocketAddr,
    /// The name the model is served under.
    pub model: String,
    /// Requests answered at once; at least one.
    pub slots: usize,
    /// Requests that may wait for a slot; one more is refused with 503.
    pub queue: usize,
    /// Time between two tokens of a sequence.
    pub token_interval: Duration,
    /// Time to read each token of a prompt, before the first token of its answer.
    pub prefill_per_token: Duration,
    /// A fixed delay before the first token, besides the prompt's.
    pub first_token: Duration,
    /// How long the model "loads": until then all but `/livez` and `/ping` answer 503.
    pub load_time: Duration,
    /// Begin without the model, as a warm standby does: until `/wake_up` has loaded it all but
    /// `/livez`, `/ping`, `/wake_up` and `/sleep` answer 503.
    pub unloaded: bool,
    /// Tokens that prompt and answer may have together.
    pub context: usize,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// How long running answers may go on after shutdown was asked for.
    pub drain: Duration,
    /// The model's version: servers with the same seed give the same answers, and
    /// servers with different seeds different ones, even at temperature 0.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            model: "evenkeel-demo".to_owned(),
            slots: 16,
            queue: 256,
            token_interval: Duration::ZERO,
            prefill_per_token: Duration::ZERO,
            first_token: Duration::ZERO,
            load_time: Duration::ZERO,
            unloaded: false,
            context: 8192,
            body_limit: 4 << 20,
            drain: Duration::from_secs(10),
            seed: 0,
        }
    }
}

impl Settings {
    /// The time from getting a slot to the first token.
    pub(crate) fn prefill(&self, prompt_tokens: usize) -> Duration {
        let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        self.first_token.saturating_add(self.prefill_per_token.saturating_mul(tokens))
    }
}
