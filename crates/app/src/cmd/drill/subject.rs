//! The running Evenkeel that a drill is about, over its admin API.

use evenkeel_admin::AdminClient;
use evenkeel_admin::view::{ClockBody, DetourBody, ReplicaView, ServiceView, Snapshot};
use evenkeel_domain::event::Event;
use evenkeel_drill::plan::{Look, ReplicaLook, ServiceLook};
use evenkeel_drill::run::{Asking, Hold, Subject};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Who asks, for the record.
const OWNER: &str = "evenkeel drill";

/// An Evenkeel that runs.
#[derive(Debug)]
pub(crate) struct Running(AdminClient);

impl Running {
    pub(crate) fn new(client: AdminClient) -> Self {
        Self(client)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Subject for Running {
    fn look(&self) -> Asking<'_, Look> {
        Box::pin(async { Ok(look(&self.0.snapshot().await.map_err(text)?)) })
    }

    fn events(&self, after: u64) -> Asking<'_, Vec<Event>> {
        Box::pin(async move { self.0.events(after).await.map_err(text) })
    }

    fn detour<'a>(&'a self, replica: &'a str, to: SocketAddr, why: &'a str) -> Asking<'a, Hold> {
        let body = DetourBody { to: to.to_string(), owner: OWNER.into(), why: why.into() };
        Box::pin(async move {
            let mut stream = self.0.detour(replica, &body).await.map_err(text)?;
            Ok(Hold::new(tokio::spawn(async move {
                while matches!(stream.next().await, Ok(Some(_))) {}
            })))
        })
    }

    fn clock<'a>(&'a self, ahead_ms: i64, why: &'a str) -> Asking<'a, Hold> {
        let body = ClockBody { ahead_ms, owner: OWNER.into(), why: why.into() };
        Box::pin(async move {
            let mut stream = self.0.clock(&body).await.map_err(text)?;
            Ok(Hold::new(tokio::spawn(async move {
                while matches!(stream.next().await, Ok(Some(_))) {}
            })))
        })
    }

    fn reload(&self) -> Asking<'_, ()> {
        Box::pin(async { self.0.reload().await.map_err(text) })
    }

    fn upgrade(&self) -> Asking<'_, ()> {
        Box::pin(async { self.0.upgrade(None).await.map_err(text) })
    }

    fn guard(&self) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|e| format!("this program's file: {e}"))?;
        let mut command = Command::new(program);
        command.arg("drill-guard");
        Ok(command)
    }
}

fn look(snapshot: &Snapshot) -> Look {
    let age = snapshot.at_unix_ms.saturating_sub(snapshot.gateway.started_unix_ms);
    let open = snapshot.recovery.as_ref().map_or(0, |recovery| recovery.open.len());
    Look {
        cursor: snapshot.cursor,
        gateway_pid: snapshot.gateway.pid,
        gateway_age: Duration::from_millis(age),
        at_unix_ms: snapshot.at_unix_ms,
        open_incidents: open,
        services: snapshot.services.iter().map(service).collect(),
    }
}

fn service(view: &ServiceView) -> ServiceLook {
    ServiceLook {
        name: view.name.clone(),
        protocol: view.protocol.clone(),
        models: view.models.clone(),
        budget_left: view.budget.as_ref().and_then(|budget| budget.left),
        burns: view
            .budget
            .as_ref()
            .filter(|budget| budget.severity.is_some())
            .map(|budget| budget.text.clone())
            .unwrap_or_default(),
        replicas: view.replicas.iter().map(replica).collect(),
    }
}

fn replica(view: &ReplicaView) -> ReplicaLook {
    let process = view.process.as_ref();
    let age = process.and_then(|process| process.uptime_seconds);
    ReplicaLook {
        name: view.name.clone(),
        url: view.url.clone(),
        health: view.health.clone(),
        gate: view.gate.clone(),
        incarnation: view.incarnation,
        node: process.and_then(|process| process.node.clone()),
        pid: process.and_then(|process| process.pid),
        age: age.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        via: view.via.as_ref().map(|via| via.to.clone()),
    }
}
