//! One gateway after another: the first, one that follows a crash, one that takes over.

use super::child::Gateway;
use super::{Announcement, Flow, Keeper, KeeperError};
use crate::link::ToGateway;
use evenkeel_domain::clock;
use evenkeel_domain::orchestrator::InstanceStatus;
use sd_notify::NotifyState;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A gateway that dies this often within a minute is started with a pause.
const CRASHES: usize = 5;
/// The pause.
const CRASH_PAUSE: Duration = Duration::from_secs(1);

impl Keeper {
    /// Starts a gateway; the one before serves until the new one is ready.
    pub(super) fn start_gateway(&mut self, binary: Option<&Path>) -> io::Result<()> {
        let binary = binary.unwrap_or(&self.binary).to_owned();
        let gateway = Gateway::start(self.next_id, &binary, &self.sockets, self.events.clone())?;
        self.next_id += 1;
        self.started = clock::now();
        self.last_alive = self.started;
        gateway.tell(self.config_message());
        gateway.tell(ToGateway::Jobs(self.hosts.job_statuses()));
        gateway.tell(ToGateway::Sizes(self.sizes.clone()));
        gateway.tell(ToGateway::Instances(self.hosts.statuses()));
        gateway.tell(ToGateway::Nodes(self.hosts.node_statuses()));
        tracing::info!(pid = gateway.pid, "gateway started");
        self.old.extend(self.current.replace(gateway));
        Ok(())
    }

    pub(super) fn tell_all(&self, message: &ToGateway) {
        for gateway in self.current.iter().chain(&self.old) {
            gateway.tell(message.clone());
        }
    }

    pub(super) fn on_ready(&mut self, id: u64) {
        let Some(current) = self.current.as_mut().filter(|g| g.id == id) else { return };
        current.ready = true;
        let gateway_pid = current.pid;
        for old in &self.old {
            old.tell(ToGateway::Drain { replaced: true });
        }
        self.renew();
        if !std::mem::replace(&mut self.announced, true) {
            self.unannounced = Some(gateway_pid);
            self.announce(false);
            // Without a service manager there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
    }

    /// Says once what runs where: as soon as all processes are there, or when it must.
    pub(super) fn announce(&mut self, at_once: bool) {
        let Some(gateway_pid) = self.unannounced else { return };
        let instances = self.hosts.statuses();
        let begins = |one: &InstanceStatus| one.pid.is_none() && one.phase.is_running();
        if !at_once && instances.iter().any(begins) {
            return;
        }
        self.unannounced = None;
        (self.options.announce)(&Announcement {
            clients: self.sockets.client_addresses(),
            admin: self.sockets.admin_address(),
            tls: self.config.gateway.tls.is_some(),
            workers: self.sockets.workers,
            gateway_pid,
            services: self.config.service.iter().map(|s| s.name.clone()).collect(),
            instances,
        });
    }

    pub(super) async fn on_ended(&mut self, id: u64, how: &str) -> Flow {
        if self.current.as_ref().is_none_or(|g| g.id != id) {
            self.old.retain(|g| g.id != id);
            return Flow::Go;
        }
        let ready = self.current.take().is_some_and(|g| g.ready);
        if !ready && !self.announced {
            return Flow::Fail(KeeperError::Gateway(how.to_owned()));
        }
        if !ready && let Some(old) = self.old.pop() {
            tracing::error!(how, "the new gateway did not start; the old one goes on");
            self.current = Some(old);
            return Flow::Go;
        }
        let now = clock::now();
        self.crashes.push_back(now);
        while self.crashes.len() > CRASHES {
            self.crashes.pop_front();
        }
        let often = self.crashes.len() == CRASHES
            && self.crashes.front().is_some_and(|t| now.duration_since(*t).as_secs() < 60);
        tracing::error!(how, "the gateway ended; starting it again");
        if often {
            tokio::time::sleep(CRASH_PAUSE).await;
        }
        match self.start_gateway(None) {
            Ok(()) => Flow::Go,
            Err(error) => Flow::Fail(error.into()),
        }
    }

    pub(super) fn upgrade(&mut self, binary: Option<&Path>) {
        tracing::info!(binary = ?binary.unwrap_or(&self.binary), "handing over to a new gateway");
        if let Err(error) = self.start_gateway(binary) {
            tracing::error!(%error, "cannot start the new gateway; the old one goes on");
            return;
        }
        if let Some(binary) = binary {
            // Should it die, the same one is started again.
            self.binary = binary.to_owned();
        }
    }
}
