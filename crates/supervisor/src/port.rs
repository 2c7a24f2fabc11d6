//! The supervisor as what the domain knows of it.

use crate::supervisor::Supervisor;
use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, Orchestrator, OrchestratorFuture, Outdated,
};
use std::time::Duration;
use tokio::sync::watch;

/// The port of the domain. Nothing here waits, so the futures are ready at once.
impl Orchestrator for Supervisor {
    fn apply(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, ()> {
        Box::pin(std::future::ready(Self::apply(self, specs)))
    }

    fn apply_in_turn(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, Outdated> {
        Box::pin(std::future::ready(Self::apply_in_turn(self, specs)))
    }

    fn start<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()> {
        Box::pin(std::future::ready(Self::start(self, name)))
    }

    fn stop<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()> {
        Box::pin(std::future::ready(Self::stop(self, name)))
    }

    fn restart<'a>(
        &'a self,
        name: &'a str,
        grace: Option<Duration>,
    ) -> OrchestratorFuture<'a, u64> {
        Box::pin(std::future::ready(Self::restart(self, name, grace)))
    }

    fn scale<'a>(&'a self, service: &'a str, copies: u32) -> OrchestratorFuture<'a, ()> {
        Box::pin(std::future::ready(Self::scale(self, service, copies)))
    }

    fn mark_ready<'a>(&'a self, name: &'a str, incarnation: u64) -> OrchestratorFuture<'a, ()> {
        Box::pin(std::future::ready(Self::mark_ready(self, name, incarnation)))
    }

    fn statuses(&self) -> OrchestratorFuture<'_, Vec<InstanceStatus>> {
        Box::pin(std::future::ready(Ok(Self::statuses(self))))
    }

    fn subscribe(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        Self::subscribe(self)
    }
}
