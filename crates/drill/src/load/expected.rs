//! What answers are compared with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most answers kept, and the most bytes of them together; answers beyond go
/// uncompared.
const MOST_ANSWERS: usize = 4_096;
const MOST_BYTES: usize = 64 << 20;

/// Right answers, by the key of what was asked.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    answers: HashMap<u64, Arc<[u8]>>,
    bytes: usize,
}

impl Expected {
    /// Compares an answer with the right one; if none is known and `learn` is set, this is it.
    ///
    /// # Errors
    /// With where they differ.
    pub(crate) fn judge(&self, key: u64, answer: &[u8], learn: bool) -> Result<(), String> {
        let right = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match known.answers.get(&key) {
                Some(right) => right.clone(),
                None if learn => {
                    known.learn(key, answer);
                    return Ok(());
                }
                None => return Ok(()),
            }
        };
        if *right == *answer { Ok(()) } else { Err(difference(&right, answer)) }
    }
}

impl Known {
    fn learn(&mut self, key: u64, answer: &[u8]) {
        if self.answers.len() < MOST_ANSWERS && self.bytes + answer.len() <= MOST_BYTES {
            self.bytes += answer.len();
            self.answers.insert(key, answer.into());
        }
    }
}

fn difference(right: &[u8], got: &[u8]) -> String {
    let at = right.iter().zip(got).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(20).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..bytes.len().min(at + 40)]).into_owned()
    };
    format!(
        "answer of {} bytes differs from the right one of {} at byte {at}: right {:?}, got {:?}",
        got.len(),
        right.len(),
        around(right),
        around(got)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_and_a_doubled_token_are_found() {
        let expected = Expected::default();
        expected.judge(1, b"one two three", true).unwrap();
        expected.judge(1, b"one two three", true).unwrap();
        expected.judge(2, b"else", true).unwrap();
        expected.judge(3, b"never learnt", false).unwrap();
        for bad in ["one three", "one two two three", "one two", "one two three three", ""] {
            let why = expected.judge(1, bad.as_bytes(), true).unwrap_err();
            assert!(why.contains("differs"), "{why}");
        }
    }
}
