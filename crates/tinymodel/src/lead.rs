//! How an answer opens: with the beginning of a corpus sentence that shares words with
//! what was asked.
//!
//! An n-gram sees three tokens and would open every answer alike. The opening is a
//! function of the context up to the mark that opens the assistant's turn, so a replica
//! that is handed the mark and part of the opening finds the same sentence again.

use std::collections::HashMap;

use crate::hash;
use crate::token::{EOT, Id, Tokenizer};

/// Tokens taken from the sentence before the n-gram goes on alone. More than three, so
/// that by then the n-gram's context lies wholly inside the sentence.
pub(crate) const LENGTH: usize = 6;
/// A word in more sentences than this says nothing about a topic.
const COMMON: usize = 14;
/// Context tokens looked at, newest first: a bound on work, not on meaning.
const LOOKED_AT: usize = 512;

/// The sentences, and which of them hold a word.
#[derive(Debug)]
pub(crate) struct Leads {
    openings: Vec<Box<[Id]>>,
    holding: HashMap<Id, Box<[u16]>>,
}

impl Leads {
    /// Finds the sentences of `text`.
    pub(crate) fn new(text: &[Id], tokenizer: &Tokenizer) -> Self {
        let mut openings = Vec::new();
        let mut holding: HashMap<Id, Vec<u16>> = HashMap::new();
        for sentence in sentences(text, tokenizer) {
            let number = openings.len() as u16;
            openings.push(opening(sentence, tokenizer));
            for &id in sentence.iter().filter(|&&id| id > EOT) {
                let held = holding.entry(bare(id, tokenizer)).or_default();
                if held.last() != Some(&number) {
                    held.push(number);
                }
            }
        }
        holding.retain(|_, held| held.len() <= COMMON);
        let holding = holding.into_iter().map(|(id, held)| (id, held.into_boxed_slice())).collect();
        Self { openings, holding }
    }

    /// The opening for `context`, which ends in the assistant's mark; `draw` decides
    /// between sentences that fit alike.
    pub(crate) fn choose(&self, context: &[Id], draw: u64, tokenizer: &Tokenizer) -> &[Id] {
        let mut scores: Vec<f32> = (0..self.openings.len())
            .map(|number| hash::unit(hash::mix(draw ^ number as u64)) * 0.2)
            .collect();
        for &id in context.iter().rev().take(LOOKED_AT) {
            let Some(held) = self.holding.get(&bare(id, tokenizer)) else { continue };
            for &number in held {
                scores[usize::from(number)] += 1.0 / held.len() as f32;
            }
        }
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(&[], |(number, _)| &self.openings[number])
    }
}

/// The same word whether or not a space stands before it.
fn bare(id: Id, tokenizer: &Tokenizer) -> Id {
    match tokenizer.bytes(id) {
        [b' ', word @ ..] => tokenizer.id_of(word).unwrap_or(id),
        _ => id,
    }
}

fn opening(sentence: &[Id], tokenizer: &Tokenizer) -> Box<[Id]> {
    let first = sentence.first().map(|&id| bare(id, tokenizer));
    first.into_iter().chain(sentence.iter().skip(1).copied()).take(LENGTH).collect()
}

/// Sentences open with a capital letter after a full stop, a blank line or a mark.
fn sentences<'a>(text: &'a [Id], tokenizer: &'a Tokenizer) -> impl Iterator<Item = &'a [Id]> {
    const ENDS: [Id; 4] = [b'.' as Id, b'?' as Id, b'\n' as Id, EOT];
    let opens = move |at: usize| {
        let capital = tokenizer.bytes(text[at]).iter().find(|&&byte| byte != b' ');
        at > 0 && ENDS.contains(&text[at - 1]) && capital.is_some_and(u8::is_ascii_uppercase)
    };
    let starts: Vec<usize> = (0..text.len()).filter(|&at| opens(at)).collect();
    (0..starts.len()).map(move |number| {
        let end = starts.get(number + 1).copied().unwrap_or(text.len());
        let sentence = &text[starts[number]..end];
        let stop = sentence.iter().position(|id| *id == EOT || *id == Id::from(b'\n'));
        &sentence[..stop.unwrap_or(sentence.len())]
    })
}

#[cfg(test)]
mod tests {
    use crate::model::Model;
    use crate::token::ASSISTANT;

    #[test]
    fn an_answer_opens_near_what_was_asked() {
        let model = Model::new(0);
        let mut context = model.tokenizer.encode("Tell me about a leak, found by patience.");
        context.push(ASSISTANT);
        let lead = model.leads.choose(&context, 1, &model.tokenizer);
        assert_eq!(model.tokenizer.decode(lead), "A leak is found by patience");
    }
}
