//! Checks in the gateway process: whom they concern.

use super::source::GatewayState;
use evenkeel_domain::Replica;
use evenkeel_health::check::Members;
use std::sync::Arc;

/// The replicas and processes that this gateway knows.
pub(super) struct GatewayMembers(pub(super) Arc<GatewayState>);

impl std::fmt::Debug for GatewayMembers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayMembers").finish_non_exhaustive()
    }
}

impl Members for GatewayMembers {
    fn of_service(&self, service: &str) -> Vec<Arc<Replica>> {
        let services = self.0.services();
        let found = services.iter().find(|(settings, _)| settings.name == service);
        found.map(|(_, pool)| pool.members().to_vec()).unwrap_or_default()
    }

    fn named(&self, name: &str) -> Option<Arc<Replica>> {
        self.0.member(name)
    }

    fn pid(&self, replica: &str) -> Option<u32> {
        self.0.instances().iter().find(|status| status.name == replica)?.pid
    }

    fn pids(&self) -> Vec<(Arc<str>, u32)> {
        let all = self.0.instances();
        all.iter().filter_map(|s| Some((s.name.as_str().into(), s.pid?))).collect()
    }
}
