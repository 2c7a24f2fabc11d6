//! What operators order through the admin API.

use super::orders::{self, Orders};
use super::overrides::{Overrides, RESTART};
use super::source::GatewayState;
use crate::link::ToKeeper;
use evenkeel_admin::{Control, ControlError, ControlFuture, Held};
use evenkeel_domain::detour::Lease;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::job::JobOrder;
use evenkeel_domain::replica::Live;
use evenkeel_domain::{Health, Replica, clock};
use evenkeel_health::operator::{Order, Override};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a rolling restart waits for a replica to be ready again.
const READY: Duration = Duration::from_secs(600);

/// The order that people give: whatever runs, and with its own time to end.
fn restart(name: &str) -> ToKeeper {
    ToKeeper::Restart { name: name.to_owned(), incarnation: None, grace_ms: None }
}

/// A number ordered for a service; `None`: nothing any more.
fn by_hand(
    service: &str,
    value: Option<u32>,
    owner: &str,
    lasts: Option<Duration>,
) -> Option<orders::Order> {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let until_unix_ms = lasts.map(|d| clock::unix_millis().saturating_add(ms(d)));
    let (service, owner) = (service.to_owned(), owner.to_owned());
    value.map(|value| orders::Order { service, value, owner, until_unix_ms })
}

/// Carries orders out.
#[derive(Clone)]
pub(super) struct GatewayControl {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
    levels: Arc<Orders>,
    sizes: Option<Arc<Orders>>,
    to_keeper: mpsc::Sender<ToKeeper>,
    /// How long a replica may finish its answers before a restart.
    drain: Duration,
    /// One restart at a time: two could take all replicas at once.
    restarting: Arc<Mutex<()>>,
}

impl GatewayControl {
    pub(super) fn new(
        state: Arc<GatewayState>,
        overrides: Arc<Overrides>,
        levels: Arc<Orders>,
        to_keeper: mpsc::Sender<ToKeeper>,
        drain: Duration,
    ) -> Self {
        let restarting = Arc::default();
        Self { state, overrides, levels, sizes: None, to_keeper, drain, restarting }
    }

    /// With where orders of how many copies run are kept.
    pub(super) fn scaling(self, sizes: Arc<Orders>) -> Self {
        Self { sizes: Some(sizes), ..self }
    }

    fn replica(&self, name: &str) -> Result<Arc<Replica>, ControlError> {
        self.state.member(name).ok_or_else(|| {
            ControlError::not_found(
                format!("there is no replica `{name}`"),
                "`evenkeel status` lists the names",
            )
        })
    }

    fn supervised(&self, name: &str) -> Result<Arc<Replica>, ControlError> {
        let replica = self.replica(name)?;
        if self.state.unreached().contains(name) {
            return Err(ControlError::unavailable(
                format!("no order reaches the node of `{name}`"),
                "`evenkeel status` tells why; it is taken out of traffic by itself",
            ));
        }
        if replica.id.supervised {
            return Ok(replica);
        }
        Err(ControlError::conflict(
            format!("`{name}` is not supervised here"),
            "restart it where it runs; `evenkeel replica drain` takes it out of traffic first",
        ))
    }

    async fn order(
        &self,
        name: &str,
        order: Order,
        owner: &str,
        lasts: Option<Duration>,
    ) -> Result<(), ControlError> {
        self.replica(name)?;
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = lasts.map(|d| clock::unix_millis().saturating_add(ms(d)));
        let order = Override { replica: name.into(), order, owner: owner.into(), until_unix_ms };
        self.overrides.set(order).await.map_err(|e| self.unwritten(&e))
    }

    fn unwritten(&self, error: &std::io::Error) -> ControlError {
        ControlError::unavailable(
            format!("the order cannot be written to {}: {error}", self.state.state_dir.display()),
            "make room there or correct its rights; an order that is not written would not \
             survive a restart",
        )
    }

    async fn tell_keeper(&self, message: ToKeeper) -> Result<(), ControlError> {
        self.to_keeper
            .send(message)
            .await
            .map_err(|_| ControlError::unavailable("the keeper is gone", "restart `evenkeel up`"))
    }

    /// Waits until the replica of this name is so, which may become another one meanwhile: a
    /// server that cannot start gets another port. Gives whether there still is one.
    async fn until(&self, name: &str, so: impl Fn(&Live) -> bool) -> bool {
        while let Some(replica) = self.state.member(name) {
            let replaced =
                || self.state.member(name).is_none_or(|now| !Arc::ptr_eq(&now, &replica));
            replica.live.until(|live| so(live) || replaced()).await;
            if so(&replica.live) {
                return true;
            }
        }
        false
    }

