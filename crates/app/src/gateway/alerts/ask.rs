//! Alerts for the admin API.

use super::{Alerts, Asked, Order};
use evenkeel_admin::view::{AlertsView, PastView, TriedView};
use evenkeel_admin::{Alerting, ControlError, ControlFuture, HealingFuture};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What the admin API asks.
pub(in super::super) struct Ask(pub(in super::super) Arc<Alerts>);

impl Ask {
    async fn ask<T>(
        &self,
        asked: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Asked,
        refused: impl FnOnce(String) -> ControlError,
    ) -> Result<T, ControlError> {
        let gone =
            || ControlError::unavailable("alerting does not run here", "see `evenkeel status`");
        let (to, answer) = oneshot::channel();
        // Full means that it hangs: nobody waits for that.
        self.0.asks.try_send(asked(to)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(refused)
    }

    async fn order(&self, order: Order) -> Result<(), ControlError> {
        let none = |why| ControlError::not_found(why, "see `evenkeel alert list`");
        self.ask(|to| Asked::Order(order, to), none).await
    }
}

impl Alerting for Ask {
    fn view(&self) -> AlertsView {
        (**self.0.view.load()).clone()
    }

    fn history(&self, limit: u32) -> HealingFuture<'_, Vec<PastView>> {
        Box::pin(async move {
            let broken = |why| ControlError::unavailable(why, "see `evenkeel status`");
            let all = self.ask(|to| Asked::History(limit, to), broken).await?;
            let view = |past: evenkeel_domain::alert::Past| PastView {
                at_unix_ms: past.at,
                alert: past.alert,
                kind: past.kind,
                text: past.text,
            };
            Ok(all.into_iter().map(view).collect())
        })
    }

    fn acknowledge<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a> {
        Box::pin(self.order(Order::Acknowledge { id: id.to_owned(), owner: owner.to_owned() }))
    }

    fn silence<'a>(
        &'a self,
        matching: BTreeMap<String, String>,
        owner: &'a str,
        why: &'a str,
        lasts: Duration,
    ) -> ControlFuture<'a> {
        let (owner, why) = (owner.to_owned(), why.to_owned());
        let bad = |why| ControlError::invalid(why, "see `evenkeel alert list`");
        let order = Order::Silence { matching, owner, why, lasts };
        Box::pin(self.ask(|to| Asked::Order(order, to), bad))
    }

    fn unsilence<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a> {
        Box::pin(self.order(Order::Unsilence { id: id.to_owned(), owner: owner.to_owned() }))
    }

    fn test(&self, channel: Option<String>) -> HealingFuture<'_, Vec<TriedView>> {
        Box::pin(async move {
            let none = |why| ControlError::not_found(why, "see `evenkeel alert list`");
            self.ask(|to| Asked::Test(channel, to), none).await
        })
    }
}
