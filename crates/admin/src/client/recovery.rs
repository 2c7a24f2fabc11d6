//! What is wrong, what is done about it, and what people say to that.

use super::{AdminClient, ClientError, segment};
use crate::view::{HealBody, IncidentDetail, IncidentView, PauseBody, PlanView, WhyView};
use std::time::Duration;

impl AdminClient {
    /// The newest incidents, those that are over included.
    ///
    /// # Errors
    /// See [`ClientError`]; so for what follows.
    pub async fn incidents(&self, limit: u32) -> Result<Vec<IncidentView>, ClientError> {
        self.get(&format!("/api/v1/incidents?limit={limit}")).await
    }

    /// One incident with its rows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn incident(&self, id: &str) -> Result<IncidentDetail, ClientError> {
        self.get(&format!("/api/v1/incidents/{}", segment(id))).await
    }

    /// Why a replica is in its state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn why(&self, replica: &str) -> Result<WhyView, ClientError> {
        self.get(&format!("/api/v1/replicas/{}/why", segment(replica))).await
    }

    /// What would be done about a replica now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, replica: &str) -> Result<PlanView, ClientError> {
        self.get(&format!("/api/v1/replicas/{}/plan", segment(replica))).await
    }

    /// Has nothing done about a target for a time.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pause(
        &self,
        target: &str,
        owner: &str,
        why: &str,
        lasts: Duration,
    ) -> Result<(), ClientError> {
        let body = PauseBody {
            target: target.to_owned(),
            owner: owner.to_owned(),
            why: why.to_owned(),
            lasts: humantime::format_duration(lasts).to_string(),
        };
        self.post("/api/v1/pause", &body).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(&self, target: &str, owner: &str) -> Result<(), ClientError> {
        let (owner, target) = (owner.to_owned(), target.to_owned());
        self.post("/api/v1/resume", &HealBody { owner, target, ..HealBody::default() }).await
    }

    /// Goes on with an incident that waits for a person.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve(&self, id: &str, owner: &str) -> Result<(), ClientError> {
        let body = HealBody { owner: owner.to_owned(), ..HealBody::default() };
        self.post(&format!("/api/v1/incidents/{}/approve", segment(id)), &body).await
    }

    /// Does a step of an incident now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn force(&self, id: &str, step: &str, owner: &str) -> Result<(), ClientError> {
        let (owner, step) = (owner.to_owned(), step.to_owned());
        let body = HealBody { owner, step, ..HealBody::default() };
        self.post(&format!("/api/v1/incidents/{}/force", segment(id)), &body).await
    }

    /// Ends what the steps of an incident keep in force.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn undo(&self, id: &str, owner: &str) -> Result<(), ClientError> {
        let body = HealBody { owner: owner.to_owned(), ..HealBody::default() };
        self.post(&format!("/api/v1/incidents/{}/undo", segment(id)), &body).await
    }

    /// Ends the storm stop.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reset_storm(&self, owner: &str) -> Result<(), ClientError> {
        let body = HealBody { owner: owner.to_owned(), ..HealBody::default() };
        self.post("/api/v1/storm/reset", &body).await
    }
}
