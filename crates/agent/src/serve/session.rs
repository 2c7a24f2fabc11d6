//! One keeper's connection: its calls are done one after the other, and what changes is
//! told as it does.

use super::fence::Right;
use super::{Shared, allow, greet, refuse};
use crate::frame::{self, Incoming};
use crate::words::{Call, Done, Order, Said, Term};
use evenkeel_domain::job::JobStatus;
use evenkeel_domain::orchestrator::{InstanceStatus, OrchestratorError};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

/// A keeper says something every few seconds.
pub(crate) const IDLE: Duration = Duration::from_secs(20);
/// Other nodes at most: more than anybody beats to.
const PEERS: usize = 64;

/// Serves a keeper until it leaves or another one takes over.
pub(super) async fn run(
    mut stream: TlsStream<TcpStream>,
    term: Term,
    orphan_after: Option<Duration>,
    shared: &Shared,
) -> io::Result<()> {
    let right = match shared.fence.admit(term) {
        Ok(right) => right,
        Err(refused) => return refuse(&mut stream, refused.why, refused.epoch).await,
    };
    greet(&mut stream, shared).await?;
    tracing::info!(epoch = term.epoch, "the keeper commands");
    let _present = Present::new(shared, orphan_after);
    let (read, write) = tokio::io::split(stream);
    let session = Session {
        shared,
        right,
        write,
        calls: Incoming::new(read, IDLE),
        instances: shared.host.orchestrator().subscribe(),
        jobs: shared.host.job_statuses(),
    };
    let ended = session.run().await;
    tracing::info!(epoch = term.epoch, "the keeper is gone; what runs goes on");
    ended
}

/// A keeper is there while this lives.
struct Present<'a>(&'a Shared);

impl<'a> Present<'a> {
    fn new(shared: &'a Shared, orphan_after: Option<Duration>) -> Self {
        shared.commanded.send_modify(|now| {
            now.by += 1;
            now.orphan_after = orphan_after;
        });
        Self(shared)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.commanded.send_modify(|now| now.by -= 1);
    }
}

struct Session<'a, W> {
    shared: &'a Shared,
    right: Right,
    write: W,
    calls: Incoming<Call>,
    instances: watch::Receiver<Vec<InstanceStatus>>,
    jobs: watch::Receiver<Vec<JobStatus>>,
}

impl<W: AsyncWrite + Unpin> Session<'_, W> {
    async fn run(mut self) -> io::Result<()> {
        self.instances.mark_changed();
        self.jobs.mark_changed();
        loop {
            self.tell().await?;
            tokio::select! {
                call = self.calls.next() => self.on(call?).await?,
                changed = self.instances.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.instances.mark_changed();
                }
                changed = self.jobs.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.jobs.mark_changed();
                }
                () = self.right.lost() => {
                    return Err(io::Error::other("a later keeper has taken over"));
                }
            }
        }
    }

    /// Tells what has changed.
    async fn tell(&mut self) -> io::Result<()> {
        if self.instances.has_changed().unwrap_or(false) {
            let all = self.instances.borrow_and_update().clone();
            frame::send(&mut self.write, &Said::Instances(all)).await?;
        }
        if self.jobs.has_changed().unwrap_or(false) {
            let all = self.jobs.borrow_and_update().clone();
            frame::send(&mut self.write, &Said::Jobs(all)).await?;
        }
        Ok(())
    }

    async fn on(&mut self, call: Call) -> io::Result<()> {
        let result = match self.shared.keys.answer(&call.key) {
            Some(answer) => answer,
            None if !self.right.holds() => {
                return Err(io::Error::other("a later keeper has taken over"));
            }
            None => {
                let result = self.obey(call.order).await;
                self.shared.keys.keep(call.key, result.clone());
                result
            }
        };
        // What a call has changed is known before its answer.
        self.tell().await?;
        frame::send(&mut self.write, &Said::Answer { id: call.id, result }).await
    }

    async fn obey(&self, order: Order) -> Result<Done, OrchestratorError> {
        let host = &self.shared.host;
        let run = host.orchestrator();
        let allowed = &self.shared.settings.allow;
        match order {
            Order::Ping => {}
            Order::Apply { specs, in_turn } => {
                specs.iter().try_for_each(|s| allow::check(allowed, &s.name, &s.command))?;
                if in_turn {
                    return run.apply_in_turn(specs).await.map(Done::Outdated);
                }
                run.apply(specs).await?;
            }
            Order::Start { name } => run.start(&name).await?,
            Order::Stop { name } => run.stop(&name).await?,
            Order::Restart { name, grace } => {
                let incarnation = run.restart(&name, grace).await?;
                return Ok(Done::Restarting { incarnation });
            }
            Order::Scale { service, copies } => run.scale(&service, copies).await?,
            Order::MarkReady { name, incarnation } => run.mark_ready(&name, incarnation).await?,
            Order::Jobs(all) => {
                all.iter().try_for_each(|job| allow::check(allowed, &job.name, &job.command))?;
                host.jobs(all);
            }
            Order::Job { name, order } => {
                if !host.order(&name, order) {
                    return Err(OrchestratorError::Unknown(name));
                }
            }
            Order::Peers(mut peers) => {
                peers.truncate(PEERS);
                self.shared.peers.send_if_modified(|now| {
                    let other = *now != peers;
                    *now = peers;
                    other
                });
            }
        }
        Ok(Done::Taken)
    }
}
