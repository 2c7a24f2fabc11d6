//! One try of a request on one replica, up to its commit.
//!
//! ```text
//! send ─► head ─► status ─► body: whole JSON checked / first piece seen ─► Commit
//!   └───────┴────────┴──────────────┴─────────────────────────────────► Failed
//! ```
//! Until `Commit` nothing has reached the client, so a failed attempt can be thrown away.
//! The attempt has no timers: the exchange that runs it (and may race it) has them.

pub(crate) mod classify;
pub(crate) mod guard;
mod request;
mod stream;

use crate::body::OutBody;
use crate::body::relay::Relay;
use crate::headers;
use crate::resume::live::Live;
use crate::shared::Reserved;
use crate::template::Template;
use crate::upstream::{AnswerBody, SendFailure};
use crate::usage::Told;
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use classify::Verdict;
use evenkeel_domain::outcome::{NetworkFault, Outcome, ReplicaFault};
use evenkeel_domain::{Incarnation, Known, Replica};
use guard::{AttemptGuard, RequestGuard};
use http::header::{CONTENT_LENGTH, RETRY_AFTER, SERVER};
use http::{HeaderMap, Response, StatusCode};
use std::rc::Rc;
use std::time::Duration;

/// A JSON answer up to this size is checked whole before it is committed.
pub(crate) const CHECKED_MAX: usize = 1 << 20;
/// How much of a replica's error answer is kept to be passed on.
const ERROR_MAX: usize = 64 << 10;

/// How an attempt ended.
pub(crate) enum End {
    /// The answer may go to the client.
    Commit(Response<OutBody>),
    /// A stream that has its first token, or the next one.
    Stream(Box<Opened>),
    /// It may not.
    Failed(Box<Failed>),
}

/// A stream whose first new events are here.
pub(crate) struct Opened {
    pub(crate) head: http::response::Parts,
    pub(crate) live: Box<Live>,
    pub(crate) first: Bytes,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) outcome: Outcome,
    /// For logs.
    pub(crate) text: String,
    /// No byte of the request can have reached the replica.
    pub(crate) unsent: bool,
    /// The client's body broke, not the replica.
    pub(crate) client_broke: bool,
    /// What the replica answered, to be passed on when nothing better comes.
    pub(crate) answer: Option<(StatusCode, HeaderMap, Bytes)>,
    pub(crate) retry_after: Option<Duration>,
    /// It gives another answer than the one to go on with.
    pub(crate) diverged: bool,
    /// It refuses to go on with an answer this way.
    pub(crate) refused: bool,
    /// Which replica, and which start of it.
    pub(crate) replica: (u64, Incarnation),
}

/// Makes one attempt. `guard` counts it, and settles it when it ends or is dropped.
pub(crate) async fn attempt(
    worker: &Rc<Worker>,
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
) -> End {
    let connections = worker.pools.of(guard.replica());
    match connections.send(guard.replica(), template, guard.started()).await {
        Ok((mut head, body)) => {
            learn_server(guard.replica(), &head.headers);
            headers::strip_hop_by_hop(&mut head.headers);
            let memory = Reserved::none(worker);
            answered(template, guard, request, Answer { head, body, memory }).await
        }
        Err(failure) => send_failed(guard, failure),
    }
}

/// llama.cpp names itself; it runs an abandoned unary request to its end.
fn learn_server(replica: &Replica, headers: &HeaderMap) {
    let ability = &replica.abilities.runs_on;
    if ability.get() == Known::Unknown {
        let llama = headers.get(SERVER).is_some_and(|name| name == "llama.cpp");
        ability.set(if llama { Known::Yes } else { Known::No });
    }
}

fn send_failed(guard: AttemptGuard, failure: SendFailure) -> End {
    fail(guard, failure.outcome, failure.text, |failed| {
        failed.unsent = failure.unsent;
        failed.client_broke = failure.client_broke;
    })
}

fn fail(
    guard: AttemptGuard,
    outcome: Outcome,
    text: String,
    more: impl FnOnce(&mut Failed),
) -> End {
    let replica = (guard.replica().id.key, guard.incarnation());
    let mut failed = Failed::of_stream(outcome, text, replica);
    more(&mut failed);
    guard.settle(outcome);
    End::Failed(Box::new(failed))
}

