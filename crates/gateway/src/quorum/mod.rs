//! Answers that must not be wrong: several replicas are asked, and what enough of them say
//! goes out.
//!
//! ```text
//!            ┌─ voice 1 ─ replica a ─ "4" ─┐
//!  request ──┼─ voice 2 ─ replica b ─ "4" ─┼─ 2 agree ─► client
//!            └─ voice 3 ─ replica c ─ "5" ─┘  (or later) ─► deviates ─► health authority
//! ```
//! A stream is asked for as a whole answer and given as a stream once enough agree: until
//! then nothing of it would be certain. A voice whose replica fails asks one that no other
//! voice has asked.

mod ballot;
mod compare;
pub(crate) mod panel;

use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::body::read::ReadBody;
use crate::body::whole::{WHOLE_MAX, whole};
use crate::error::Refusal;
use crate::exchange::{Asker, Exchange, Given};
use crate::render;
use crate::resume::Api;
use crate::route::{self, Entry, head};
use crate::routed::Routed;
use crate::shared::Reserved;
use crate::template::Template;
use crate::worker::Worker;
use ballot::Ballot;
use bytes::Bytes;
use compare::Seen;
use evenkeel_domain::answers::Quorum;
use evenkeel_domain::{Outcome, Replica, ReplicaFault, SignalKind, clock};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use http::request::Parts;
use http::{Method, Response, response};
use panel::Panel;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::timeout;

/// Whether the service's answers are voted on.
pub(crate) fn is_asked(entry: &Entry) -> bool {
    entry.service.settings.answers.quorum.is_some()
}

/// A request that is to be voted on.
pub(crate) struct Vote {
    quorum: Quorum,
    /// The client wants a stream.
    stream: Option<render::Wanted>,
}

/// Makes a request one that can be voted on. `None` where nothing is voted on: the service
/// has no quorum, or the request does not only ask a model.
pub(crate) fn prepare(
    routed: &mut Routed,
    head: &Parts,
    body: &mut ReadBody,
) -> Result<Option<Vote>, Refusal> {
    let Some(quorum) = routed.entry.service.settings.answers.quorum.clone() else {
        return Ok(None);
    };
    let path = head.uri.path();
    if head.method != Method::POST || !route::is_inference(path) {
        return Ok(None);
    }
    let refuse = |text: &str| Err(Refusal::BadRequest(text.into()));
    if body.rest.is_some() {
        return refuse(
            "answers of this service are voted on by several replicas, and this request is too \
             large to be sent to more than one (`max_replay`)",
        );
    }
    if routed.stateful {
        return refuse(
            "answers of this service are voted on by several replicas: a call that keeps state \
             on one of them (`store`, `previous_response_id`) cannot be made",
        );
    }
    let mut stream = None;
    if routed.stream {
        let api = Api::of(path).filter(|api| api.has_choices());
        let unary = api.and_then(|api| render::unary_request(api, &body.bytes));
        let Some((wanted, bytes)) = unary else {
            return refuse(
                "answers of this service are voted on by several replicas, and streams of this \
                 API cannot be: ask without `stream`",
            );
        };
        let alias = routed.model.take().and_then(|(_, alias)| alias);
        let at = head::read(&bytes).ok().and_then(|head| Some(head.model?.1));
        routed.model = at.map(|at| (at, alias));
        routed.stream = false;
        body.bytes = bytes;
        stream = Some(wanted);
    }
    Ok(Some(Vote { quorum, stream }))
}

/// What one voice brings.
struct Answer {
    head: response::Parts,
    bytes: Bytes,
    /// Its share of the memory budget.
    _memory: Reserved,
    replica: Option<Arc<Replica>>,
}

type Voice = LocalBoxFuture<'static, Result<Answer, Refusal>>;

impl Vote {
    /// Asks, and gives what enough replicas agree on.
    pub(crate) async fn run(
        self,
        worker: Rc<Worker>,
        entry: Arc<Entry>,
        template: Rc<Template>,
        request: Rc<RequestGuard>,
        asker: Asker,
    ) -> Result<Given, Refusal> {
        request.because("quorum");
        let gathered = Panel::gather(&entry, &self.quorum, template.deadline, &asker).await?;
        let panel = Rc::new(gathered);
        let asked = (self.quorum.of as usize).min(panel.size);
        let voices: FuturesUnordered<Voice> = (0..asked)
            .map(|_| {
                let part = Rc::new(RequestGuard::part_of(&request));
                let (worker, entry, template) = (worker.clone(), entry.clone(), template.clone());
                let exchange =
                    Exchange::new(worker.clone(), entry, template, part.clone(), asker.clone())
                        .on_panel(panel.clone());
                Box::pin(voice(worker, exchange, part)) as Voice
            })
            .collect();
        let stream = self.stream;
        let count = Count::new(self.quorum, worker, entry);
        let answer = count.run(voices).await?;
        let response = match stream {
            Some(wanted) => render::as_stream(&wanted, answer.head, &answer.bytes),
            None => Response::from_parts(answer.head, OutBody::full(answer.bytes)),
        };
        let outcome = match response.status().is_success() {
            true => Outcome::Ok,
            false => Outcome::ClientFault,
        };
        Ok(Given::PassedOn(response, outcome))
    }
}