    /// Drain, restart, wait until ready.
    async fn restart_one(&self, name: &str) -> Result<(), ControlError> {
        let before = self.state.start_of(name).unwrap_or_default();
        self.order(name, Order::Drain, RESTART, Some(self.drain + READY)).await?;
        let drained = async {
            self.until(name, |live| live.health() == Health::Draining).await;
            self.state.idle(name).await;
        };
        if timeout(self.drain, drained).await.is_err() {
            tracing::warn!(
                replica = name,
                limit = ?self.drain,
                "answers under way did not end in time"
            );
        }
        let told = self.tell_keeper(restart(name)).await;
        let until = Instant::now() + READY;
        let renewed = self.until(name, |live| told.is_err() || live.incarnation().0 > before);
        let renewed = timeout_at(until, renewed).await.is_ok();
        // Whatever came of it, the order must not outlive it.
        self.overrides.clear(name).await.map_err(|e| self.unwritten(&e))?;
        told?;
        let serves = |live: &Live| matches!(live.health(), Health::Healthy | Health::Probation);
        if !renewed || timeout_at(until, self.until(name, serves)).await.is_err() {
            return Err(ControlError::unavailable(
                format!("`{name}` did not become ready again"),
                format!("`evenkeel logs {name}` tells what it says"),
            ));
        }
        Ok(())
    }

    /// Restarts what has not been started anew since; see [`ToGateway::Renew`].
    ///
    /// [`ToGateway::Renew`]: crate::link::ToGateway::Renew
    pub(super) fn renew(&self, outdated: Vec<(String, u64)>) {
        let outdated = outdated.into_iter().map(|(name, start)| (name, Some(start)));
        self.restart_in_turn(outdated.collect());
    }

    /// Restarts replicas one after the other, each unless it has been started anew since
    /// the start that is given.
    fn restart_in_turn(&self, names: Vec<(String, Option<u64>)>) {
        let control = self.clone();
        let mut draining = self.state.shared.draining.subscribe();
        tokio::spawn(async move {
            // One that drains has been replaced: what is left is its successor's.
            tokio::select! {
                _ = draining.wait_for(|draining| *draining) => {}
                () = control.restart_all(names) => {}
            }
        });
    }

    async fn restart_all(&self, names: Vec<(String, Option<u64>)>) {
        let _turn = self.restarting.lock().await;
        for (name, outdated) in names {
            let renewed = outdated.is_some() && self.state.start_of(&name) != outdated;
            // One that is gone needs no restart either.
            if renewed || self.state.member(&name).is_none() {
                continue;
            }
            if let Err(error) = self.restart_one(&name).await {
                // The rest stays up: a bad restart must not walk through the fleet.
                tracing::error!(replica = name, %error, "restart failed");
                return;
            }
            tracing::info!(replica = name, "restarted");
        }
    }
}

/// A way that is held, and said to be straight again when it is let go.
struct HeldWay {
    state: Arc<GatewayState>,
    replica: String,
    owner: String,
    why: String,
    _lease: Lease,
}

impl HeldWay {
    fn say(&self, via: Option<String>) {
        let (replica, owner, why) = (self.replica.clone(), self.owner.clone(), self.why.clone());
        tracing::warn!(replica, via, owner, why, "the way to a replica changes");
        self.state.shared.events.push(EventKind::Detour { replica, via, owner, why });
    }
}

impl Drop for HeldWay {
    fn drop(&mut self) {
        self.say(None);
    }
}

impl Control for GatewayControl {
    fn detour(
        &self,
        replica: &str,
        to: SocketAddr,
        owner: &str,
        why: &str,
    ) -> Result<Held, ControlError> {
        self.replica(replica)?;
        let lease = self.state.detours.of(replica).hold(to, owner, why).map_err(|held| {
            ControlError::conflict(held.to_string(), "wait until that drill is over, or end it")
        })?;
        let held = HeldWay {
            state: self.state.clone(),
            replica: replica.into(),
            owner: owner.into(),
            why: why.into(),
            _lease: lease,
        };
        held.say(Some(to.to_string()));
        Ok(Box::new(held))
    }

    fn clock(&self, ahead_ms: i64, owner: &str, why: &str) -> Result<Held, ControlError> {
        let step = clock::step_wall(ahead_ms).ok_or_else(|| {
            ControlError::conflict(
                "the clock is wrong already",
                "wait until the drill that has put it so is over, or end it",
            )
        })?;
        tracing::warn!(ahead_ms, owner, why, "the wall clock is put wrong, by order");
        Ok(Box::new(step))
    }

