//! The ports to what is shown and what is ordered. `app` implements them.

use crate::view::{
    AlertsView, BatchView, GatewayView, IncidentDetail, IncidentView, KeyView, OverrideView,
    PastView, PlanView, RecoveryView, ScaleView, SloView, StandbyView, TenantView, TriedView,
    WhyView,
};
use evenkeel_domain::Pool;
use evenkeel_domain::check::CheckStatus;
use evenkeel_domain::event::EventLog;
use evenkeel_domain::histogram::Histogram;
use evenkeel_domain::job::{JobOrder, JobStatus};
use evenkeel_domain::node::NodeStatus;
use evenkeel_domain::orchestrator::InstanceStatus;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::settings::ServiceSettings;
use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// All that the API needs.
pub struct AdminState {
    /// What is shown.
    pub source: Arc<dyn Source>,
    /// What is ordered.
    pub control: Arc<dyn Control>,
    /// What is done about replicas that do not serve; `None` where nothing is.
    pub recovery: Option<Arc<dyn Healing>>,
    /// What people are told of; `None` where nobody is.
    pub alerts: Option<Arc<dyn Alerting>>,
    /// What happened.
    pub events: Arc<EventLog>,
    /// Whoever does not show this token sees liveness, readiness and metrics only. `None`
    /// for loopback without a token.
    pub token: Option<Secret>,
    /// Version of the program.
    pub version: &'static str,
    /// Names, beside loopback ones, that the `host` header may carry while no token is
    /// set: those under which the configuration makes the API known.
    pub hosts: Vec<String>,
}

/// The next lines of a log, none when there are none yet. Does file I/O, so it is called
/// where blocking is allowed.
pub type Follow = Box<dyn FnMut() -> io::Result<Vec<String>> + Send>;

/// What is shown. Everything but the logs must answer at once, from memory: liveness and
/// metrics hang on it.
pub trait Source: Send + Sync {
    /// Services of the configuration in force, with their live parts.
    fn services(&self) -> Vec<(Arc<ServiceSettings>, Arc<Pool>)>;

    /// Supervised processes, as last heard of.
    fn instances(&self) -> Vec<InstanceStatus>;

    /// Operators' orders that hold.
    fn overrides(&self) -> Vec<OverrideView>;

    /// The gateway as a whole.
    fn gateway(&self) -> GatewayView;

    /// What files and batches do; `None` where they are off.
    fn batch(&self) -> Option<BatchView> {
        None
    }

    /// Jobs, by name.
    fn jobs(&self) -> Vec<JobStatus> {
        Vec::new()
    }

    /// Other hosts that run replicas, by name.
    fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }

    /// Where checks stand, by name.
    fn checks(&self) -> Vec<CheckStatus> {
        Vec::new()
    }

    /// How standbys are used, by service; those without are absent.
    fn standbys(&self) -> BTreeMap<String, StandbyView> {
        BTreeMap::new()
    }

    /// How services are scaled, by service; those that are not are absent.
    fn scales(&self) -> BTreeMap<String, ScaleView> {
        BTreeMap::new()
    }

    /// What services promised and kept; `None` where no account is kept.
    fn slo(&self) -> Option<SloView> {
        None
    }

    /// The keys that clients show, in the order of the configuration.
    fn keys(&self) -> Vec<KeyView> {
        Vec::new()
    }

    /// The tenants they belong to.
    fn tenants(&self) -> Vec<TenantView> {
        Vec::new()
    }

    /// Where a supervised replica's output is written; `None` for others.
    fn log_path(&self, replica: &str) -> Option<PathBuf>;

    /// The last `n` lines of that output, oldest first. Called with names of known
    /// replicas only, and where blocking is allowed.
    ///
    /// # Errors
    /// `NotFound` when there is no log; whatever the system says.
    fn tail(&self, replica: &str, n: usize) -> io::Result<Vec<String>>;

    /// What is written from now on.
    ///
    /// # Errors
    /// As [`Source::tail`].
    fn follow(&self, replica: &str) -> io::Result<Follow>;
}

/// Why an order was not taken. Each carries what is wrong and what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// What is wrong.
        message: String,
        /// What helps.
        remedy: String,
    },
    /// It cannot be done in the present state.
    #[error("{message}")]
    Conflict {
        /// What is wrong.
        message: String,
        /// What helps.
        remedy: String,
    },
    /// Who would have to do it cannot be reached.
    #[error("{message}")]
    Unavailable {
        /// What is wrong.
        message: String,
        /// What helps.
        remedy: String,
    },
    /// The order makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What helps.
        remedy: String,
    },
}

impl ControlError {
    /// [`ControlError::NotFound`].
    pub fn not_found(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::NotFound { message: message.into(), remedy: remedy.into() }
    }

    /// [`ControlError::Conflict`].
    pub fn conflict(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Conflict { message: message.into(), remedy: remedy.into() }
    }

    /// [`ControlError::Unavailable`].
    pub fn unavailable(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), remedy: remedy.into() }
    }

    /// [`ControlError::Invalid`].
    pub fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), remedy: remedy.into() }
    }
}

/// What a method of [`Control`] answers with.
pub type ControlFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ControlError>> + Send + 'a>>;

/// Something that lasts until this is dropped.
pub type Held = Box<dyn Any + Send + Sync>;

