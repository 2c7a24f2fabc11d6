//! The task behind a [`super::Remote`]: one connection after another, on each of which
//! everything that is wanted is said again.

use super::lives::Lives;
use super::{Applied, Pending, RemoteSettings, Shared, Specs, term};
use crate::connect::{ConnectError, Target, Welcome, connect};
use crate::frame::{self, Incoming};
use crate::words::{Call, Done, Order, Said, Wants};
use evenkeel_domain::job::JobSettings;
use evenkeel_domain::node::Peer;
use evenkeel_domain::orchestrator::OrchestratorError;
use evenkeel_domain::{clock, rng};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tokio_rustls::client::TlsStream;

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two attempts, growing up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often a call is made where there is nothing to say.
const PING: Duration = Duration::from_secs(2);
/// An agent that answers nothing for so long is not there any more.
const IDLE: Duration = Duration::from_secs(8);

type Answer = Result<Done, OrchestratorError>;

/// Runs until its [`super::Remote`] is dropped.
pub(super) async fn run(
    target: Target,
    settings: RemoteSettings,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Pending>,
) {
    let mut rng = rng::from_os();
    let mut calls = Calls { inbox, waiting: VecDeque::new() };
    let mut lives = Lives::default();
    let mut pause = RETRY.0;
    loop {
        let orphan_after = settings.node.orphan_after;
        let wants = Wants::Command { term: settings.term, orphan_after };
        let why = match connect(&target, wants, CONNECT).await {
            Ok((stream, welcome)) => {
                pause = RETRY.0;
                let session = Session::new(stream, welcome, &shared, &mut calls, &mut lives);
                match session.run().await {
                    Ok(never) => match never {},
                    Err(error) => format!("the connection broke: {error}"),
                }
            }
            Err(error) => {
                if let ConnectError::Refused { epoch, .. } = error
                    && let Err(error) = term::saw(&settings.state_dir, epoch)
                {
                    tracing::error!(%error, "cannot remember an epoch");
                }
                error.to_string()
            }
        };
        shared.tell_broken(why);
        sleep(rng::jittered(pause, 0.2, &mut rng)).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Calls of the keeper's, in order.
struct Calls {
    inbox: mpsc::Receiver<Pending>,
    /// Not sent on this connection yet.
    waiting: VecDeque<Pending>,
}

impl Calls {
    async fn arrived(&mut self) {
        // Its sender is dropped together with this task.
        if let Some(call) = self.inbox.recv().await {
            self.waiting.push_back(call);
        }
    }
}

/// What a call on this connection is about.
enum About {
    Specs(Specs),
    /// The keeper waits for it.
    Call(Pending),
    Jobs,
    Nothing,
}

struct Session<'a> {
    shared: &'a Shared,
    calls: &'a mut Calls,
    lives: &'a mut Lives,
    write: WriteHalf<TlsStream<TcpStream>>,
    said: Incoming<Said>,
    changed: watch::Receiver<u64>,
    next: u64,
    under_way: BTreeMap<u64, About>,
    told: Told,
}

/// What was said on this connection.
#[derive(Default)]
struct Told {
    specs: u64,
    /// Whether the agent has taken them: until then it need not know all of them.
    taken: bool,
    ready: BTreeMap<String, u64>,
    jobs: Option<Vec<JobSettings>>,
    peers: Vec<Peer>,
}

impl<'a> Session<'a> {
    fn new(
        stream: TlsStream<TcpStream>,
        welcome: Welcome,
        shared: &'a Shared,
        calls: &'a mut Calls,
        lives: &'a mut Lives,
    ) -> Self {
        let known = shared.instances.borrow().clone();
        if let Some(ended) = lives.begin(welcome.life, &known, clock::unix_millis()) {
            tracing::warn!(node = shared.node, "the agent was started anew, and all it runs");
            shared.instances.send_replace(ended);
        }
        shared.link.send_modify(|link| {
            (link.connected, link.why) = (true, None);
            link.expires_unix_s = Some(welcome.expires_unix_s);
        });
        tracing::info!(node = shared.node, "connected to the agent");
        let (read, write) = tokio::io::split(stream);
        let mut changed = shared.changed.subscribe();
        changed.mark_changed();
        Self {
            shared,
            calls,
            lives,
            write,
            said: Incoming::new(read, IDLE),
            changed,
            next: 0,
            under_way: BTreeMap::new(),
            told: Told::default(),
        }
    }

    async fn run(mut self) -> io::Result<std::convert::Infallible> {
        let ended = self.go_on().await;
        // Sent again on the next connection; the agent knows by its key what it has done.
        for (_, about) in std::mem::take(&mut self.under_way).into_iter().rev() {
            if let About::Call(call) = about {
                self.calls.waiting.push_front(call);
            }
        }
        ended
    }

    async fn go_on(&mut self) -> io::Result<std::convert::Infallible> {
        let mut pings = interval(PING);
        loop {
            self.send_calls().await?;
            tokio::select! {
                said = self.said.next() => self.on(said?),
                () = self.calls.arrived() => {}
                changed = self.changed.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.send_wanted().await?;
                }
                _ = pings.tick() => self.send(Order::Ping, About::Nothing).await?,
            }
        }
    }

    async fn send(&mut self, order: Order, about: About) -> io::Result<()> {
        let key = match &about {
            About::Call(call) => call.key.clone(),
            _ => format!("{:016x}", self.shared.key()),
        };
        self.next += 1;
        self.under_way.insert(self.next, about);
        write(&mut self.write, Call { id: self.next, key, order }).await
    }

    async fn send_calls(&mut self) -> io::Result<()> {
        while let Some(call) = self.calls.waiting.pop_front() {
            if call.answer.is_closed() {
                continue;
            }
            let order = match call.order.clone() {
                Order::MarkReady { name, incarnation } => {
                    match self.lives.told(&name, incarnation) {
                        Some(incarnation) => Order::MarkReady { name, incarnation },
                        None => {
                            // That start is over.
                            let _ = call.answer.send(Ok(Done::Taken));
                            continue;
                        }
                    }
                }
                other => other,
            };
            self.send(order, About::Call(call)).await?;
        }
        Ok(())
    }

    /// Says what is wanted and was not said yet.
    async fn send_wanted(&mut self) -> io::Result<()> {
        self.changed.mark_unchanged();
        let wanted = self.shared.lock().clone();
        if let Some(specs) = wanted.specs.filter(|specs| specs.version != self.told.specs) {
            self.told.specs = specs.version;
            let order = Order::Apply { specs: specs.all.clone(), in_turn: specs.in_turn };
            self.send(order, About::Specs(specs)).await?;
        }
        // One that was gone meanwhile counts its starts anew.
        self.told.ready.retain(|name, _| wanted.ready.contains_key(name));
        for (name, incarnation) in wanted.ready {
            if self.told.ready.get(&name) == Some(&incarnation) {
                continue;
            }
            if let Some(told) = self.lives.told(&name, incarnation) {
                let order = Order::MarkReady { name: name.clone(), incarnation: told };
                self.send(order, About::Nothing).await?;
            }
            self.told.ready.insert(name, incarnation);
        }
        if wanted.jobs != self.told.jobs {
            self.told.jobs.clone_from(&wanted.jobs);
            self.send(Order::Jobs(wanted.jobs.unwrap_or_default()), About::Jobs).await?;
        }
        if wanted.peers != self.told.peers {
            self.told.peers.clone_from(&wanted.peers);
            self.send(Order::Peers(wanted.peers), About::Nothing).await?;
        }
        Ok(())
    }

    fn on(&mut self, said: Said) {
        let shared = self.shared;
        match said {
            Said::Instances(all) => {
                let seen = all.into_iter().map(|status| self.lives.seen(status, &shared.node));
                let mut seen: Vec<_> = seen.collect();
                if !self.told.taken {
                    // An agent that was started anew does not know yet what is wanted.
                    let known = shared.instances.borrow();
                    let missing =
                        known.iter().filter(|k| seen.iter().all(|s| s.name != k.name)).cloned();
                    let missing: Vec<_> = missing.collect();
                    seen.extend(missing);
                    seen.sort_by(|a, b| a.name.cmp(&b.name));
                }
                shared.instances.send_replace(seen);
            }
            Said::Jobs(mut all) => {
                all.iter_mut().for_each(|job| job.node = Some(shared.node.clone()));
                shared.jobs.send_replace(all);
            }
            Said::Answer { id, result } => match self.under_way.remove(&id) {
                Some(About::Specs(specs)) => self.taken(specs, result),
                Some(About::Call(call)) => {
                    let result = self.counted(&call.order, result);
                    // Who asked may have given up.
                    let _ = call.answer.send(result);
                }
                Some(About::Jobs) => {
                    if let Err(error) = result {
                        shared.tell_refused(&error);
                    }
                }
                Some(About::Nothing) | None => {}
            },
        }
    }

    fn counted(&self, order: &Order, result: Answer) -> Answer {
        match (order, result) {
            (Order::Restart { name, .. }, Ok(Done::Restarting { incarnation })) => {
                let incarnation = self.lives.counted(name, incarnation);
                Ok(Done::Restarting { incarnation })
            }
            (_, other) => other,
        }
    }

    /// The agent has answered to specs.
    fn taken(&mut self, specs: Specs, result: Answer) {
        let version = specs.version;
        let result = match result {
            Ok(done) => {
                self.told.taken = true;
                self.shared.lock().taken = Some(specs);
                let outdated = match done {
                    Done::Outdated(all) => all,
                    Done::Taken | Done::Restarting { .. } => Vec::new(),
                };
                let outdated: Vec<_> = outdated
                    .into_iter()
                    .map(|(name, start)| {
                        let counted = self.lives.counted(&name, start);
                        (name, counted)
                    })
                    .collect();
                self.shared.link.send_modify(|link| {
                    (link.why, link.outdated) = (None, outdated.clone());
                });
                Ok(outdated)
            }
            Err(error) => {
                self.shared.tell_refused(&error);
                self.go_back(version);
                Err(error)
            }
        };
        self.shared.applied.send_replace(Applied { version, result: Some(result) });
    }

    /// What was refused is not wanted: else an agent that is started anew would run nothing.
    fn go_back(&mut self, refused: u64) {
        let mut wanted = self.shared.lock();
        let taken = wanted.taken.clone();
        if let Some(specs) = wanted.specs.as_mut().filter(|specs| specs.version == refused)
            && let Some(taken) = taken
        {
            (specs.all, specs.in_turn) = (taken.all, true);
        }
    }
}

impl Shared {
    fn tell_broken(&self, why: String) {
        let changed = self.link.send_if_modified(|link| {
            let other = link.connected || link.why.as_ref() != Some(&why);
            (link.connected, link.why) = (false, Some(why.clone()));
            other
        });
        if changed {
            tracing::warn!(node = self.node, why, "no connection to the agent");
        }
    }

    fn tell_refused(&self, error: &OrchestratorError) {
        tracing::error!(node = self.node, %error, "the agent refuses what is wanted");
        self.link.send_modify(|link| link.why = Some(format!("refused: {error}")));
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), call: Call) -> io::Result<()> {
    frame::send(to, &call).await
}