/// An answer's head, taken apart, with its body still to come.
struct Answer {
    head: http::response::Parts,
    body: AnswerBody,
    /// What is held of it, from the common budget.
    memory: Reserved,
}

async fn answered(
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    answer: Answer,
) -> End {
    match classify::head(answer.head.status, &answer.head.headers, template.grpc) {
        Verdict::Good => good(template, guard, request, answer).await,
        Verdict::PassOn if template.is_onward() => {
            let text = format!("answered {} when asked to go on", answer.head.status);
            stream::refused(guard, text)
        }
        Verdict::PassOn => {
            guard.first_byte();
            commit_relayed(template, guard, request, answer, Bytes::new(), Outcome::ClientFault)
        }
        Verdict::Bad(outcome) => Box::pin(bad(guard, answer, outcome)).await,
    }
}

async fn bad(guard: AttemptGuard, answer: Answer, outcome: Outcome) -> End {
    let Answer { head, mut body, mut memory } = answer;
    let mut kept = BytesMut::new();
    let mut whole = false;
    loop {
        match body.frame().await {
            None => {
                whole = true;
                break;
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    let length = kept.len() + data.len();
                    if length > ERROR_MAX || !memory.grow_to(length as u64) {
                        break;
                    }
                    kept.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => break,
        }
    }
    let retry_after = headers::retry_after(&head.headers);
    if outcome == Outcome::Backpressure {
        guard.busy_for(retry_after);
    }
    fail(guard, outcome, format!("answered {}", head.status), |failed| {
        failed.retry_after = retry_after;
        if whole {
            failed.answer = Some((head.status, head.headers, kept.freeze()));
        }
    })
}

async fn good(
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    mut answer: Answer,
) -> End {
    let head = &answer.head;
    if template.head_only || classify::has_no_body(head.status) {
        guard.first_byte();
        return commit_relayed(template, guard, request, answer, Bytes::new(), Outcome::Ok);
    }
    if let Some(watch) = &template.watch {
        if headers::is_type(&head.headers, "text/event-stream") {
            return Box::pin(stream::open(watch, template.asked(), guard, answer)).await;
        }
        if template.is_onward() {
            return stream::diverged(guard, "answered without a stream".into());
        }
    }
    let json = headers::is_type(&head.headers, "application/json");
    let announced = answer.body.size_hint().exact();
    if json && announced.is_none_or(|n| n <= CHECKED_MAX as u64) {
        return whole_json(template, guard, request, answer).await;
    }
    if template.commits_at_head && !json {
        guard.first_byte();
        return commit_relayed(template, guard, request, answer, Bytes::new(), Outcome::Ok);
    }
    match first_piece(&mut answer.body).await {
        First::Data(first) => {
            guard.first_byte();
            commit_relayed(template, guard, request, answer, first, Outcome::Ok)
        }
        First::End(trailers) => ended_at_once(template, guard, request, answer, trailers),
        First::Broken(text) => broken(guard, text),
    }
}

/// What comes first after a head.
enum First {
    Data(Bytes),
    End(Option<HeaderMap>),
    Broken(String),
}

async fn first_piece(body: &mut AnswerBody) -> First {
    loop {
        match body.frame().await {
            None => return First::End(None),
            Some(Err(e)) => return First::Broken(e.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return First::Data(data),
                Err(frame) => return First::End(frame.into_trailers().ok()),
            },
        }
    }
}

fn broken(guard: AttemptGuard, text: String) -> End {
    let outcome = Outcome::ReplicaFault(ReplicaFault::Truncated);
    fail(guard, outcome, format!("answer broke off: {text}"), |_| ())
}

/// The body ended without a byte: right for some, a fault where an answer was asked for.
fn ended_at_once(
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    answer: Answer,
    trailers: Option<HeaderMap>,
) -> End {
    if template.grpc {
        let status = trailers.as_ref().and_then(classify::grpc_status);
        if let Verdict::Bad(outcome) = classify::grpc(status, true) {
            return fail(guard, outcome, format!("gRPC status {status:?}"), |_| ());
        }
    } else if template.expects_content {
        let outcome = Outcome::ReplicaFault(ReplicaFault::Garbage);
        return fail(guard, outcome, "empty answer".into(), |_| ());
    }
    guard.first_byte();
    let body = OutBody::Full(None, trailers.map(Box::new));
    finish(guard, request, answer.head, body, Outcome::Ok)
}

async fn whole_json(
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    mut answer: Answer,
) -> End {
    let mut one = match first_piece(&mut answer.body).await {
        First::Data(data) => data,
        First::End(trailers) => {
            return ended_at_once(template, guard, request, answer, trailers);
        }
        First::Broken(text) => return broken(guard, text),
    };
    guard.first_byte();
    // Most answers are one piece; only more than one are copied together.
    let mut many: Option<BytesMut> = None;
    loop {
        if answer.body.is_end_stream() {
            break;
        }
        match answer.body.frame().await {
            None => break,
            Some(Err(e)) => return broken(guard, e.to_string()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    let held = many.get_or_insert_with(|| BytesMut::from(&one[..]));
                    held.extend_from_slice(&data);
                    // Too large to hold, or too much is held already: unchecked.
                    if held.len() > CHECKED_MAX || !answer.memory.grow_to(held.len() as u64) {
                        let first = many.take().map(BytesMut::freeze).unwrap_or_default();
                        return commit_relayed(
                            template,
                            guard,
                            request,
                            answer,
                            first,
                            Outcome::Ok,
                        );
                    }
                }
            }
        }
    }
    if let Some(many) = many {
        one = many.freeze();
    }
    let Some(told) = Told::of_json(&one) else {
        let outcome = Outcome::ReplicaFault(ReplicaFault::Garbage);
        return fail(guard, outcome, "answer is not valid JSON".into(), |_| ());
    };
    request.used(told.usage);
    guard.named(template.asked(), told.model);
    if let Some(tokens) = told.usage.completion {
        guard.generated(tokens);
    }
    finish(guard, request, answer.head, OutBody::full(one), Outcome::Ok)
}