async fn voice(
    worker: Rc<Worker>,
    exchange: Exchange,
    part: Rc<RequestGuard>,
) -> Result<Answer, Refusal> {
    let last = Outcome::ReplicaFault(ReplicaFault::ServerError);
    let response = match Box::pin(exchange.run()).await? {
        Given::Committed(response) => response,
        // Its replicas failed: no vote.
        Given::PassedOn(_, outcome) => return Err(Refusal::NotRepeatable(outcome)),
    };
    let (head, body) = response.into_parts();
    let (bytes, memory) =
        whole(&worker, body, WHOLE_MAX).await.map_err(|_| Refusal::NotRepeatable(last))?;
    Ok(Answer { head, bytes, _memory: memory, replica: part.answerer() })
}

/// A vote under way.
struct Count {
    quorum: Quorum,
    worker: Rc<Worker>,
    entry: Arc<Entry>,
    ballot: Ballot,
    /// The answers, in the order of the ballot.
    answers: Vec<Option<Answer>>,
    replicas: Vec<Option<Arc<Replica>>>,
}

impl Count {
    fn new(quorum: Quorum, worker: Rc<Worker>, entry: Arc<Entry>) -> Self {
        let ballot = Ballot::new(quorum.compare, quorum.agree);
        Self { quorum, worker, entry, ballot, answers: Vec::new(), replicas: Vec::new() }
    }

    async fn run(mut self, mut voices: FuturesUnordered<Voice>) -> Result<Answer, Refusal> {
        let mut last = None;
        while let Some(voted) = voices.next().await {
            match voted {
                Ok(answer) => {
                    let vote = self.seen(&answer);
                    self.replicas.push(answer.replica.clone());
                    self.answers.push(Some(answer));
                    if let Some(winner) = self.ballot.take(vote) {
                        return self.won(winner, voices);
                    }
                }
                Err(refusal) => last = Some(refusal),
            }
            if !self.ballot.may_agree(voices.len()) {
                break;
            }
        }
        Err(self.lost(last))
    }

    fn seen(&self, answer: &Answer) -> Seen {
        let status = answer.head.status.as_u16();
        Seen::new(status, answer.bytes.clone(), self.quorum.compare, &self.quorum.ignore)
    }

    /// Enough agree: who deviates is told, those who have not answered yet are watched for
    /// a while.
    fn won(mut self, winner: usize, voices: FuturesUnordered<Voice>) -> Result<Answer, Refusal> {
        self.entry.service.pool.counts.answers.agreed.fetch_add(1, Relaxed);
        for at in self.ballot.deviating(winner) {
            self.deviated(winner, self.ballot.vote(at), self.replicas[at].as_ref());
        }
        let answer = self.answers.get_mut(winner).and_then(Option::take);
        let answer = answer.ok_or_else(|| self.lost(None))?;
        if !voices.is_empty() && !self.quorum.late.is_zero() {
            self.answers.clear();
            // Bounded by the attempts themselves, which take places on replicas, and by time.
            tokio::task::spawn_local(async move {
                let late = self.quorum.late;
                let _ = timeout(late, self.watch_late(winner, voices)).await;
            });
        }
        Ok(answer)
    }

    async fn watch_late(&self, winner: usize, mut voices: FuturesUnordered<Voice>) {
        while let Some(voted) = voices.next().await {
            let Ok(answer) = voted else { continue };
            let vote = self.seen(&answer);
            if !self.ballot.agrees(winner, &vote) {
                self.deviated(winner, &vote, answer.replica.as_ref());
            }
        }
    }

    fn deviated(&self, winner: usize, vote: &Seen, replica: Option<&Arc<Replica>>) {
        let Some(replica) = replica else { return };
        self.entry.service.pool.counts.answers.deviations.fetch_add(1, Relaxed);
        let how = self.ballot.difference(winner, vote);
        tracing::warn!(replica = &*replica.id.name, how, "its answer deviates from the others'");
        self.worker.shared.signal(replica, SignalKind::Deviated(how.into()), clock::now());
    }

    fn lost(&self, last: Option<Refusal>) -> Refusal {
        let pool = &self.entry.service.pool;
        let (service, answered) = (pool.name.to_string(), self.ballot.len());
        let agree = self.quorum.agree;
        if answered >= agree as usize {
            pool.counts.answers.split.fetch_add(1, Relaxed);
            tracing::warn!(service, answered, agree, "replicas do not agree on an answer");
            return Refusal::NoAgreement { service, answered, agree };
        }
        if let Some(refusal @ Refusal::Expired(_)) = last {
            return refusal;
        }
        let why = last.map_or_else(String::new, |refusal| format!("; the last one: {refusal}"));
        let why = format!("{agree} replicas must agree and only {answered} answered{why}");
        Refusal::Unavailable { service, why }
    }
}
