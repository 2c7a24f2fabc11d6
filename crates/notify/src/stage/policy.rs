//! Whom alerts go to, how often, and when not.

use super::window::Window;
use evenkeel_domain::alert::{Labels, Millis, matches};

/// The last route, for what no other one takes.
pub const REST: &str = "rest";

/// All of it. Times are milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Asked from the first on.
    pub routes: Vec<Route>,
    /// Alerts alike in these labels, on one route, are told together.
    pub group_by: Vec<String>,
    /// How long a group waits for more before it is told.
    pub group_wait: Millis,
    /// How long until it is told again while nobody acknowledges.
    pub repeat: Millis,
    /// When nobody is told of what.
    pub quiet: Vec<Quiet>,
    /// All channels.
    pub channels: Vec<String>,
    /// Who hears that alerting lives, and how often.
    pub alive: Option<(Vec<String>, Millis)>,
}

/// Nobody is told of what matches in a window that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// What.
    pub matching: Labels,
    /// When.
    pub window: Window,
    /// Why.
    pub why: String,
}

/// What goes to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name: groups that are under way find it again after a reload.
    pub name: String,
    /// What it takes.
    pub matching: Labels,
    /// When it does; `None` for always.
    pub during: Option<Window>,
    /// Who is told, one after another.
    pub steps: Vec<Step>,
}

/// One stage of an escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Channels.
    pub to: Vec<String>,
    /// How long they have to acknowledge before the next step is taken as well.
    pub wait: Millis,
}

impl Policy {
    /// The route of an alert.
    #[must_use]
    pub fn route(&self, labels: &Labels, now: Millis) -> &str {
        let takes = |route: &&Route| {
            let now_too = route.during.as_ref().is_none_or(|window| window.holds(now));
            now_too && matches(&route.matching, labels)
        };
        self.routes.iter().find(takes).map_or(REST, |route| &route.name)
    }

    /// Its steps: for what no route takes, one with all channels.
    #[must_use]
    pub fn steps(&self, route: &str) -> Vec<Step> {
        let known = self.routes.iter().find(|known| known.name == route);
        match known {
            Some(route) => route.steps.clone(),
            None => vec![Step { to: self.channels.clone(), wait: Millis::MAX }],
        }
    }

    /// The group of an alert: its route and what it is grouped by.
    #[must_use]
    pub fn group(&self, labels: &Labels, now: Millis) -> String {
        let mut group = self.route(labels, now).to_owned();
        for name in &self.group_by {
            group.push_str(&format!("/{name}={}", labels.get(name).map_or("", String::as_str)));
        }
        group
    }

    /// The window that hides what has these labels now.
    #[must_use]
    pub fn quiet(&self, labels: &Labels, now: Millis) -> Option<&Quiet> {
        let hides = |quiet: &&Quiet| quiet.window.holds(now) && matches(&quiet.matching, labels);
        self.quiet.iter().find(hides)
    }
}
