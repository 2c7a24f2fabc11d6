//! A service that recovery has failed over: another one answers for it.
//!
//! ```text
//!   comes while another answers ───────────────────────────────► there
//!   waits, or has no answer yet, when that begins ─ repeatable ─► there
//!                                                 └ else: its own end, then there
//! ```

use super::errand::Errand;
use super::{Asking, Got, other};
use crate::attempt::guard::RequestGuard;
use crate::body::read::ReadBody;
use crate::fallback::mendable;
use crate::route::Table;
use crate::routed::Routed;
use crate::sent::is_repeatable;
use std::rc::Rc;

/// A request that can be sent once only, where another service answers for its own.
pub(crate) fn redirect(table: &Table, routed: Routed, body: &ReadBody) -> Routed {
    let stand_in = body.rest.as_ref().and_then(|_| table.stand_in(&routed.entry));
    match stand_in {
        Some(entry) => Routed { model: other::model_of(&entry, routed.model), entry, ..routed },
        None => routed,
    }
}

impl Errand {
    /// What the service says that recovery has put in this one's place; `None` while none is.
    pub(super) async fn by_stand_in(&self, request: &Rc<RequestGuard>) -> Option<Got> {
        let table = self.worker.shared.table.load_full();
        let entry = table.stand_in(&self.entry)?;
        let got = self.asked(entry, "failed_over", request).await;
        if got.as_ref().is_ok_and(|given| given.response.status().is_success()) {
            self.count(|counts| &counts.failed_over);
        }
        Some(got)
    }

    /// The service's own answer; what has none when another service is put in its place is
    /// asked there.
    pub(super) async fn own_until_stood_in(
        self: &Rc<Self>,
        asking: Option<&Asking>,
        request: &Rc<RequestGuard>,
    ) -> Got {
        let service = &self.entry.service;
        let may_move = service.settings.answers.fails_over
            && is_repeatable(&self.head, self.stateful, self.grpc);
        let own = self.own(asking, request);
        tokio::pin!(own);
        tokio::select! {
            biased;
            own = &mut own => return self.late_stand_in(own, request).await,
            () = service.pool.stood_in(), if may_move => {}
        }
        match self.by_stand_in(request).await {
            Some(Ok(theirs)) => Ok(theirs),
            _ => own.await,
        }
    }

    /// What ended without an answer while another service was put in this one's place is
    /// asked there; everything else stays as it is.
    async fn late_stand_in(&self, own: Got, request: &Rc<RequestGuard>) -> Got {
        if own.as_ref().err().and_then(mendable).is_none() {
            return own;
        }
        self.by_stand_in(request).await.unwrap_or(own)
    }
}
