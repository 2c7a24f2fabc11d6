//! A request that may be made more than once, and whose making may outlive its client.

use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::body::read::ReadBody;
use crate::error::{Refusal, Shape};
use crate::handle::{Call, ClientInfo};
use crate::route::Entry;
use crate::routed::{ModelAt, Routed};
use crate::shared::Reserved;
use crate::trace::RequestTrace;
use crate::worker::Worker;
use bytes::Bytes;
use evenkeel_domain::settings::Tier;
use http::request::Parts;
use http::{HeaderValue, Response};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// All that is known of a request whose body is held.
pub(crate) struct Errand {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<ClientInfo>,
    pub(super) started: Instant,
    pub(super) id: HeaderValue,
    owner: HeaderValue,
    flow: u64,
    trace: Option<Rc<RequestTrace>>,
    pub(super) grpc: bool,
    pub(super) shape: Shape,
    pub(super) entry: Arc<Entry>,
    pub(super) tier: Option<Tier>,
    pub(super) model: ModelAt,
    pub(super) stateful: bool,
    pub(super) stream: bool,
    key: u64,
    tokens: u64,
    prompt_tokens: u64,
    pub(super) head: Parts,
    pub(super) body: Bytes,
    memory: Option<Rc<Reserved>>,
}

impl Errand {
    /// `None` when the body is not held whole: it can be sent once only.
    pub(super) fn new(call: &Call<'_>, routed: Routed, head: Parts, body: ReadBody) -> Self {
        let Routed { entry, tier, model, stateful, stream, tokens, prompt_tokens, key } = routed;
        Self {
            worker: call.worker.clone(),
            client: call.client.clone(),
            started: call.started,
            id: call.id.clone(),
            owner: call.owner.clone(),
            flow: call.flow,
            trace: call.trace.cloned(),
            grpc: call.grpc,
            shape: call.shape,
            entry,
            tier,
            model,
            stateful,
            stream,
            key,
            tokens,
            prompt_tokens,
            head,
            body: body.bytes,
            memory: body.memory,
        }
    }

    /// The same for another service, which knows the model by another name.
    pub(super) fn to(&self, entry: Arc<Entry>, model: ModelAt) -> Self {
        Self {
            worker: self.worker.clone(),
            client: self.client.clone(),
            started: self.started,
            id: self.id.clone(),
            owner: self.owner.clone(),
            flow: self.flow,
            trace: self.trace.clone(),
            grpc: self.grpc,
            shape: self.shape,
            entry,
            tier: self.tier,
            model,
            stateful: self.stateful,
            stream: self.stream,
            key: self.key,
            tokens: self.tokens,
            prompt_tokens: self.prompt_tokens,
            head: self.head.clone(),
            body: self.body.clone(),
            memory: self.memory.clone(),
        }
    }

    /// Makes it as a part of a counted request.
    pub(super) async fn run(&self, part: &Rc<RequestGuard>) -> Result<Response<OutBody>, Refusal> {
        let routed = Routed {
            entry: self.entry.clone(),
            tier: self.tier,
            model: self.model.clone(),
            stateful: self.stateful,
            stream: self.stream,
            key: self.key,
            tokens: self.tokens,
            prompt_tokens: self.prompt_tokens,
        };
        let mut call = Call {
            worker: &self.worker,
            client: &self.client,
            started: self.started,
            id: &self.id,
            owner: self.owner.clone(),
            key: None,
            flow: self.flow,
            // Taken on already.
            levels: None,
            bill: None,
            trace: self.trace.as_ref(),
            grpc: self.grpc,
            shape: self.shape,
            log: None,
        };
        let body = ReadBody { bytes: self.body.clone(), rest: None, memory: self.memory.clone() };
        call.exchange(routed, self.head.clone(), body, Some(part.clone())).await
    }
}
