//! The statuses of all instances, for whoever wants to watch.

use evenkeel_domain::orchestrator::InstanceStatus;
use tokio::sync::watch;

/// Written by the instances' tasks, each its own entry; read by everyone.
#[derive(Debug)]
pub(crate) struct Board(watch::Sender<Vec<InstanceStatus>>);

impl Board {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    /// Adds an entry, in the order of names.
    pub(crate) fn add(&self, status: InstanceStatus) {
        self.0.send_modify(|all| {
            match all.binary_search_by(|entry| entry.name.cmp(&status.name)) {
                Ok(at) => all[at] = status,
                Err(at) => all.insert(at, status),
            }
        });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.send_modify(|all| all.retain(|entry| entry.name != name));
    }

    /// Changes an entry. Watchers hear of it only if it is different then.
    pub(crate) fn update(&self, name: &str, change: impl FnOnce(&mut InstanceStatus)) {
        self.0.send_if_modified(|all| {
            let Some(entry) = all.iter_mut().find(|entry| entry.name == name) else { return false };
            let before = entry.clone();
            change(entry);
            *entry != before
        });
    }

    pub(crate) fn get(&self, name: &str) -> Option<InstanceStatus> {
        self.0.borrow().iter().find(|entry| entry.name == name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<InstanceStatus> {
        self.0.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        self.0.subscribe()
    }
}
