//! A replica that does as it is told, and remembers who asked, who left and when.

mod behaviour;
mod body;
mod socket;

pub use behaviour::{Behaviour, Break};

use body::{Plan, Tracked};
use bytes::Bytes;
use evenkeel_domain::clock::now;
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket::Socket;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A fake replica on a loopback port. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Replica {
    addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// How many requests came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose head came in; those by GET count as probes.
    pub begun: u64,
    /// Answered to the last byte.
    pub finished: u64,
    /// Given up by their client.
    pub cancelled: u64,
    /// Broken by the replica, as told.
    pub broken: u64,
    /// Requests by GET.
    pub probes: u64,
}

impl Counts {
    /// Requests under way.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.begun - self.finished - self.cancelled - self.broken
    }
}

/// One request as the replica saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// When its head came.
    pub at: Instant,
    /// Where to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When and how it ended, if it has.
    pub ended: Option<(Instant, Ended)>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The last byte of its answer was handed over.
    Finished,
    /// The client left.
    Cancelled,
    /// The replica broke it, as told.
    Broken,
}

#[derive(Debug)]
struct State {
    usual: Mutex<Behaviour>,
    script: Mutex<VecDeque<Behaviour>>,
    requests: Mutex<Vec<Request>>,
    counts: watch::Sender<Counts>,
    /// Each so-many-th connection is reset; 0: none.
    reset_every: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replica {
    /// Starts on a free port and does `usual` with every request.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(usual: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            usual: Mutex::new(usual),
            script: Mutex::default(),
            requests: Mutex::default(),
            counts: watch::Sender::default(),
            reset_every: AtomicU64::new(0),
        });
        let task = tokio::spawn(listen(listener, state.clone()));
        Self { addr, state, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Does this from the next request on, once the script is used up.
    pub fn behave(&self, usual: Behaviour) {
        *locked(&self.state.usual) = usual;
    }

    /// Does these with the next requests, one each; adds to what is still to come.
    pub fn script(&self, next: impl IntoIterator<Item = Behaviour>) {
        locked(&self.state.script).extend(next);
    }

    /// Resets each `every`th new connection from now on, whoever it is from, and closes the
    /// others after one answer, so that there are new ones.
    pub fn reset_connections(&self, every: u64) {
        self.state.reset_every.store(every, SeqCst);
    }

    /// So far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.state.counts.borrow()
    }

    /// All requests so far, probes left out, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.state.requests).clone()
    }

    /// Waits until the counts are so; the counts then.
    ///
    /// # Errors
    /// With the counts as they are when that does not come in time.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Counts) -> bool + Send,
    ) -> Result<Counts, Counts> {
        let mut counts = self.state.counts.subscribe();
        let waiting = counts.wait_for(|counts| wanted(counts));
        match tokio::time::timeout(within, waiting).await {
            Ok(Ok(counts)) => Ok(*counts),
            _ => Err(self.counts()),
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn next(&self) -> Behaviour {
        let scripted = locked(&self.script).pop_front();
        let next = scripted.unwrap_or_else(|| locked(&self.usual).clone());
        match next {
            Behaviour::InTurn(all) => {
                let turn = self.counts.borrow().begun as usize % all.len().max(1);
                all.get(turn).cloned().unwrap_or(Behaviour::Good)
            }
            one => one,
        }
    }

    fn ended(&self, number: usize, how: Ended) {
        if let Some(request) = locked(&self.requests).get_mut(number) {
            request.ended = Some((now(), how));
        }
        self.counts.send_modify(|counts| match how {
            Ended::Finished => counts.finished += 1,
            Ended::Cancelled => counts.cancelled += 1,
            Ended::Broken => counts.broken += 1,
        });
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut open = JoinSet::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                number += 1;
                let every = state.reset_every.load(SeqCst);
                if every > 0 && number.is_multiple_of(every) {
                    let _ = stream.set_zero_linger();
                    continue;
                }
                let _ = stream.set_nodelay(true);
                open.spawn(connection(stream, state.clone()));
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, state: Arc<State>) {
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Socket::new(stream, reset.clone()));
    let service = service_fn(move |request| {
        let (state, reset) = (state.clone(), reset.clone());
        async move { answer(&state, &reset, request).await }
    });
    // A connection that breaks is what tests are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

async fn answer(
    state: &Arc<State>,
    reset: &Arc<AtomicBool>,
    request: http::Request<Incoming>,
) -> io::Result<Response<Tracked>> {
    if request.method() == http::Method::GET {
        return probe(state).await;
    }
    let (head, body) = request.into_parts();
    let tracker = Tracker::begin(state, head);
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if let Some(request) = locked(&state.requests).get_mut(tracker.number) {
        request.body = body.clone();
    }
    let plan = state.next().plan(&body);
    tokio::time::sleep(plan.before).await;
    match plan.reset {
        Some(true) => reset.store(true, SeqCst),
        None if plan.hang => std::future::pending().await,
        _ => {}
    }
    if plan.reset.is_some() {
        tracker.end(Ended::Broken);
        return Err(io::Error::other("broken as told"));
    }
    let mut response = respond(plan, tracker, reset.clone())?;
    if state.reset_every.load(SeqCst) > 0 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn respond(plan: Plan, tracker: Tracker, reset: Arc<AtomicBool>) -> io::Result<Response<Tracked>> {
    let mut response = Response::builder().status(plan.status);
    for (name, value) in &plan.headers {
        response = response.header(*name, value);
    }
    let body = Tracked::new(plan, Some(tracker), reset);
    response.body(body).map_err(io::Error::other)
}

/// GET: healthy, unless every request hangs or is refused.
async fn probe(state: &Arc<State>) -> io::Result<Response<Tracked>> {
    state.counts.send_modify(|counts| counts.probes += 1);
    let usual = locked(&state.usual).clone();
    let plan = match usual {
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Status { status, .. } => Plan::json(status, "{}".into()),
        _ => Plan::json(200, r#"{"object":"list","data":[{"id":"test"}]}"#.into()),
    };
    let body = Tracked::new(plan, None, Arc::default());
    Ok(Response::new(body)).map(|mut response: Response<Tracked>| {
        *response.status_mut() = response.body().status();
        response
    })
}

/// Knows that a request was given up when it is dropped before its end.
#[derive(Debug)]
struct Tracker {
    state: Arc<State>,
    number: usize,
    ended: bool,
}

impl Tracker {
    fn begin(state: &Arc<State>, head: http::request::Parts) -> Self {
        let number = {
            let mut requests = locked(&state.requests);
            requests.push(Request {
                at: now(),
                path: head.uri.path().to_owned(),
                headers: head.headers,
                body: Bytes::new(),
                ended: None,
            });
            requests.len() - 1
        };
        state.counts.send_modify(|counts| counts.begun += 1);
        Self { state: state.clone(), number, ended: false }
    }

    fn end(mut self, how: Ended) {
        self.ended = true;
        self.state.ended(self.number, how);
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if !self.ended {
            self.state.ended(self.number, Ended::Cancelled);
        }
    }
}
