//! Counting votes. Pure.

use super::compare::Seen;
use evenkeel_domain::answers::Compare;

/// The votes so far.
pub(super) struct Ballot {
    compare: Compare,
    agree: usize,
    votes: Vec<Seen>,
}

impl Ballot {
    pub(super) fn new(compare: Compare, agree: u32) -> Self {
        Self { compare, agree: agree as usize, votes: Vec::new() }
    }

    /// Takes a vote; gives the number of the one that wins once enough agree with it: the
    /// first to come of those.
    pub(super) fn take(&mut self, vote: Seen) -> Option<usize> {
        self.votes.push(vote);
        (0..self.votes.len()).find(|at| self.supporters(*at) >= self.agree)
    }

    pub(super) fn len(&self) -> usize {
        self.votes.len()
    }

    /// Whether so many more votes could still make a majority.
    pub(super) fn may_agree(&self, more: usize) -> bool {
        let most = (0..self.votes.len()).map(|at| self.supporters(at)).max().unwrap_or(0);
        most + more >= self.agree
    }

    /// The votes that differ from the winner's.
    pub(super) fn deviating(&self, winner: usize) -> Vec<usize> {
        (0..self.votes.len()).filter(|at| !self.agrees(winner, &self.votes[*at])).collect()
    }

    /// Whether a later vote agrees with the winner.
    pub(super) fn agrees(&self, winner: usize, vote: &Seen) -> bool {
        self.votes[winner].same(vote, self.compare)
    }

    /// What the winner and another vote say, where they differ.
    pub(super) fn difference(&self, winner: usize, vote: &Seen) -> String {
        self.votes[winner].difference(vote, self.compare)
    }

    pub(super) fn vote(&self, at: usize) -> &Seen {
        &self.votes[at]
    }

    fn supporters(&self, at: usize) -> usize {
        self.votes.iter().filter(|vote| self.agrees(at, vote)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &'static str) -> Seen {
        Seen::new(200, text.as_bytes().into(), Compare::Json, &["id".into()])
    }

    fn ballot(votes: &[&'static str]) -> (Ballot, Option<usize>) {
        let mut ballot = Ballot::new(Compare::Json, 2);
        let won = votes.iter().fold(None, |won, v| won.or(ballot.take(seen(v))));
        (ballot, won)
    }

    #[test]
    fn the_first_of_those_who_agree_wins() {
        assert_eq!(ballot(&["1", "2"]).1, None);
        let (votes, won) = ballot(&["1", "2", "2"]);
        assert_eq!((won, votes.deviating(1)), (Some(1), vec![0]));
        assert_eq!(ballot(&[r#"{"a":1,"id":1}"#, r#"{"id":2,"a":1}"#]).1, Some(0));
    }

    #[test]
    fn hope_ends_when_no_vote_can_change_it() {
        let (votes, _) = ballot(&["1", "2"]);
        assert!(votes.may_agree(1) && !votes.may_agree(0));
        let (votes, _) = ballot(&["1", "2", "3"]);
        assert!(votes.may_agree(1) && !votes.may_agree(0));
        assert!(!Ballot::new(Compare::Json, 2).may_agree(1));
    }
}
