//! What is asked: request bodies, written out before the run wherever possible.

use crate::load::{Api, LoadError, LoadSettings, Record};
use bytes::Bytes;
use evenkeel_domain::rng;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of English text in a token, about; traces count tokens.
const BYTES_PER_TOKEN: usize = 4;
/// The largest prompt made from a trace: a million tokens.
const MOST_TRACE_BYTES: usize = BYTES_PER_TOKEN << 20;

/// Bytes of words that prompts are cut from.
const FILLER: usize = 256 << 10;

const WORDS: [&str; 16] = [
    "a", "to", "of", "the", "and", "keel", "wind", "water", "harbour", "steady", "sail", "anchor",
    "current", "bearing", "north", "lantern",
];

/// One request's body.
#[derive(Debug, Clone)]
pub(crate) struct Shot {
    /// The same for the same body: what answers are compared by.
    pub(crate) key: u64,
    pub(crate) body: Bytes,
}

/// All bodies of a run.
#[derive(Debug)]
pub(crate) struct Prompts {
    fixed: Vec<Shot>,
    recipe: Recipe,
}

/// How a body is made.
#[derive(Debug)]
struct Recipe {
    api: Api,
    model: String,
    stream: bool,
    greedy: bool,
    seed: u64,
    filler: String,
}

impl Prompts {
    pub(crate) fn new(settings: &LoadSettings, greedy: bool) -> Result<Self, LoadError> {
        let recipe = Recipe {
            api: settings.api,
            model: settings.model.clone(),
            stream: settings.stream,
            greedy,
            seed: settings.seed,
            filler: filler(settings.seed),
        };
        let fixed = match (settings.api, &settings.body) {
            (Api::Plain, None) => vec![Shot::new(Bytes::new())],
            (_, Some(path)) => {
                let body = std::fs::read(path).map_err(|e| LoadError::file(path, e))?;
                vec![Shot::new(body.into())]
            }
            _ => (0..settings.prompts as u64)
                .map(|n| recipe.shot(n, settings.prompt_bytes, settings.max_tokens))
                .collect(),
        };
        Ok(Self { fixed, recipe })
    }

    /// The distinct bodies known before the run.
    pub(crate) fn fixed(&self) -> &[Shot] {
        &self.fixed
    }

    /// The body of request number `index`, with a trace's sizes where it is from one.
    pub(crate) fn shot(&self, index: u64, record: Option<Record>) -> Shot {
        match record {
            Some(record) if self.recipe.api != Api::Plain => {
                let bytes = (record.input as usize).saturating_mul(BYTES_PER_TOKEN);
                self.recipe.shot(index, bytes.min(MOST_TRACE_BYTES), record.output.max(1))
            }
            _ => self.fixed[usize::try_from(index).unwrap_or(0) % self.fixed.len()].clone(),
        }
    }
}

impl Shot {
    fn new(body: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self { key: hasher.finish(), body }
    }
}

impl Recipe {
    /// Words, the same for the same numbers. The number comes first, so that prefix caches
    /// do not take distinct prompts for one another.
    fn text(&self, number: u64, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 24);
        text.push_str(&format!("{number} "));
        let mut rng = rng::seeded(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut rest = &self.filler[rng.usize(..self.filler.len())..];
        while text.len() < bytes {
            text.push_str(&rest[..rest.len().min(bytes - text.len())]);
            rest = &self.filler;
        }
        text.truncate(bytes.max(1));
        text
    }

    fn shot(&self, number: u64, bytes: usize, max_tokens: u32) -> Shot {
        let text = self.text(number, bytes);
        let mut body = serde_json::json!({
            "model": self.model,
            "max_tokens": max_tokens,
            "stream": self.stream,
        });
        match self.api {
            Api::Chat => {
                body["messages"] = serde_json::json!([{ "role": "user", "content": text }]);
            }
            Api::Completions | Api::Plain => body["prompt"] = text.into(),
        }
        if self.greedy {
            body["temperature"] = 0.into();
        }
        Shot::new(body.to_string().into())
    }
}

/// Words to cut prompts from: a long prompt made word by word would hold up the requests
/// that are due meanwhile.
fn filler(seed: u64) -> String {
    let mut rng = rng::seeded(seed);
    let mut text = String::with_capacity(FILLER + 16);
    while text.len() < FILLER {
        text.push_str(WORDS[rng.usize(..WORDS.len())]);
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn prompts_have_their_size_and_differ() {
        let settings = LoadSettings { prompts: 3, prompt_bytes: 64, ..LoadSettings::default() };
        let prompts = Prompts::new(&settings, true).unwrap();
        let read =
            |shot: &Shot| -> serde_json::Value { serde_json::from_slice(&shot.body).unwrap() };
        let bodies: Vec<_> = prompts.fixed().iter().map(read).collect();
        for body in &bodies {
            assert_eq!(body["messages"][0]["content"].as_str().unwrap().len(), 64);
            assert_eq!(body["temperature"], 0);
        }
        assert_ne!(bodies[0], bodies[1]);
        assert_eq!(prompts.shot(4, None).key, prompts.shot(1, None).key);
        let record = Record { at: Duration::ZERO, input: 100, output: 9 };
        let body = read(&prompts.shot(4, Some(record)));
        assert_eq!(body["max_tokens"], 9);
        assert_eq!(body["messages"][0]["content"].as_str().unwrap().len(), 400);
    }
}
