//! What recovery can do here: orders to the health authority and the keeper, requests.

use super::super::control::GatewayControl;
use super::super::forecast::{LOGS, on_disk_of};
use super::super::overrides::Overrides;
use super::super::scale;
use super::super::source::GatewayState;
use super::super::standby::Standbys;
use crate::link::ToKeeper;
use bytes::Bytes;
use evenkeel_domain::event::EventKind;
use evenkeel_domain::incident::{Elsewhere, Hands, Millis, Reach};
use evenkeel_domain::orchestrator::Phase;
use evenkeel_domain::{Gate, Replica, clock};
use evenkeel_health::operator::{Order, Override};
use evenkeel_supervisor::logs;
use evenkeel_wire::client;
use http::{Request, header};
use http_body_util::Full;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How recovery's orders are told from those of people.
pub(in super::super) const OWNER: &str = "recovery ";
/// Bytes of an answer that are read.
const ANSWER: usize = 1 << 20;
/// How long it is waited for the keeper to act on an order.
const HEARD: Duration = Duration::from_secs(2);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(5);

/// The hands of this gateway.
pub(super) struct GatewayHands {
    state: Arc<GatewayState>,
    overrides: Arc<Overrides>,
    standbys: Option<Arc<Standbys>>,
    /// Restarts in turn, drained first. It belongs to the main thread.
    control: GatewayControl,
    main: Handle,
    to_keeper: mpsc::Sender<ToKeeper>,
}

impl GatewayHands {
    pub(super) fn new(
        state: Arc<GatewayState>,
        overrides: Arc<Overrides>,
        standbys: Option<Arc<Standbys>>,
        control: GatewayControl,
        to_keeper: mpsc::Sender<ToKeeper>,
    ) -> Self {
        Self { state, overrides, standbys, control, main: Handle::current(), to_keeper }
    }

    /// The order of a person about a replica, or ours.
    fn order(&self, target: &str) -> Option<Override> {
        self.overrides.all().into_iter().find(|order| order.replica == target)
    }
}

/// Sends a replica a request of our own and gives the status.
///
/// # Errors
/// Why there is none, for people.
pub(in super::super) async fn post(
    replica: &Replica,
    path: &str,
    body: &str,
    key: &str,
) -> Result<u16, String> {
    let id = &replica.id;
    let mut request = Request::post(format!("{}{path}", id.endpoint.prefix))
        .header(header::HOST, &*id.endpoint.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key);
    for (name, value) in &id.headers {
        request = request.header(name, value.expose());
    }
    let request =
        request.body(Full::new(Bytes::from(body.to_owned()))).map_err(|error| error.to_string())?;
    let connection = id.dial.dial().await.map_err(|error| error.text)?;
    let answer = client::fetch(connection, id.h2, request, ANSWER).await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}

