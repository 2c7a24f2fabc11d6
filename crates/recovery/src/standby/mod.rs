//! Which standby takes over, and when it goes back. Pure: what is seen and `now` in, what is
//! to be done out.
//!
//! ```text
//!   members ─► Watch::look ─► Promote, Serve, Cancel, Demote, Rest ─► hands
//!                 ▲ asked by recovery (an incident's step) or a person
//! ```

use evenkeel_domain::standby::{Duty, Failback, Level, Rules};
use std::time::{Duration, Instant};

/// One replica as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// How far it is prepared; `None` for one that is no standby.
    pub level: Option<Level>,
    /// What it does at the moment.
    pub duty: Duty,
    /// Whether the health authority would have it take traffic, and its model is loaded.
    pub ready: bool,
    /// Nothing is under way there.
    pub idle: bool,
    /// A person has promoted it: only a person sends it back.
    pub by_hand: bool,
    /// It could not be promoted lately.
    pub failed: bool,
    /// Since when it has this duty.
    pub since: Instant,
}

impl Member {
    fn serves(&self) -> bool {
        self.duty.is_on() && self.ready
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is made ready.
    Promote(String),
    /// It is ready: it takes its share from now on.
    Serve(String),
    /// It is not needed any more before it was ready.
    Cancel(String),
    /// The others do without it: it ends what it has begun.
    Demote(String),
    /// It has ended what it had begun: it stands by.
    Rest(String),
}

/// What is remembered from look to look.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    short_since: Option<Instant>,
    /// Who could go back, and since when.
    spare: Option<(String, Instant)>,
    asked: bool,
}

/// What one look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Replicas that shall take traffic.
    pub keep: usize,
    /// … and that do.
    pub serving: usize,
    /// What is to be done.
    pub deeds: Vec<Deed>,
    /// Somebody has asked for a standby, there are too few, and none can be had.
    pub nobody: bool,
}

impl Look {
    /// Whether too few take traffic.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.serving < self.keep
    }
}

impl Watch {
    /// Somebody wants a standby to take over, while too few serve.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// One look. `drain` is how long what is under way may take to end.
    pub fn look(
        &mut self,
        rules: &Rules,
        members: &[Member],
        drain: Duration,
        now: Instant,
    ) -> Look {
        let active = members.iter().filter(|m| m.level.is_none()).count();
        let keep = rules.keep.map_or(active, |keep| keep as usize);
        let serving = members.iter().filter(|m| m.serves()).count();
        let mut look = Look { keep, serving, ..Look::default() };
        let short_since = match look.is_short() {
            true => *self.short_since.get_or_insert(now),
            false => {
                (self.short_since, self.asked) = (None, false);
                now
            }
        };
        let with = |duty| members.iter().filter(move |m| m.duty == duty);
        for one in with(Duty::Demoting) {
            if one.idle || now.saturating_duration_since(one.since) >= drain {
                look.deeds.push(Deed::Rest(one.name.clone()));
            }
        }
        for one in with(Duty::Promoting) {
            look.deeds.extend(match (one.ready, one.failed) {
                (_, true) => Some(Deed::Cancel(one.name.clone())),
                (true, _) if look.is_short() || one.by_hand => Some(Deed::Serve(one.name.clone())),
                _ if !look.is_short() && !one.by_hand => Some(Deed::Cancel(one.name.clone())),
                _ => None,
            });
        }
        let patient = now.saturating_duration_since(short_since) < rules.after;
        if look.is_short() && self.asked && !patient {
            self.promote(members, &mut look);
        }
        self.go_back(rules, members, &mut look, now);
        look
    }

    /// The quickest standbys first, as many as are missing.
    fn promote(&self, members: &[Member], look: &mut Look) {
        let coming = members.iter().filter(|m| m.duty == Duty::Promoting && !m.failed).count();
        let missing = (look.keep - look.serving).saturating_sub(coming);
        let fits = |m: &&Member| {
            let hot_or_asleep = m.ready || m.level != Some(Level::Hot);
            m.duty == Duty::Standby && !m.failed && hot_or_asleep
        };
        let mut free: Vec<&Member> = members.iter().filter(fits).collect();
        free.sort_by_key(|m| m.level);
        look.nobody = coming == 0 && free.is_empty();
        let chosen = free.into_iter().take(missing);
        look.deeds.extend(chosen.map(|m| Deed::Promote(m.name.clone())));
    }

    /// One at a time, the least prepared first: it holds what it need not.
    fn go_back(&mut self, rules: &Rules, members: &[Member], look: &mut Look, now: Instant) {
        let without = |m: &Member| look.serving - usize::from(m.serves());
        let spare = members
            .iter()
            .filter(|m| m.duty == Duty::Promoted && !m.by_hand && without(m) >= look.keep)
            .max_by_key(|m| m.level);
        let Some(spare) = spare.filter(|_| rules.failback == Failback::Auto) else {
            self.spare = None;
            return;
        };
        let since = match &self.spare {
            Some((name, since)) if *name == spare.name => *since,
            _ => now,
        };
        self.spare = Some((spare.name.clone(), since));
        if now.saturating_duration_since(since) >= rules.clean {
            look.deeds.push(Deed::Demote(spare.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