/// Commits an answer that is here whole.
fn finish(
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    head: http::response::Parts,
    body: OutBody,
    good: Outcome,
) -> End {
    request.answered_by(guard.replica());
    guard.settle(good);
    request.answered(head.status);
    request.settle(good);
    End::Commit(Response::from_parts(head, body))
}

/// Commits an answer whose body is still to come.
fn commit_relayed(
    template: &Template,
    guard: AttemptGuard,
    request: &Rc<RequestGuard>,
    answer: Answer,
    first: Bytes,
    good: Outcome,
) -> End {
    if first.is_empty() && (template.head_only || answer.body.is_end_stream()) {
        return finish(guard, request, answer.head, OutBody::Empty, good);
    }
    request.answered_by(guard.replica());
    request.answered(answer.head.status);
    let sse = headers::is_type(&answer.head.headers, "text/event-stream");
    let relay = Relay::new(first, answer.body, guard, request.clone(), good)
        .with_idle(template.idle, template.deadline)
        .with_error_event(sse && !template.grpc, template.shape);
    End::Commit(Response::from_parts(answer.head, OutBody::Relay(Box::new(relay))))
}

impl Failed {
    /// A failure of which nothing more is known.
    pub(crate) fn of_stream(outcome: Outcome, text: String, replica: (u64, Incarnation)) -> Self {
        Self {
            outcome,
            text,
            unsent: false,
            client_broke: false,
            answer: None,
            retry_after: None,
            diverged: false,
            refused: false,
            replica,
        }
    }

    /// The replica's own answer, for a client that gets nothing better.
    pub(crate) fn into_answer(self) -> Option<Response<OutBody>> {
        let (status, mut headers, bytes) = self.answer?;
        headers.remove(CONTENT_LENGTH);
        headers.insert("x-should-retry", http::HeaderValue::from_static("false"));
        if self.outcome == Outcome::Backpressure && !headers.contains_key(RETRY_AFTER) {
            headers.insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        let mut response = Response::new(OutBody::full(bytes));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Some(response)
    }

    /// Whether this may have been the death of the replica: it took the request and then
    /// its connection broke.
    pub(crate) fn may_be_death(&self) -> bool {
        !self.unsent
            && matches!(
                self.outcome,
                Outcome::NetworkFault(NetworkFault::Reset)
                    | Outcome::ReplicaFault(ReplicaFault::Truncated)
            )
    }
}
