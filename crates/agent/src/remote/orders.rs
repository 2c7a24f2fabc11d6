//! The remote node as what the domain knows of it.

use super::Remote;
use crate::words::{Done, Order};
use evenkeel_domain::orchestrator::{
    InstanceSpec, InstanceStatus, Orchestrator, OrchestratorError, OrchestratorFuture, Outdated,
};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

impl Remote {
    /// Applies and waits for the answer. What could not be told is told later all the same:
    /// it is what is wanted.
    async fn place(
        &self,
        specs: Vec<InstanceSpec>,
        in_turn: bool,
    ) -> Result<Outdated, OrchestratorError> {
        let version = self.shared.set_specs(specs, in_turn);
        let mut applied = self.shared.applied.subscribe();
        let answered = applied.wait_for(|applied| applied.version >= version);
        match timeout(super::PATIENCE, answered).await {
            Ok(Ok(applied)) => applied.result.clone().unwrap_or_else(|| Ok(Vec::new())),
            _ => Err(self.shared.unreached()),
        }
    }

    async fn simply(&self, order: Order) -> Result<(), OrchestratorError> {
        self.call(order).await.map(drop)
    }
}

impl Orchestrator for Remote {
    fn apply(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, ()> {
        Box::pin(async { self.place(specs, false).await.map(drop) })
    }

    fn apply_in_turn(&self, specs: Vec<InstanceSpec>) -> OrchestratorFuture<'_, Outdated> {
        Box::pin(self.place(specs, true))
    }

    fn start<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()> {
        Box::pin(self.simply(Order::Start { name: name.to_owned() }))
    }

    fn stop<'a>(&'a self, name: &'a str) -> OrchestratorFuture<'a, ()> {
        Box::pin(self.simply(Order::Stop { name: name.to_owned() }))
    }

    fn restart<'a>(
        &'a self,
        name: &'a str,
        grace: Option<Duration>,
    ) -> OrchestratorFuture<'a, u64> {
        Box::pin(async move {
            match self.call(Order::Restart { name: name.to_owned(), grace }).await? {
                Done::Restarting { incarnation } => Ok(incarnation),
                Done::Taken | Done::Outdated(_) => Ok(0),
            }
        })
    }

    fn scale<'a>(&'a self, service: &'a str, copies: u32) -> OrchestratorFuture<'a, ()> {
        Box::pin(self.simply(Order::Scale { service: service.to_owned(), copies }))
    }

    fn mark_ready<'a>(&'a self, name: &'a str, incarnation: u64) -> OrchestratorFuture<'a, ()> {
        Box::pin(self.simply(Order::MarkReady { name: name.to_owned(), incarnation }))
    }

    fn statuses(&self) -> OrchestratorFuture<'_, Vec<InstanceStatus>> {
        Box::pin(std::future::ready(Ok(self.shared.instances.borrow().clone())))
    }

    fn subscribe(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        self.shared.instances.subscribe()
    }
}

impl Remote {
    /// Has an order about a job taken.
    ///
    /// # Errors
    /// `Unknown` where there is no such job, `Unavailable` where the node is not reached.
    pub async fn job(
        &self,
        name: &str,
        order: evenkeel_domain::job::JobOrder,
    ) -> Result<(), OrchestratorError> {
        self.simply(Order::Job { name: name.to_owned(), order }).await
    }
}
