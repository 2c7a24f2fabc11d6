//! Alerts, and what people say to them.

use super::{AdminClient, ClientError, segment};
use crate::view::{AlertsView, HealBody, PastView, SilenceBody, TriedView, TryBody};

impl AdminClient {
    /// What is wrong now, who is told, and by which ways.
    ///
    /// # Errors
    /// See [`ClientError`]; so for what follows.
    pub async fn alerts(&self) -> Result<AlertsView, ClientError> {
        self.get("/api/v1/alerts").await
    }

    /// What happened, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn alert_history(&self, limit: u32) -> Result<Vec<PastView>, ClientError> {
        self.get(&format!("/api/v1/alerts/history?limit={limit}")).await
    }

    /// Says that somebody looks after an alert.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn acknowledge(&self, id: &str, owner: &str) -> Result<(), ClientError> {
        let body = HealBody { owner: owner.to_owned(), ..HealBody::default() };
        self.post(&format!("/api/v1/alerts/{}/ack", segment(id)), &body).await
    }

    /// Has nobody told of what matches, for a time.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn silence(&self, silence: &SilenceBody) -> Result<(), ClientError> {
        self.post("/api/v1/silences", silence).await
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn unsilence(&self, id: &str, owner: &str) -> Result<(), ClientError> {
        let body = HealBody { owner: owner.to_owned(), ..HealBody::default() };
        self.post(&format!("/api/v1/silences/{}/end", segment(id)), &body).await
    }

    /// Sends a real message through a channel, or through each.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn try_channels(
        &self,
        channel: Option<String>,
    ) -> Result<Vec<TriedView>, ClientError> {
        self.ask("/api/v1/alerts/test", &TryBody { channel }).await
    }
}
