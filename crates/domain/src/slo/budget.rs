//! Error budgets, for whoever acts on them: alerts, drills, forecasts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// How much something asks of people.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody looks at it within days.
    Ticket,
    /// Somebody looks at it now.
    Page,
}

impl Severity {
    /// The word for people and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

/// What is measured against the objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sli {
    /// Share of the valid requests that were answered well.
    Requests,
    /// Share of the time in which a replica took traffic.
    Time,
    /// Share of the good requests whose answer began in time.
    Latency,
}

impl Sli {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Time, Self::Latency];

    /// The word for people and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Time => "time",
            Self::Latency => "latency",
        }
    }
}

/// A burn-rate rule that says so now.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// Which rule: the factor and its long window, such as `14.4x/1h`.
    pub rule: &'static str,
    /// How urgent.
    pub severity: Severity,
    /// What burns.
    pub sli: Sli,
    /// How many times faster than the budget allows, over the long window.
    pub long: f64,
    /// … and over the short one.
    pub short: f64,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
}

/// When the budget will be used up at the present burn.
#[derive(Debug, Clone, PartialEq)]
pub struct Exhausted {
    /// In milliseconds since the Unix epoch; not later than now where it is used up already.
    pub at_unix_ms: u64,
    /// What is measured.
    pub sli: Sli,
    /// For people.
    pub text: String,
}

/// The error budget of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetState {
    /// The service.
    pub service: String,
    /// The objective, a share.
    pub objective: f64,
    /// Share of the budget that is left, of what is measured the least; below 0 when more was
    /// used. `None` while nothing is known.
    pub left: Option<f64>,
    /// How many times faster than allowed it is used now (over an hour), of what is measured
    /// the most.
    pub burn: f64,
    /// Rules that say so, the most urgent first.
    pub firing: Vec<Firing>,
    /// When it is used up, while it is used faster than allowed.
    pub exhausted: Option<Exhausted>,
}

impl BudgetState {
    /// The most urgent of what fires.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.firing.iter().map(|firing| firing.severity).max()
    }
}

/// Where error budgets are read.
pub trait Budgets: Send + Sync {
    /// All services as they stand. The channel holds the newest state only: whoever is slow
    /// misses what lay between and never what is so, and holds up nobody.
    fn subscribe(&self) -> watch::Receiver<Arc<Vec<BudgetState>>>;

    /// Whether a drill may use up some of a service's budget.
    ///
    /// # Errors
    /// Why not, for people: it is unknown, nothing is left, or it burns already.
    fn may_drill(&self, service: &str) -> Result<(), String> {
        let all = self.subscribe().borrow().clone();
        let known = all.iter().find(|state| state.service == service);
        let state = known.ok_or_else(|| format!("no error budget of `{service}` is known yet"))?;
        if let Some(firing) = state.firing.first() {
            let (rule, sli) = (firing.rule, firing.sli.label());
            return Err(format!("the budget of `{service}` burns already ({rule} by {sli})"));
        }
        match state.left {
            Some(left) if left > 0.0 => Ok(()),
            Some(_) => Err(format!("nothing is left of the error budget of `{service}`")),
            None => Err(format!("no error budget of `{service}` is known yet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(watch::Sender<Arc<Vec<BudgetState>>>);

    impl Budgets for Fixed {
        fn subscribe(&self) -> watch::Receiver<Arc<Vec<BudgetState>>> {
            self.0.subscribe()
        }
    }

    fn state(left: Option<f64>, firing: Vec<Firing>) -> BudgetState {
        let service = "chat".into();
        BudgetState { service, objective: 0.999, left, burn: 0.0, firing, exhausted: None }
    }

    #[test]
    fn a_drill_needs_a_budget_that_is_known_left_and_calm() {
        let asked =
            |state: BudgetState| Fixed(watch::Sender::new(Arc::new(vec![state]))).may_drill("chat");
        assert_eq!(asked(state(Some(0.3), Vec::new())), Ok(()));
        for (no, why) in [
            (state(None, Vec::new()), "known"),
            (state(Some(-0.1), Vec::new()), "nothing is left"),
            (state(Some(0.0), Vec::new()), "nothing is left"),
            (BudgetState { service: "other".into(), ..state(Some(1.0), Vec::new()) }, "known"),
        ] {
            assert!(asked(no).unwrap_err().contains(why), "{why}");
        }
        let firing = Firing {
            rule: "14.4x/1h",
            severity: Severity::Page,
            sli: Sli::Time,
            long: 20.0,
            short: 200.0,
            since_unix_ms: 1,
        };
        let burns = state(Some(0.9), vec![firing]);
        assert_eq!(burns.severity(), Some(Severity::Page));
        assert!(asked(burns).unwrap_err().contains("14.4x/1h by time"));
    }
}
