//! The port to whatever answers a line: the gateway, with low priority.

use evenkeel_domain::durable::{BatchId, Owner};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One line, as a request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The path it goes to, such as `/v1/chat/completions`. The method is POST.
    pub path: Arc<str>,
    /// Its body: a JSON object.
    pub body: Vec<u8>,
    /// For whose account: the key the batch was ordered with.
    pub owner: Owner,
    /// The batch.
    pub batch: BatchId,
    /// The line in it, from 0.
    pub index: u32,
    /// The same for every attempt of this line, whatever process makes it: what
    /// `Idempotency-Key` should say.
    pub idempotency_key: String,
    /// Bytes of an answer that are wanted; a longer body may be cut off behind them.
    pub max_answer: usize,
    /// How long the batch goes on: no answer is wanted after that.
    pub within: Duration,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A replica answered, or the gateway did. Whether to try again is judged by status.
    Answer {
        /// HTTP status.
        status: u16,
        /// The id under which it ran, if there was one.
        request_id: Option<String>,
        /// When to try again, if the answer says so.
        retry_after: Option<Duration>,
        /// The body, whole, or one byte longer than was wanted at least.
        body: Vec<u8>,
    },
    /// There is no room now, or nobody to ask; it is tried again later.
    Later {
        /// When, if that is known.
        retry_after: Option<Duration>,
    },
}

/// What a call answers with. Dropping it gives the call up.
pub type Calling = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Answers lines.
pub trait Execute: Send + Sync {
    /// Sends a line. It should go behind everything that a person waits for.
    fn call(&self, call: Call) -> Calling;

    /// Whether a path leads anywhere: what a batch's `endpoint` may be.
    fn accepts(&self, path: &str) -> bool;
}
