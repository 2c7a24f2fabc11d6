//! The language model: an interpolated 4-gram over the corpus.
//!
//! For every context of one to three tokens that the corpus contains, the table holds
//! the tokens that may follow, best first, with weights mixed from that context and
//! the shorter ones it ends in. All mixing happens once, at start; a token costs one
//! to three look-ups.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use crate::hash;
use crate::token::{EOT, Id, Tokenizer};

/// Candidates kept for a context. The rest is a tail that a draw would seldom reach
/// and every draw would have to walk.
const KEPT: usize = 24;
/// Shares of the longest, middle and shortest context in the mixture.
const SHARES: [f32; 3] = [0.40, 0.35, 0.25];

/// A token that may come next, and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// The token.
    pub(crate) id: Id,
    /// Its weight; the weights of a context add up to one.
    pub(crate) weight: f32,
}
/// How much of its weight an end of text keeps. The corpus has a few texts only, and
/// their last sentences would otherwise end too many answers after a line or two.
const END_SHARE: f32 = 0.1;

type Counts = HashMap<u64, HashMap<Id, f32>>;

/// What follows what.
#[derive(Debug)]
pub(crate) struct Ngram {
    table: HashMap<u64, Range<u32>, KeyHasher>,
    candidates: Vec<Candidate>,
    fallback: Range<u32>,
}

impl Ngram {
    /// Learns from `text`, a sequence in which [`EOT`] parts one text from the next.
    pub(crate) fn new(text: &[Id], tokenizer: &Tokenizer) -> Self {
        let counts = count(text);
        let mut this = Self { table: HashMap::default(), candidates: Vec::new(), fallback: 0..0 };
        // In the text's order, so that the table is the same in every process.
        for at in 1..text.len() {
            for order in 1..=3.min(at) {
                let context = &text[at - order..at];
                if let Entry::Vacant(free) = this.table.entry(key(context)) {
                    let found = mixture(&counts, context);
                    let start = this.candidates.len() as u32;
                    this.candidates.extend(found);
                    free.insert(start..this.candidates.len() as u32);
                }
            }
        }
        let start = this.candidates.len() as u32;
        this.candidates.extend(unigrams(text, tokenizer));
        this.fallback = start..this.candidates.len() as u32;
        this
    }

    /// What may follow `context` (oldest first), by its longest known ending.
    pub(crate) fn after(&self, context: &[Id; 3]) -> &[Candidate] {
        (0..3)
            .find_map(|from| self.table.get(&key(&context[from..])))
            .map_or_else(|| self.fallback(), |range| self.slice(range))
    }

    /// What may follow anything: common words with a space before them.
    pub(crate) fn fallback(&self) -> &[Candidate] {
        self.slice(&self.fallback)
    }

    fn slice(&self, range: &Range<u32>) -> &[Candidate] {
        &self.candidates[range.start as usize..range.end as usize]
    }
}

fn key(context: &[Id]) -> u64 {
    context.iter().fold(1, |key, &id| (key << 20) | u64::from(id & 0xf_ffff))
}

fn count(text: &[Id]) -> Counts {
    let mut counts = Counts::new();
    for at in 1..text.len() {
        for order in 1..=3.min(at) {
            let followers = counts.entry(key(&text[at - order..at])).or_default();
            *followers.entry(text[at]).or_default() += 1.0;
        }
    }
    counts
}

fn mixture(counts: &Counts, context: &[Id]) -> Vec<Candidate> {
    // Inside a character only what was seen there may follow, or it would not be UTF-8;
    // and a line break alone cannot tell whether it is the first or the second.
    let inside = |id: &Id| (0x80..0x100).contains(id) || *id == Id::from(b'\n');
    let inside = context.last().is_some_and(inside);
    let orders = if inside { 1 } else { context.len() };
    let mut weights: HashMap<Id, f32> = HashMap::new();
    for (from, share) in (0..orders).zip(SHARES) {
        let Some(followers) = counts.get(&key(&context[from..])) else { continue };
        let total: f32 = followers.values().sum();
        for (&id, count) in followers {
            let share = if id == EOT { share * END_SHARE } else { share };
            *weights.entry(id).or_default() += share * count / total;
        }
    }
    best(weights)
}

fn unigrams(text: &[Id], tokenizer: &Tokenizer) -> Vec<Candidate> {
    let mut weights: HashMap<Id, f32> = HashMap::new();
    // Only what opens with a space: it may follow any text without fusing with its last word.
    for &id in text.iter().filter(|&&id| id > EOT && tokenizer.bytes(id).starts_with(b" ")) {
        *weights.entry(id).or_default() += 1.0;
    }
    best(weights)
}

fn best(weights: HashMap<Id, f32>) -> Vec<Candidate> {
    let mut all: Vec<_> =
        weights.into_iter().map(|(id, weight)| Candidate { id, weight }).collect();
    all.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id)));
    all.truncate(KEPT);
    let total: f32 = all.iter().map(|candidate| candidate.weight).sum();
    for candidate in &mut all {
        candidate.weight /= total;
    }
    all
}

/// Keys are made here, not by clients, so a cheap hash is safe.
#[derive(Debug, Default, Clone, Copy)]
struct KeyHasher;

impl std::hash::BuildHasher for KeyHasher {
    type Hasher = MixHasher;
    fn build_hasher(&self) -> MixHasher {
        MixHasher(0)
    }
}

#[derive(Debug)]
struct MixHasher(u64);

impl std::hash::Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, data: &[u8]) {
        self.0 = hash::mix(self.0 ^ hash::bytes(data));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = hash::mix(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(text: &str) -> (Tokenizer, Ngram) {
        let tokenizer = Tokenizer::new(text);
        let mut ids = vec![EOT];
        tokenizer.encode_into(text, &mut ids);
        ids.push(EOT);
        let ngram = Ngram::new(&ids, &tokenizer);
        (tokenizer, ngram)
    }

    #[test]
    fn the_longest_context_weighs_most_and_the_shorter_are_heard() {
        let (tokenizer, ngram) = learn("the old ship sails. the new ship sinks. a ship sinks.");
        let context = tokenizer.encode("the old ship");
        let context: [Id; 3] = context.try_into().expect("three words");
        let found = ngram.after(&context);
        assert_eq!(tokenizer.bytes(found[0].id), b" sails");
        assert_eq!(tokenizer.bytes(found[1].id), b" sinks");
        assert!((found.iter().map(|c| c.weight).sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn an_unknown_context_gets_common_words() {
        let (tokenizer, ngram) = learn("the old ship sails.");
        assert!(tokenizer.bytes(ngram.after(&[1, 2, 3])[0].id).starts_with(b" "));
    }
}