    fn drain<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        Box::pin(self.order(replica, Order::Drain, owner, lasts))
    }

    fn undrain<'a>(&'a self, replica: &'a str) -> ControlFuture<'a> {
        Box::pin(async move {
            self.replica(replica)?;
            self.overrides.clear(replica).await.map_err(|e| self.unwritten(&e))
        })
    }

    fn isolate<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        Box::pin(self.order(replica, Order::Isolate, owner, lasts))
    }

    fn restart<'a>(&'a self, replica: &'a str) -> ControlFuture<'a> {
        Box::pin(async move {
            self.restart_in_turn(vec![(self.supervised(replica)?.id.name.to_string(), None)]);
            Ok(())
        })
    }

    fn restart_service<'a>(&'a self, service: &'a str) -> ControlFuture<'a> {
        Box::pin(async move {
            let services = self.state.services();
            let found = services.iter().find(|(settings, _)| settings.name == service);
            let Some((_, pool)) = found else {
                return Err(ControlError::not_found(
                    format!("there is no service `{service}`"),
                    "`evenkeel status` lists the names",
                ));
            };
            let all: Vec<_> = pool
                .members()
                .iter()
                .filter(|r| r.id.supervised)
                .map(|r| (r.id.name.to_string(), None))
                .collect();
            if all.is_empty() {
                return Err(ControlError::conflict(
                    format!("`{service}` has no supervised replicas"),
                    "restart them where they run",
                ));
            }
            self.restart_in_turn(all);
            Ok(())
        })
    }

    fn degrade<'a>(
        &'a self,
        service: &'a str,
        level: Option<u8>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        Box::pin(async move {
            let services = self.state.services();
            let Some((settings, _)) = services.iter().find(|(s, _)| s.name == service) else {
                return Err(ControlError::not_found(
                    format!("there is no service `{service}`"),
                    "`evenkeel status` lists the names",
                ));
            };
            if settings.answers.degrade.is_none() {
                return Err(ControlError::conflict(
                    format!("`{service}` has no levels"),
                    "add [service.degrade] to its configuration",
                ));
            }
            let order = by_hand(service, level.map(u32::from), owner, lasts);
            self.levels.set(service, order).map_err(|e| self.unwritten(&e))
        })
    }

    fn scale<'a>(
        &'a self,
        service: &'a str,
        copies: Option<u32>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a> {
        Box::pin(async move {
            if !self.state.services().iter().any(|(s, _)| s.name == service) {
                return Err(ControlError::not_found(
                    format!("there is no service `{service}`"),
                    "`evenkeel status` lists the names",
                ));
            }
            let scale = self.state.scale_of(service).ok_or_else(|| {
                ControlError::conflict(
                    format!("`{service}` is not scaled"),
                    "add [service.scale] to its configuration",
                )
            })?;
            if copies.is_some_and(|n| n < scale.min || n > scale.max) {
                return Err(ControlError::invalid(
                    format!("`{service}` has {} to {} copies", scale.min, scale.max),
                    "order a number between these, or change them in [service.scale]",
                ));
            }
            let Some(sizes) = &self.sizes else { return Ok(()) };
            let order = by_hand(service, copies, owner, lasts);
            sizes.set(service, order).map_err(|e| self.unwritten(&e))
        })
    }

    fn standby<'a>(&'a self, replica: &'a str, promote: bool, owner: &'a str) -> ControlFuture<'a> {
        Box::pin(async move {
            let none = || "no service has a standby".to_owned();
            let done = match self.state.standbys() {
                Some(standbys) => standbys.order(replica, promote, owner).await,
                None => Err(none()),
            };
            done.map_err(|why| {
                ControlError::conflict(why, "`evenkeel status` shows the standbys and what they do")
            })
        })
    }

    fn job<'a>(&'a self, name: &'a str, order: JobOrder) -> ControlFuture<'a> {
        Box::pin(async move {
            if !self.state.jobs().iter().any(|job| job.name == name) {
                return Err(ControlError::not_found(
                    format!("there is no job `{name}`"),
                    "`evenkeel job list` lists the names",
                ));
            }
            self.tell_keeper(ToKeeper::Job { name: name.to_owned(), order }).await
        })
    }

    fn reload(&self) -> ControlFuture<'_> {
        Box::pin(self.tell_keeper(ToKeeper::Reload))
    }

    fn upgrade(&self, binary: Option<PathBuf>) -> ControlFuture<'_> {
        Box::pin(async move {
            if let Some(path) = binary.as_ref().filter(|p| !p.is_file()) {
                return Err(ControlError::invalid(
                    format!("{} is no file", path.display()),
                    "name the new binary by its absolute path",
                ));
            }
            self.tell_keeper(ToKeeper::Upgrade { binary }).await
        })
    }

    fn stop(&self) -> ControlFuture<'_> {
        Box::pin(self.tell_keeper(ToKeeper::Stop))
    }
}
