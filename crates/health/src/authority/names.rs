//! Under which model's name each replica answers. Many servers say another one than was asked
//! for; what counts is that one says another than its peers of the same revision do.

use evenkeel_domain::{Replica, SignalKind};
use std::collections::HashMap;
use std::sync::Arc;

/// Names asked for that are remembered; more are not compared.
const ASKED: usize = 64;

/// What one replica said, and what it said before that.
#[derive(Debug)]
struct Said {
    now: Arc<str>,
    before: Option<Arc<str>>,
}

/// What the replicas of one service said, by what was asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    asked: HashMap<u64, HashMap<u64, Said>>,
}

impl Names {
    /// A replica said so; gives what each of the members is to be told.
    pub(super) fn said(
        &mut self,
        (asked, key): (u64, u64),
        name: &Arc<str>,
        members: &[Arc<Replica>],
    ) -> Vec<(u64, SignalKind)> {
        let known = |key: &u64| members.iter().any(|r| r.id.key == *key);
        if self.asked.len() >= ASKED && !self.asked.contains_key(&asked) {
            return Vec::new();
        }
        let all = self.asked.entry(asked).or_default();
        all.retain(|key, _| known(key));
        let before = all.remove(&key).filter(|said| said.now != *name).map(|said| said.now);
        all.insert(key, Said { now: name.clone(), before });
        members.iter().map(|r| (r.id.key, SignalKind::Differs(self.differs(r, members)))).collect()
    }

    /// A replica was started anew: what it said before was another's word.
    pub(super) fn forget(&mut self, key: u64) {
        self.asked.values_mut().for_each(|all| drop(all.remove(&key)));
    }

    fn differs(&self, own: &Replica, members: &[Arc<Replica>]) -> Option<Arc<str>> {
        self.asked.values().find_map(|all| {
            let mine = all.get(&own.id.key)?;
            let peers: Vec<&Arc<str>> = members
                .iter()
                .filter(|r| r.id.key != own.id.key && r.id.revision == own.id.revision)
                .filter_map(|r| Some(&all.get(&r.id.key)?.now))
                .collect();
            let theirs = peers.first()?;
            let alike = peers.iter().all(|name| name == theirs) && **theirs != mine.now;
            // One against one: the one that changed its word.
            let alone = peers.len() > 1 || mine.before.as_ref() == Some(theirs);
            (alike && alone)
                .then(|| format!("answers as model `{}`, its peers as `{theirs}`", mine.now).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: u64, said: &[(u64, &str)]) -> Vec<u64> {
        let members: Vec<_> =
            (1..=count).map(|key| Arc::new(super::super::tests::replica(key))).collect();
        let mut names = Names::default();
        let mut last = Vec::new();
        for (key, name) in said {
            last = names.said((7, *key), &(*name).into(), &members);
        }
        let differs = |(key, kind): &(u64, SignalKind)| {
            matches!(kind, SignalKind::Differs(Some(_))).then_some(*key)
        };
        last.iter().filter_map(differs).collect()
    }

    #[test]
    fn who_differs_from_all_its_peers_is_told() {
        assert!(run(3, &[(1, "m-long"), (2, "m-long"), (3, "m-long")]).is_empty());
        assert_eq!(run(3, &[(1, "other"), (2, "m"), (3, "m")]), [1]);
        assert_eq!(run(3, &[(1, "m"), (2, "m"), (3, "m"), (1, "other")]), [1]);
    }

    #[test]
    fn of_two_the_one_that_changed_and_nobody_without_a_past() {
        assert!(run(2, &[(1, "other"), (2, "m")]).is_empty());
        assert_eq!(run(2, &[(1, "m"), (2, "m"), (1, "other")]), [1]);
        assert!(run(2, &[(1, "m"), (2, "m"), (1, "other"), (2, "other")]).is_empty());
    }

    #[test]
    fn a_new_version_that_rolls_over_all_leaves_nobody_behind() {
        let roll = [(1, "m"), (2, "m"), (3, "m"), (1, "n"), (2, "n"), (3, "n")];
        assert_eq!(run(3, &roll[..4]), [1]);
        assert_eq!(run(3, &roll[..5]), [3]);
        assert!(run(3, &roll).is_empty());
    }
}