/// What is ordered. A method answers once the order is taken, which is soon; the snapshot
/// tells when it has come true. An order goes on when its caller leaves.
pub trait Control: Send + Sync {
    /// Nothing new for a replica; what runs may finish. Ends by itself after `lasts`.
    fn drain<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a>;

    /// Ends whatever an operator has ordered for a replica.
    fn undrain<'a>(&'a self, replica: &'a str) -> ControlFuture<'a>;

    /// Takes a replica out at once; what runs is moved. Ends by itself after `lasts`.
    fn isolate<'a>(
        &'a self,
        replica: &'a str,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a>;

    /// Restarts a supervised replica.
    fn restart<'a>(&'a self, replica: &'a str) -> ControlFuture<'a>;

    /// Restarts the supervised replicas of a service one after another.
    fn restart_service<'a>(&'a self, service: &'a str) -> ControlFuture<'a>;

    /// Has a service do less (0 to 6), or leaves that to what is measured (`None`). Ends by
    /// itself after `lasts`.
    fn degrade<'a>(
        &'a self,
        service: &'a str,
        level: Option<u8>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a>;

    /// Has so many copies of a scaled service run, or leaves that to what is measured
    /// (`None`). Ends by itself after `lasts`.
    fn scale<'a>(
        &'a self,
        service: &'a str,
        copies: Option<u32>,
        owner: &'a str,
        lasts: Option<Duration>,
    ) -> ControlFuture<'a>;

    /// Has a standby take over, or sends it back.
    fn standby<'a>(&'a self, replica: &'a str, promote: bool, owner: &'a str) -> ControlFuture<'a>;

    /// Leads connections to a replica to another address for as long as what is given back
    /// is kept.
    ///
    /// # Errors
    /// When there is no such replica, or somebody else holds the way to it.
    fn detour(
        &self,
        replica: &str,
        to: SocketAddr,
        owner: &str,
        why: &str,
    ) -> Result<Held, ControlError>;

    /// Puts the wall clock of this process so many milliseconds ahead, or behind where
    /// negative, for as long as what is given back is kept.
    ///
    /// # Errors
    /// When it is wrong already.
    fn clock(&self, ahead_ms: i64, owner: &str, why: &str) -> Result<Held, ControlError>;

    /// Starts a job (again), or stops it.
    fn job<'a>(&'a self, name: &'a str, order: JobOrder) -> ControlFuture<'a>;

    /// Reads the configuration again.
    fn reload(&self) -> ControlFuture<'_>;

    /// Replaces the running program: by `binary`, or by what lies now where it came from.
    fn upgrade(&self, binary: Option<PathBuf>) -> ControlFuture<'_>;

    /// Drains and ends everything.
    fn stop(&self) -> ControlFuture<'_>;
}

/// What a reading method of [`Healing`] answers with.
pub type HealingFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Incidents: what is shown and ordered. An order is answered once it is written down.
pub trait Healing: Send + Sync {
    /// What is so now, from memory.
    fn view(&self) -> RecoveryView;

    /// From the first sign until confirmed.
    fn detect(&self) -> &Histogram;

    /// From the first sign until it served again.
    fn mitigate(&self) -> &Histogram;

    /// The newest incidents.
    fn incidents(&self, limit: u32) -> HealingFuture<'_, Vec<IncidentView>>;

    /// One with its rows.
    fn incident<'a>(&'a self, id: &'a str) -> HealingFuture<'a, IncidentDetail>;

    /// Why a replica is in its state.
    fn why<'a>(&'a self, replica: &'a str) -> HealingFuture<'a, WhyView>;

    /// What would be done about it.
    fn plan<'a>(&'a self, replica: &'a str) -> HealingFuture<'a, PlanView>;

    /// Has nothing done about a target for a time.
    fn pause<'a>(
        &'a self,
        target: &'a str,
        owner: &'a str,
        why: &'a str,
        lasts: Duration,
    ) -> ControlFuture<'a>;

    /// Ends a pause.
    fn resume<'a>(&'a self, target: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Goes on with an incident that waits for a person.
    fn approve<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Does a step now.
    fn force<'a>(&'a self, id: &'a str, step: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Ends what its steps keep in force.
    fn undo<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Ends the storm stop.
    fn reset_storm<'a>(&'a self, owner: &'a str) -> ControlFuture<'a>;
}

/// Alerts: what is shown and ordered. An order is answered once it is written down.
pub trait Alerting: Send + Sync {
    /// What is so now, from memory.
    fn view(&self) -> AlertsView;

    /// What happened, newest first.
    fn history(&self, limit: u32) -> HealingFuture<'_, Vec<PastView>>;

    /// Somebody looks after an alert; `all` for every one that is open.
    fn acknowledge<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Nobody is told of what matches, for a time.
    fn silence<'a>(
        &'a self,
        matching: BTreeMap<String, String>,
        owner: &'a str,
        why: &'a str,
        lasts: Duration,
    ) -> ControlFuture<'a>;

    /// Ends a silence.
    fn unsilence<'a>(&'a self, id: &'a str, owner: &'a str) -> ControlFuture<'a>;

    /// Sends a real message through a channel, or through each.
    fn test(&self, channel: Option<String>) -> HealingFuture<'_, Vec<TriedView>>;
}
