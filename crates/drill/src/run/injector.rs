//! Puts faults in place and removes them.

use crate::fault::guard::{GuardOrder, Identity, Of};
use crate::fault::{FaultProxy, Kind};
use crate::plan::{Look, ReplicaLook, Resolved, Task};
use crate::run::guard::Guard;
use crate::run::{Hold, Subject, ask};
use evenkeel_domain::Endpoint;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longer than this no call of the admin API takes that begins something.
const CALL: Duration = Duration::from_secs(10);
/// How long a way that was lost may take to be had again before the loop goes on.
const AGAIN: Duration = Duration::from_millis(300);
/// How much longer than planned a guard holds on, should the drill itself stand still.
const SLACK: Duration = Duration::from_secs(5);

/// The way to one replica through our proxy.
#[derive(Debug)]
struct Way {
    proxy: FaultProxy,
    hold: Hold,
}

/// Whatever is in place. Dropping it removes all of it.
pub(super) struct Injector {
    subject: Arc<dyn Subject>,
    look: Look,
    service: String,
    ways: BTreeMap<String, Way>,
    guards: BTreeMap<usize, Guard>,
    held: BTreeMap<usize, Hold>,
}

impl Injector {
    pub(super) fn new(subject: Arc<dyn Subject>, look: Look) -> Self {
        Self {
            subject,
            look,
            service: String::new(),
            ways: BTreeMap::new(),
            guards: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Leads the way to every replica with a fault on the network over a proxy that passes.
    pub(super) async fn prepare(&mut self, resolved: &Resolved) -> Result<(), String> {
        self.service = resolved.service.clone();
        for task in &resolved.tasks {
            let (Kind::Wire(..), Some(name)) = (&task.kind, &task.replica) else { continue };
            if self.ways.contains_key(name) {
                continue;
            }
            let upstream = address(self.replica(name)?).await?;
            let proxy = FaultProxy::start(upstream)
                .await
                .map_err(|error| format!("no port for the fault proxy: {error}"))?;
            let hold = limited(self.subject.detour(name, proxy.addr(), &task.what)).await?;
            self.ways.insert(name.clone(), Way { proxy, hold });
        }
        Ok(())
    }

    pub(super) fn looked(&mut self, look: Look) {
        self.look = look;
    }

    fn replica(&self, name: &str) -> Result<&ReplicaLook, String> {
        let service = self.look.service(&self.service);
        let replica = service.and_then(|s| s.replicas.iter().find(|r| r.name == name));
        replica.ok_or_else(|| format!("there is no `{name}` any more"))
    }

    pub(super) async fn inject(&mut self, at: usize, task: &Task) -> Result<(), String> {
        match &task.kind {
            Kind::Wire(fault, _) => {
                let way = task.replica.as_ref().and_then(|name| self.ways.get(name));
                let way = way.ok_or("there is no way to it through the proxy")?;
                way.proxy.set_shared(fault.clone()).await;
                Ok(())
            }
            Kind::Guard(entry) => {
                let processes = match entry.of {
                    Of::Host => Vec::new(),
                    Of::Gateway => {
                        vec![Identity::aged(self.look.gateway_pid, self.look.gateway_age)?]
                    }
                    Of::Replica => vec![self.process(task)?],
                };
                let most = task.lasts.unwrap_or_default() + SLACK;
                let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
                let order = GuardOrder { what: task.what.clone(), processes, most_ms };
                let guard = Guard::start(self.subject.guard()?, &order).await?;
                if !entry.at_once {
                    self.guards.insert(at, guard);
                } else {
                    guard.end().await;
                }
                Ok(())
            }
            Kind::Asked(asked) => {
                let why = format!("drill: {}", task.what);
                let asked = tokio::time::timeout(CALL, ask(&*self.subject, *asked, &why)).await;
                if let Some(hold) = asked.map_err(|_| "no answer in time".to_owned())?? {
                    self.held.insert(at, hold);
                }
                Ok(())
            }
        }
    }

    /// The process of a replica as it is now.
    fn process(&self, task: &Task) -> Result<Identity, String> {
        let name = task.replica.as_deref().unwrap_or_default();
        let replica = self.replica(name)?;
        match (replica.pid, replica.age) {
            (Some(pid), Some(age)) => Identity::aged(pid, age),
            _ => Err(format!("{name} has no process right now")),
        }
    }

    pub(super) async fn remove(&mut self, at: usize, task: &Task) {
        self.held.remove(&at);
        if let Some(guard) = self.guards.remove(&at) {
            guard.end().await;
        }
        if matches!(task.kind, Kind::Wire(..))
            && let Some(way) = task.replica.as_ref().and_then(|name| self.ways.get(name))
        {
            way.proxy.clear().await;
        }
    }

    /// Takes again what a gateway that was replaced has let go of.
    ///
    /// # Errors
    /// When a fault is gone that should be there.
    pub(super) async fn keep(&mut self) -> Result<(), String> {
        if self.guards.values_mut().any(Guard::has_ended) {
            return Err("a fault's guard has ended by itself".into());
        }
        for (name, way) in self.ways.iter_mut().filter(|(_, way)| way.hold.is_over()) {
            let why = way.proxy.fault().to_string();
            let again = self.subject.detour(name, way.proxy.addr(), &why);
            // The next look tries again.
            if let Ok(Ok(hold)) = tokio::time::timeout(AGAIN, again).await {
                way.hold = hold;
            }
        }
        Ok(())
    }

    /// Removes everything.
    pub(super) async fn end(&mut self) {
        self.held.clear();
        for (_, guard) in std::mem::take(&mut self.guards) {
            guard.end().await;
        }
        for way in self.ways.values() {
            way.proxy.clear().await;
        }
        self.ways.clear();
    }
}

async fn limited<T>(asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let limited = tokio::time::timeout(CALL, asking).await;
    limited.unwrap_or_else(|_| Err("the admin API did not answer in time".into()))
}

async fn address(replica: &ReplicaLook) -> Result<SocketAddr, String> {
    let bad = |why: String| format!("{} at `{}`: {why}", replica.name, replica.url);
    let endpoint: Endpoint = replica.url.parse().map_err(|_| bad("no address".into()))?;
    let found = tokio::net::lookup_host((endpoint.host.as_ref(), endpoint.port)).await;
    let mut found = found.map_err(|error| bad(error.to_string()))?;
    found.next().ok_or_else(|| bad("the name has no address".into()))
}
