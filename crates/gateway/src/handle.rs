//! One request of one client: read, route, and hand to the exchange.

use crate::admit::concurrency::Work;
use crate::admit::keys::{Key, tier};
use crate::admit::limit::{Ask, Bill, Levels};
use crate::attempt::guard::{LogLine, RequestGuard};
use crate::body::OutBody;
use crate::body::read::{self, BodyLimits, ReadBody};
use crate::error::{Refusal, Shape};
use crate::exchange::{Asker, Exchange, Given};
use crate::headers::{self, REQUEST_ID};
use crate::owner::owner_of;
use crate::resume::discover;
use crate::route::{Entry, Found, Table};
use crate::routed::{Routed, hash_of, route_body};
use crate::trace::RequestTrace;
use crate::worker::Worker;
use crate::{answers, cors, fallback, models, quorum, upgrade};
use evenkeel_domain::Outcome;
use evenkeel_domain::clock;
use evenkeel_domain::settings::{ServiceSettings, Tier};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What is known of a client from its connection.
pub(crate) struct ClientInfo {
    pub(crate) ip: IpAddr,
    pub(crate) tls: bool,
    /// This process itself, which works off what has time.
    pub(crate) internal: bool,
    pub(crate) source: u64,
}

impl ClientInfo {
    pub(crate) fn new(peer: SocketAddr, tls: bool) -> Self {
        let ip = peer.ip().to_canonical();
        Self { ip, tls, internal: false, source: hash_of(&ip) }
    }

    /// This process: it needs no key, comes last, and is not counted among those who wait.
    pub(crate) fn internal() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { internal: true, ..Self::new(nowhere, false) }
    }

    /// How important its requests are where no route says.
    pub(crate) fn tier(&self, service: &ServiceSettings) -> Tier {
        if self.internal { Tier::BestEffort } else { service.tier }
    }
}

/// Largest body of a request whose service is not known before its body is read.
const UNROUTED_MAX_BODY: u64 = 1 << 30;
/// How long a gRPC client may pause before its call counts as a stream.
const GRPC_PATIENCE: Duration = Duration::from_millis(10);

/// Answers one request. Never fails: what goes wrong is an answer, too.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    client: Rc<ClientInfo>,
    mut request: Request<Incoming>,
) -> Result<Response<OutBody>, Infallible> {
    let started = clock::now();
    let owner = owner_of(&client, request.headers_mut());
    let tracer = worker.shared.trace.as_ref();
    let trace = tracer.and_then(|t| t.begin(&mut request, &mut worker.rng.borrow_mut(), started));
    let id = headers::request_id(request.headers(), &mut worker.rng.borrow_mut());
    let origin = cors::origin(&worker.shared.settings.cors, request.headers());
    let mut response = match cors::preflight(&request, origin.as_ref()) {
        Some(response) => response,
        None => answer(&worker, &client, request, started, &id, owner, trace.as_ref()).await,
    };
    if let Some(trace) = trace {
        trace.answered(response.status().as_u16());
    }
    // A replica's version is its own affair (RFC 9110, 2.5); an HTTP/1.0 client is still
    // answered as one.
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if let Some(origin) = origin {
        cors::allow(headers, origin);
    }
    Ok(response)
}

async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<ClientInfo>,
    request: Request<Incoming>,
    started: Instant,
    id: &HeaderValue,
    owner: HeaderValue,
    trace: Option<&Rc<RequestTrace>>,
) -> Response<OutBody> {
    let grpc = headers::is_grpc(request.headers());
    let shape = Shape::of(request.uri().path(), grpc, None);
    let mut call = Call {
        worker,
        client,
        started,
        id,
        owner,
        key: None,
        flow: client.source,
        levels: None,
        bill: None,
        trace,
        grpc,
        shape,
        log: None,
    };
    call.log = call.log_line(&request);
    let mut response = match call.run(request).await {
        Ok(response) => response,
        Err(refusal) => {
            if let Some(trace) = trace {
                trace.settle(refusal.outcome());
            }
            if refusal.outcome() == Outcome::ClientFault {
                worker.shared.rejected.fetch_add(1, Relaxed);
            }
            tracing::debug!(id = id.to_str().unwrap_or("-"), %refusal, "request refused");
            refusal.respond(call.shape)
        }
    };
    if let Some(levels) = &call.levels {
        levels.tell(response.headers_mut(), clock::now());
    }
    // What reached no service has nobody else to log it.
    if let Some(line) = call.log.take() {
        let status = response.status();
        let outcome = if status.is_client_error() { Outcome::ClientFault } else { Outcome::Ok };
        let took = clock::now().saturating_duration_since(started);
        line.log.write(&line, "-", status.as_u16(), outcome, took);
    }
    response
}

