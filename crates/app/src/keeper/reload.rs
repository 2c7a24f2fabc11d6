//! Taking over a changed configuration, or refusing it.

use super::Keeper;
use super::leaving::Now;
use super::sockets::Sockets;
use crate::config::{Config, Sources};
use crate::link::ToGateway;
use evenkeel_domain::clock;
use evenkeel_domain::orchestrator::OrchestratorError;

impl Keeper {
    /// Reads the file again; `asked` by a person, or looked at by the clock.
    pub(super) fn reload(&mut self, asked: bool) {
        let Some(file) = self.options.file.clone() else { return };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if asked => {
                self.refuse(&format!("{}: cannot be read: {error}", file.display()));
                return;
            }
            // Editors replace files: it may be back at the next look.
            Err(_) => return,
        };
        let sources = match Sources::with(&self.options.name, text.clone()) {
            Ok(sources) => sources,
            Err(errors) => {
                // The same goes for the key file, unless it is newly named.
                if asked || text != self.seen.text {
                    self.seen = Sources { text, keys: None };
                    self.refuse(&errors.to_string());
                }
                return;
            }
        };
        if !asked && sources == self.seen {
            return;
        }
        self.seen.clone_from(&sources);
        match sources.parse(&self.options.name) {
            Err(errors) => self.refuse(&errors.to_string()),
            Ok(config) => self.take(config, sources),
        }
    }

    fn refuse(&self, why: &str) {
        tracing::error!("configuration refused, the old one stays in force: {why}");
        self.tell_all(&ToGateway::Refused { why: why.to_owned() });
    }

    /// Puts a checked configuration in force.
    fn take(&mut self, config: Config, sources: Sources) {
        if config == self.config {
            self.options.sources = sources;
            return;
        }
        if !self.sockets.serve(&config) {
            match Sockets::bind(&config, Some(&self.sockets)) {
                Ok(sockets) => self.sockets = sockets,
                Err(error) => return self.refuse(&error.to_string()),
            }
        }
        // What only a new process can take over is handed over to one.
        let in_place = config.gateway == self.config.gateway
            && config.admin == self.config.admin
            && config.log == self.config.log
            && config.trace == self.config.trace
            && config.batch == self.config.batch;
        let before = std::mem::replace(&mut self.config, config);
        let placed = self.hosts.set_nodes(&self.config).and_then(|()| self.want_instances());
        if let Err(error) = placed {
            self.config = before;
            // Taken before, so it can be again.
            let _ = self.hosts.set_nodes(&self.config);
            return self.refuse(&error);
        }
        self.hosts.apply_jobs(self.config.job.clone());
        self.options.sources = sources;
        self.generation += 1;
        tracing::info!(generation = self.generation, in_place, "configuration reloaded");
        if in_place {
            self.tell_all(&self.config_message());
        } else if let Err(error) = self.start_gateway(None) {
            tracing::error!(%error, "cannot start a gateway for the new configuration");
        }
        self.tell_all(&ToGateway::Sizes(self.sizes.clone()));
        // After the configuration: what it has again is not to be left alone.
        self.tell_all(&ToGateway::Retire { leaving: self.fleet.leaving() });
        self.renew();
    }

    /// Has the supervisor run what the configuration says. What is gone from it may finish
    /// first.
    pub(super) fn want_instances(&mut self) -> Result<(), String> {
        self.fit_sizes();
        let wanted = self.config.service.iter().flat_map(|s| self.copies(s)).collect();
        let gateways: Vec<u64> = self.current.iter().chain(&self.old).map(|g| g.id).collect();
        let now = Now {
            statuses: &self.hosts.statuses(),
            gateways: &gateways,
            until: clock::now() + self.config.gateway.drain,
        };
        let before = self.fleet.clone();
        self.fleet.want(wanted, &now);
        self.run_fleet().map_err(|error| {
            self.fleet = before;
            error.to_string()
        })
    }

    /// What is ready is not restarted here: the gateway does that in turn, since a change
    /// of all replicas at once would be an outage.
    fn run_fleet(&mut self) -> Result<(), OrchestratorError> {
        let outdated = self.hosts.apply_in_turn(self.fleet.specs())?;
        self.outdated.extend(outdated);
        Ok(())
    }

    /// Stops what has left the configuration and has finished.
    pub(super) fn review(&mut self) {
        if !self.fleet.review(&self.hosts.statuses(), clock::now()) {
            return;
        }
        if let Err(error) = self.run_fleet() {
            tracing::error!(%error, "cannot stop what has left the configuration");
        }
        self.renew();
    }

    /// Has the gateway restart what is still outdated.
    pub(super) fn renew(&mut self) {
        let now = self.hosts.statuses();
        self.outdated
            .retain(|name, start| now.iter().any(|s| s.name == *name && s.incarnation == *start));
        let ready = self.current.as_ref().filter(|g| g.ready);
        if let Some(gateway) = ready.filter(|_| !self.outdated.is_empty()) {
            let outdated = self.outdated.iter().map(|(name, start)| (name.clone(), *start));
            gateway.tell(ToGateway::Renew { outdated: outdated.collect() });
        }
    }

    pub(super) fn config_message(&self) -> ToGateway {
        ToGateway::Config {
            path: self.options.name.clone(),
            sources: self.options.sources.clone(),
            generation: self.generation,
        }
    }
}
