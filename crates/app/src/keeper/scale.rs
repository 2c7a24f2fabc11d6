//! More or fewer copies of a service: a gateway says how many, the fleet does it. What goes
//! finishes first, as what leaves the configuration does.

use super::Keeper;
use crate::config::{self, ServiceConfig, replicas};
use crate::link::ToGateway;
use evenkeel_domain::orchestrator::InstanceSpec;

impl Keeper {
    /// Sizes of what is scaled now, within the bounds of now.
    pub(super) fn fit_sizes(&mut self) {
        let before = std::mem::take(&mut self.sizes);
        for service in &self.config.service {
            let (Some(scale), Some(first)) = (&service.scale, config::first_size(service)) else {
                continue;
            };
            let size = before.get(&service.name).copied().unwrap_or(first);
            self.sizes.insert(service.name.clone(), size.clamp(scale.min, scale.max));
        }
    }

    /// What runs for a service at its size.
    pub(super) fn copies(&self, service: &ServiceConfig) -> Vec<InstanceSpec> {
        let mut all = replicas::instances(service);
        if let Some(size) = self.sizes.get(&service.name) {
            all.retain(|spec| spec.index < *size);
        }
        all
    }

    /// Takes another size for a service.
    pub(super) fn scale(&mut self, service: String, copies: u32) {
        let Some(before) = self.sizes.get(&service).copied() else { return };
        if before == copies {
            return;
        }
        tracing::info!(service, before, copies, "scaling");
        self.sizes.insert(service.clone(), copies);
        if let Err(error) = self.want_instances() {
            tracing::error!(service, %error, "cannot scale");
            self.sizes.insert(service, before);
            return;
        }
        self.tell_all(&ToGateway::Sizes(self.sizes.clone()));
        self.tell_all(&ToGateway::Retire { leaving: self.fleet.leaving() });
    }
}