/// One request on its way to its service.
pub(crate) struct Call<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) client: &'a Rc<ClientInfo>,
    pub(crate) started: Instant,
    pub(crate) id: &'a HeaderValue,
    /// For whose account it is.
    pub(crate) owner: HeaderValue,
    /// The key that its client has shown, where keys are asked for.
    pub(crate) key: Option<Arc<Key>>,
    /// Whose requests it waits with: its key's, else its client's.
    pub(crate) flow: u64,
    /// The limits that hold for it, once they are known.
    pub(crate) levels: Option<Rc<Levels>>,
    /// What it took of them, until it is counted.
    pub(crate) bill: Option<Rc<Bill>>,
    pub(crate) trace: Option<&'a Rc<RequestTrace>>,
    pub(crate) grpc: bool,
    pub(crate) shape: Shape,
    /// Until it is the service's to write.
    pub(crate) log: Option<LogLine>,
}

impl Call<'_> {
    async fn run(&mut self, mut request: Request<Incoming>) -> Result<Response<OutBody>, Refusal> {
        let upgrade = upgrade::wanted(&mut request);
        let (mut head, body) = request.into_parts();
        check_head(&head)?;
        let table = self.worker.shared.table.load();
        let found = table.find(&head, self.grpc);
        if let Found::Service(entry, _) = &found {
            self.shape =
                Shape::of(head.uri.path(), self.grpc, Some(entry.service.settings.protocol));
        }
        self.authenticate(&table, &head.headers)?;
        let wanted = tier::take(&mut head.headers)?;
        if let Some(upgrade) = upgrade
            && let Some(entry) = upgrade_target(&table, &found)
        {
            self.may_use(&table, &entry)?;
            self.bill(&table, &entry, wanted, Ask { stream: true, ..Ask::default() })?;
            // Rare things are boxed, here and below: their size would be every request's.
            let entry = table.stand_in(&entry).unwrap_or(entry);
            return Box::pin(upgrade::relay(self, &entry, &head, upgrade)).await;
        }
        if matches!(found, Found::ByModel)
            && let Some(response) = models::list(&table, &head, self.key.as_deref())
        {
            return response;
        }
        let limits = self.limits(&found);
        let body = read::read(self.worker, body, limits).await?;
        let mut routed = route_body(&table, found, &head, &body)?;
        self.may_use(&table, &routed.entry)?;
        routed.tier = self.tier_of(&routed, wanted);
        let ask = self.asks(&routed, &head, &body);
        self.bill(&table, &routed.entry, routed.tier, ask)?;
        if answers::concern(&routed, &body) {
            return Box::pin(answers::answer(self, routed, head, body)).await;
        }
        let routed = answers::redirect(&table, routed, &body);
        self.exchange(routed, head, body, None).await
    }

    /// What a request will take, about.
    fn asks(&self, routed: &Routed, head: &Parts, body: &ReadBody) -> Ask {
        let streams = routed.stream
            || (self.grpc && body.rest.is_some())
            || head.uri.path().ends_with("/generate_stream");
        // What names no prompt is no matter of tokens.
        let tokens = if routed.prompt_tokens > 0 { routed.tokens } else { 0 };
        Ask { prompt: routed.prompt_tokens, tokens, stream: streams }
    }

    fn limits(&self, found: &Found) -> BodyLimits {
        let (max_body, max_replay) = match found {
            Found::Service(entry, _) | Found::Within(entry) => {
                (entry.service.settings.max_body, entry.service.settings.max_replay)
            }
            _ => (UNROUTED_MAX_BODY, 32 << 20),
        };
        let idle = self.worker.shared.settings.limits.body_idle;
        BodyLimits { max_body, max_replay, idle, patience: self.grpc.then_some(GRPC_PATIENCE) }
    }

    /// Has one service answer; `part`: of a request that is counted elsewhere.
    pub(crate) async fn exchange(
        &mut self,
        mut routed: Routed,
        head: Parts,
        mut body: ReadBody,
        part: Option<Rc<RequestGuard>>,
    ) -> Result<Response<OutBody>, Refusal> {
        let vote = quorum::prepare(&mut routed, &head, &mut body)?;
        let settings = &routed.entry.service.settings;
        if body.bytes.len() as u64 > settings.max_body {
            return Err(Refusal::TooLarge(settings.max_body));
        }
        let own_deadline = headers::deadline(&head.headers).map_err(Refusal::BadRequest)?;
        let pool = &routed.entry.service.pool;
        if body.rest.is_some() {
            pool.counts.unreplayable.fetch_add(1, Relaxed);
        }
        let guard = part.unwrap_or_else(|| {
            let log = self.log.take();
            let work = Work::of(&head.method, head.uri.path(), body.bytes.len(), routed.stream);
            let (entry, trace) = (routed.entry.clone(), self.trace.cloned());
            let guard =
                RequestGuard::enter(entry, work, self.started, log, trace).billed(self.bill.take());
            if self.client.internal {
                guard.is_internal();
            }
            Rc::new(guard)
        });
        if let Some(own) = own_deadline {
            guard.may_take(own);
        }
        if let (Some(trace), Some((at, _))) = (self.trace, &routed.model) {
            trace.model(body.bytes.get(at.clone()).unwrap_or_default());
        }
        let template = Rc::new(self.template(&routed, head, body, own_deadline));
        if let Some(watch) = &template.watch {
            let model = || {
                let (at, _) = routed.model.as_ref()?;
                serde_json::from_slice(template.held_body()?.get(at.clone())?).ok()
            };
            discover::start(self.worker, &routed.entry, watch.ask.api, model);
        }
        let asker = Asker {
            source: self.client.source,
            key: routed.key,
            tier: routed.tier.unwrap_or(self.client.tier(settings)),
            waits: !self.client.internal,
            flow: self.flow,
            cost: routed.tokens,
            own_deadline,
        };
        let worker = self.worker.clone();
        let given = match vote {
            None => Exchange::new(worker, routed.entry, template, guard.clone(), asker).run().await,
            Some(vote) => {
                Box::pin(vote.run(worker, routed.entry, template, guard.clone(), asker)).await
            }
        };
        match given {
            Ok(Given::Committed(mut response)) => {
                fallback::annotate(response.headers_mut(), &guard);
                Ok(response)
            }
            Ok(Given::PassedOn(mut response, outcome)) => {
                fallback::annotate(response.headers_mut(), &guard);
                guard.answered(response.status());
                guard.settle(outcome);
                Ok(response)
            }
            Err(refusal) => {
                guard.answered(refusal.status());
                guard.settle(refusal.outcome());
                Err(refusal)
            }
        }
    }

    fn log_line<B>(&self, request: &Request<B>) -> Option<LogLine> {
        let log = self.worker.shared.access.clone()?;
        Some(LogLine {
            log,
            id: self.id.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            client: self.client.ip,
            attempts: Cell::new(0),
        })
    }
}

/// Where an upgrade goes: it has no body that could name a model.
fn upgrade_target(table: &Table, found: &Found) -> Option<Arc<Entry>> {
    match found {
        Found::Service(entry, _) => Some(entry.clone()),
        Found::ByModel => table.only_openai(),
        Found::Within(_) | Found::None => None,
    }
}

/// Refuses heads that contradict themselves or ask for what a gateway must not do.
fn check_head(head: &Parts) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::BadRequest("CONNECT is not offered here".into()));
    }
    let bad = |text: &str| Err(Refusal::BadRequest(text.into()));
    let headers = &head.headers;
    if head.version == Version::HTTP_11 && !headers.contains_key(http::header::HOST) {
        return bad("the `host` header is missing");
    }
    if headers.get_all(http::header::HOST).iter().count() > 1 {
        return bad("more than one `host` header");
    }
    if headers.contains_key(http::header::TRANSFER_ENCODING) && head.version == Version::HTTP_10 {
        return bad("`transfer-encoding` does not exist in HTTP/1.0");
    }
    Ok(())
}
