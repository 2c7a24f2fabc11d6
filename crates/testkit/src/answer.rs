//! The right answer, as a function of the prompt: replica and oracle agree without talking.

use std::hash::{DefaultHasher, Hash, Hasher};

const WORDS: [&str; 8] = ["ash", "beech", "cedar", "elm", "fir", "larch", "oak", "pine"];

/// The tokens that answer `prompt`. Each carries its number, so that a lost, doubled or
/// swapped one shows.
#[must_use]
pub fn tokens(prompt: &str, count: u32) -> Vec<String> {
    let token = |number: u32| {
        let mut hasher = DefaultHasher::new();
        (prompt, number).hash(&mut hasher);
        let word = WORDS[(hasher.finish() % WORDS.len() as u64) as usize];
        format!("{word}{number} ")
    };
    (0..count).map(token).collect()
}

/// [`tokens`] as one text.
#[must_use]
pub fn text(prompt: &str, count: u32) -> String {
    tokens(prompt, count).concat()
}