impl GatewayHands {
    /// Done when the keeper says that this start of a process ends or has ended.
    async fn heard(&self, target: &str, incarnation: u64) {
        loop {
            let all = self.state.instances();
            let stays = all.iter().find(|status| status.name == target).is_some_and(|status| {
                let runs = matches!(status.phase, Phase::Starting { .. } | Phase::Ready);
                status.incarnation == incarnation && runs
            });
            if !stays {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Hands for GatewayHands {
    fn isolate<'a>(&'a self, target: &'a str, key: &'a str, until: Millis) -> Reach<'a, ()> {
        Box::pin(async move {
            // A person's order stands; either keeps new requests away.
            if self.order(target).is_some_and(|order| !order.owner.starts_with(OWNER)) {
                return Ok(());
            }
            let order = Override {
                replica: target.to_owned(),
                order: Order::Isolate,
                owner: format!("{OWNER}{key}"),
                until_unix_ms: Some(until.max(clock::unix_millis())),
            };
            self.overrides.set(order).await.map_err(|error| error.to_string())
        })
    }

    fn idle<'a>(&'a self, target: &'a str) -> Reach<'a, ()> {
        Box::pin(async move {
            loop {
                let Some((replica, pool)) = self.state.member_of(target) else { return Ok(()) };
                let ended = pool.better.notified();
                tokio::pin!(ended);
                // Listening before looking: what ends in between is not missed.
                ended.as_mut().enable();
                if replica.live.in_flight() == 0 {
                    return Ok(());
                }
                ended.await;
            }
        })
    }

    fn release<'a>(&'a self, target: &'a str) -> Reach<'a, ()> {
        Box::pin(async move {
            if !self.order(target).is_some_and(|order| order.owner.starts_with(OWNER)) {
                return Ok(());
            }
            self.overrides.clear(target).await.map_err(|error| error.to_string())
        })
    }

    fn restart<'a>(&'a self, target: &'a str, incarnation: u64, grace: Duration) -> Reach<'a, ()> {
        Box::pin(async move {
            let order = ToKeeper::Restart {
                name: target.to_owned(),
                incarnation: Some(incarnation),
                grace_ms: Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
            };
            self.to_keeper.send(order).await.map_err(|_| "the keeper is gone".to_owned())?;
            // Sent is not heard: what is written down as ordered must not be lost with this
            // process. A keeper that says nothing for so long is asked again by the plan.
            let _ = timeout(HEARD, self.heard(target, incarnation)).await;
            Ok(())
        })
    }

    fn renew<'a>(&'a self, target: &'a str, incarnation: u64) -> Reach<'a, ()> {
        Box::pin(async move {
            if self.state.start_of(target).is_none() || self.state.unreached().contains(target) {
                return Err(format!("{target} cannot be restarted from here"));
            }
            let control = self.control.clone();
            let order = vec![(target.to_owned(), incarnation)];
            // There, it goes on when this thread is over with its journal.
            self.main.spawn(async move { control.renew(order) });
            Ok(())
        })
    }

    fn drop_logs<'a>(&'a self, path: &'a Path) -> Reach<'a, String> {
        let dirs = LOGS.map(|dir| self.state.state_dir.join(dir));
        let path = path.to_owned();
        Box::pin(async move {
            let dropped = tokio::task::spawn_blocking(move || {
                let on_it = on_disk_of(&path, &dirs);
                on_it.iter().map(|dir| logs::prune(dir)).sum::<io::Result<u64>>()
            });
            match dropped.await {
                Ok(Ok(bytes)) => Ok(format!("{bytes} bytes of old logs are gone")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn promote<'a>(&'a self, target: &'a str) -> Reach<'a, String> {
        Box::pin(async move {
            let standbys = self.standbys.as_ref().ok_or("there are no standbys")?;
            standbys.instead(target).await
        })
    }

    fn copies<'a>(&'a self, target: &'a str, from: u32, to: u32) -> Reach<'a, ()> {
        Box::pin(async move {
            let (_, pool) = self.state.member_of(target).ok_or("it is no replica any more")?;
            let open = |number: u32| {
                let of = |replica: &Arc<Replica>| scale::number(&pool.name, &replica.id.name);
                let members = pool.members();
                members.iter().any(|r| of(r) == Some(number) && r.live.gate() == Gate::Open)
            };
            loop {
                let better = pool.better.notified();
                tokio::pin!(better);
                // Listening before looking: what opens in between is not missed.
                better.as_mut().enable();
                if (from..to).all(open) {
                    return Ok(());
                }
                better.await;
            }
        })
    }

    fn can_answer<'a>(&'a self, to: &'a Elsewhere) -> Reach<'a, String> {
        Box::pin(async move {
            let services = self.state.services();
            let mut name = to.to_string();
            for _ in &services {
                let found = services.iter().find(|(settings, _)| settings.name == name);
                let (_, pool) =
                    found.ok_or_else(|| format!("there is no service {name} any more"))?;
                match pool.stand_in() {
                    Some(next) => name = next.to_string(),
                    None if pool.open() > 0 => {
                        return Ok(format!("{name} answers: {} of it take traffic", pool.open()));
                    }
                    None => break,
                }
            }
            Err(format!("no replica of {name} takes traffic"))
        })
    }

    fn stand_in(&self, all: &BTreeMap<String, Elsewhere>) {
        for (settings, pool) in self.state.services() {
            // A playbook that is not configured any more is not followed either.
            let to = all.get(&settings.name).filter(|_| settings.answers.fails_over);
            let to = to.map(ToString::to_string);
            if !pool.set_stand_in(to.as_deref()) {
                continue;
            }
            let service = settings.name.clone();
            match &to {
                Some(to) => tracing::warn!(service, to, "failed over"),
                None => tracing::warn!(service, "failed back"),
            }
            self.state.shared.events.push(EventKind::FailedOver { service, to });
        }
    }

    fn request<'a>(
        &'a self,
        target: &'a str,
        path: &'a str,
        body: &'a str,
        key: &'a str,
    ) -> Reach<'a, u16> {
        Box::pin(async move {
            let replica = self.state.member(target).ok_or("it is no replica any more")?;
            post(&replica, path, body, key).await
        })
    }
}
