//! Reading a client's body before a replica is chosen: small bodies whole, so that they
//! can be routed by their model and sent again; large ones only to the replay limit.
//!
//! A client that trickles its body holds no replica up this way.

use super::{ClientRest, next_frame};
use crate::error::Refusal;
use crate::shared::Reserved;
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use std::rc::Rc;
use std::time::Duration;

/// A client's body after reading.
pub(crate) struct ReadBody {
    /// All of it, or its beginning.
    pub(crate) bytes: Bytes,
    /// The rest, when it was too large to hold: then it can be sent only once.
    pub(crate) rest: Option<Box<ClientRest>>,
    /// What `bytes` takes from the memory budget, unless the rest holds it.
    pub(crate) memory: Option<Rc<Reserved>>,
}

impl ReadBody {
    fn whole(bytes: Bytes, memory: Option<Reserved>) -> Self {
        Self { bytes, rest: None, memory: memory.map(Rc::new) }
    }

    fn part(held: Held, body: Incoming, allowed: u64, memory: Reserved) -> Self {
        let rest = Some(Box::new(ClientRest::new(body, allowed, memory)));
        Self { bytes: held.into_bytes(), rest, memory: None }
    }
}

/// How much may be read and held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) max_body: u64,
    pub(crate) max_replay: u64,
    pub(crate) idle: Duration,
    /// How long the next piece may take before the rest is streamed instead of held: for
    /// gRPC, where a client may wait for an answer before it goes on.
    pub(crate) patience: Option<Duration>,
}

/// Reads a body.
pub(crate) async fn read(
    worker: &Rc<Worker>,
    mut body: Incoming,
    limits: BodyLimits,
) -> Result<ReadBody, Refusal> {
    if body.is_end_stream() {
        return Ok(ReadBody::whole(Bytes::new(), None));
    }
    let announced = body.size_hint().exact();
    if announced.is_some_and(|n| n > limits.max_body) {
        return Err(Refusal::TooLarge(limits.max_body));
    }
    let mut memory = Reserved::none(worker);
    let holds = |memory: &mut Reserved, n: u64| n <= limits.max_replay && memory.grow_to(n);
    let mut held = Held::default();
    loop {
        let data = match next_data(&mut body, limits.patience.unwrap_or(limits.idle)).await {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(ReadBody::whole(held.into_bytes(), Some(memory))),
            Err(Refusal::BodyTimeout) if limits.patience.is_some() => {
                let allowed = limits.max_body.saturating_sub(held.len());
                return Ok(ReadBody::part(held, body, allowed, memory));
            }
            Err(refusal) => return Err(refusal),
        };
        let total = held.len() + data.len() as u64;
        if total > limits.max_body {
            return Err(Refusal::TooLarge(limits.max_body));
        }
        let expected = announced.unwrap_or(total).max(total);
        let fits = holds(&mut memory, expected);
        held.push(data, expected);
        if !fits {
            return Ok(ReadBody::part(held, body, limits.max_body - total, memory));
        }
    }
}

/// The next data frame; trailers of requests are not passed on.
async fn next_data(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        // The timer is made only when the data is not there yet.
        let frame = match futures_util::FutureExt::now_or_never(next_frame(body)) {
            Some(frame) => frame,
            None => match tokio::time::timeout(idle, next_frame(body)).await {
                Ok(frame) => frame,
                Err(_) => return Err(Refusal::BodyTimeout),
            },
        };
        match frame {
            None => return Ok(None),
            Some(Err(e)) => return Err(Refusal::BodyBroken(e.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Pieces of a body: one piece is kept as it came, more are put together.
#[derive(Default)]
struct Held {
    one: Bytes,
    many: Option<BytesMut>,
}

impl Held {
    fn len(&self) -> u64 {
        self.many.as_ref().map_or(self.one.len(), BytesMut::len) as u64
    }

    fn push(&mut self, data: Bytes, expected: u64) {
        if let Some(many) = &mut self.many {
            many.extend_from_slice(&data);
        } else if self.one.is_empty() {
            self.one = data;
        } else {
            // Never trust an announced length with more than what has come, twice over.
            let now = self.one.len() + data.len();
            let capacity = usize::try_from(expected).unwrap_or(now).clamp(now, now * 2 + 4096);
            let mut many = BytesMut::with_capacity(capacity);
            many.extend_from_slice(&self.one);
            many.extend_from_slice(&data);
            self.one = Bytes::new();
            self.many = Some(many);
        }
    }

    fn into_bytes(self) -> Bytes {
        self.many.map_or(self.one, BytesMut::freeze)
    }
}
