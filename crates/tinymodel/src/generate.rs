//! One sequence: a prompt, the tokens drawn so far, and why it ended. Pure: pace,
//! slots and wire formats are elsewhere.

use std::sync::Arc;

use crate::model::{Model, Reader};
use crate::sample::Choice;
use crate::text::{Decoder, Released, Stops};
use crate::token::{EOT, Id};

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It reached its token limit.
    Length,
    /// The model drew its end of text.
    End,
    /// The stop string of this index came.
    Stop(usize),
}

impl Finish {
    /// The word in OpenAI's chat and completion answers.
    pub(crate) fn word(self) -> &'static str {
        if self == Self::Length { "length" } else { "stop" }
    }
}

/// What a request asks of every sequence it starts.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) max_tokens: usize,
    pub(crate) min_tokens: usize,
    pub(crate) ignore_eos: bool,
    pub(crate) choice: Choice,
    pub(crate) seed: u64,
    pub(crate) stops: Stops,
}

/// A sequence being generated.
#[derive(Debug)]
pub(crate) struct Sequence {
    model: Arc<Model>,
    params: Arc<Params>,
    reader: Reader,
    decoder: Decoder,
    /// Tokens drawn.
    pub(crate) produced: usize,
    /// Set once, by the step that ends it.
    pub(crate) finish: Option<Finish>,
    /// What the last step released.
    pub(crate) out: Released,
}

impl Sequence {
    /// A sequence after `prompt`. `number` tells apart the choices of one prompt.
    pub(crate) fn new(
        model: &Arc<Model>,
        params: &Arc<Params>,
        prompt: &[Id],
        number: u64,
    ) -> Self {
        let seed = params.seed.wrapping_add(number);
        let tail: Vec<u8> = prompt[prompt.len().saturating_sub(3)..]
            .iter()
            .flat_map(|&id| model.tokenizer.bytes(id))
            .copied()
            .collect();
        Self {
            model: Arc::clone(model),
            params: Arc::clone(params),
            reader: Reader::new(model, prompt, params.choice, seed),
            decoder: Decoder::after(&tail),
            produced: 0,
            finish: None,
            out: Released::default(),
        }
    }

    /// Draws one token. Afterwards `out` holds what it released (often one token's text,
    /// sometimes nothing), and `finish` is set if it was the last.
    pub(crate) fn step(&mut self) {
        self.out.text.clear();
        self.out.ids.clear();
        let bar_end = self.params.ignore_eos || self.produced < self.params.min_tokens;
        let id = self.reader.next(&self.model, bar_end);
        self.produced += 1;
        let bytes = self.model.tokenizer.bytes(id);
        let stopped = self.decoder.push(id, bytes, &self.params.stops, &mut self.out);
        self.finish = if let Some(number) = stopped {
            Some(Finish::Stop(number))
        } else if id == EOT {
            Some(Finish::End)
        } else {
            (self.produced >= self.params.max_tokens).then_some(Finish::Length)
        };
        if self.finish.is_some() {
            self.decoder.finish(&mut self.out);
        }
    }

    /// The stop string that ended it.
    pub(crate) fn stop_string(&self) -> Option<&str> {
        match self.finish? {
            Finish::Stop(number) => self.params.stops.strings.get(number).map(String::as_str),
            Finish::Length | Finish::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(max_tokens: usize, stops: &[&str]) -> Arc<Params> {
        let choice = Choice { temperature: 0.0, top_p: 1.0, top_k: usize::MAX };
        let strings = stops.iter().map(ToString::to_string).collect();
        let stops = Stops { strings, shown: false };
        Arc::new(Params { max_tokens, min_tokens: 0, ignore_eos: false, choice, seed: 0, stops })
    }

    fn whole(model: &Arc<Model>, prompt: &[Id], params: &Arc<Params>) -> (String, Vec<Id>, Finish) {
        let mut sequence = Sequence::new(model, params, prompt, 0);
        let (mut text, mut ids) = (String::new(), Vec::new());
        loop {
            sequence.step();
            text.push_str(&sequence.out.text);
            ids.extend(&sequence.out.ids);
            assert!(sequence.finish.is_some() || model.tokenizer.decode(&ids) == text);
            if let Some(finish) = sequence.finish {
                return (text, ids, finish);
            }
        }
    }

    #[test]
    fn a_stop_string_ends_the_text_before_it() {
        let model = Arc::new(Model::new(0));
        let prompt = model.tokenizer.encode("The captain walks");
        let (text, _, _) = whole(&model, &prompt, &params(40, &[]));
        let stop = &text[20..26];
        let (cut, _, finish) = whole(&model, &prompt, &params(40, &["never", stop]));
        assert_eq!(
            (cut.as_str(), finish),
            (&text[..text.find(stop).expect("it is there")], Finish::Stop(1))
        );
    }

    #[test]
    fn an_end_of_text_is_drawn_some_time() {
        let model = Arc::new(Model::new(0));
        let prompt = model.tokenizer.encode("and everyone on board came");
        let (_, ids, finish) = whole(&model, &prompt, &params(5_000, &[]));
        assert_eq!((ids.last(), finish), (Some(&EOT), Finish::End));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn resuming_from_what_was_delivered_is_exact(prompt in "\\PC{0,24}", at in 1_usize..60) {
            let model = Arc::new(Model::new(0));
            let ids = model.tokenizer.encode(&prompt);
            let (text, said, _) = whole(&model, &ids, &params(60, &["keel over"]));
            let part = [&ids[..], &said[..at.min(said.len() - 1)]].concat();
            let left = said.len() - at.min(said.len() - 1);
            let (rest, rest_ids, _) = whole(&model, &part, &params(left, &["keel over"]));
            prop_assert_eq!(&rest_ids[..], &said[said.len() - left..]);
            prop_assert!(text.ends_with(&rest));
        }
    }
}
