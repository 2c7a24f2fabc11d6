//! What to send, where, how often and for how long.

use crate::load::LoadError;
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;
use std::time::Duration;

/// The most requests that may be in flight: each has a connection of its own, and the
/// usual limit on descriptors is not far above.
const MOST_IN_FLIGHT: usize = 16_384;
/// The most distinct prompts: all are kept serialised.
const MOST_PROMPTS: usize = 4_096;
/// The most bytes in a prompt, and in all prompts together.
const MOST_PROMPT_BYTES: usize = 256 << 20;

/// A run of load. [`LoadSettings::default`] is ten seconds of eight connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadSettings {
    /// `http://` or `https://`: a base (`…/v1` or above), to which the API's path is added,
    /// or the full path.
    pub url: String,
    /// When requests are sent.
    pub mode: Mode,
    /// For how long requests are sent, warm-up not included.
    #[serde(with = "humantime_serde")]
    pub duration: Option<Duration>,
    /// How many requests are sent, warm-up not included.
    pub requests: Option<u64>,
    /// For how long requests are sent first that do not count.
    #[serde(with = "humantime_serde")]
    pub warm_up: Duration,
    /// What the target speaks.
    pub api: Api,
    /// Whether answers are streamed.
    pub stream: bool,
    /// The model asked for.
    pub model: String,
    /// Size of a prompt.
    pub prompt_bytes: usize,
    /// How many distinct prompts are asked in turn.
    pub prompts: usize,
    /// The most tokens in an answer.
    pub max_tokens: u32,
    /// [`Api::Plain`]: a file to POST; without it, GET.
    pub body: Option<PathBuf>,
    /// Added to every request.
    pub headers: Vec<Header>,
    /// How long one request may take from when it is sent.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How often a client tries again that was refused or met a fault.
    pub retries: u32,
    /// Trusted authorities (PEM) instead of the system's.
    pub ca: Option<PathBuf>,
    /// HTTP/2: without TLS by prior knowledge, with TLS if the server agrees.
    pub h2: bool,
    /// Whether answers are compared.
    pub expect: Expect,
    /// Of arrivals and prompts; the same seed sends the same.
    pub seed: u64,
    /// Threads that send; the machine's other cores are left to the server.
    pub workers: usize,
}

impl Default for LoadSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            url: String::new(),
            mode: Mode::Closed { connections: 8 },
            duration: Some(Duration::from_secs(10)),
            requests: None,
            warm_up: Duration::ZERO,
            api: Api::Chat,
            stream: false,
            model: "default".into(),
            prompt_bytes: 200,
            prompts: 1,
            max_tokens: 50,
            body: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(60),
            retries: 0,
            ca: None,
            h2: false,
            expect: Expect::Nothing,
            seed: 1,
            workers: (cores / 2).max(1),
        }
    }
}

/// When requests are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Each connection sends its next request when it has the answer to the last.
    Closed {
        /// How many connections.
        connections: usize,
    },
    /// Requests are sent at a rate, whatever the server does.
    Open {
        /// Requests per second.
        rate: f64,
        /// How they are spread.
        #[serde(default)]
        arrivals: Arrivals,
        /// The most requests under way; later ones wait, and their wait counts.
        max_in_flight: usize,
    },
    /// Requests are sent at recorded times, with recorded sizes.
    Trace {
        /// A CSV file (`TIMESTAMP,ContextTokens,GeneratedTokens`) or JSON lines
        /// (`timestamp` in ms, `input_length`, `output_length`).
        path: PathBuf,
        /// How many times faster than recorded.
        speed: f64,
        /// The most requests under way; later ones wait, and their wait counts.
        max_in_flight: usize,
    },
}

/// How the requests of an open loop are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independent of one another, as many users are (a Poisson process).
    #[default]
    Poisson,
    /// At even distances.
    Even,
}

/// What the target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI completions.
    Completions,
    /// Any HTTP.
    Plain,
}

/// Whether answers are compared with what is right. Sets temperature 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Only the form of answers is checked.
    #[default]
    Nothing,
    /// The first good answer to each prompt is right.
    First,
    /// What another server answers is right; asked before the run.
    Reference(
        /// Its URL, as [`LoadSettings::url`].
        String,
    ),
}

/// A header of every request. Values are not shown in reports: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(serialize_with = "hidden")]
    pub value: String,
}

fn hidden<S: Serializer>(_: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str("(hidden)")
}

impl LoadSettings {
    /// The most requests that can be under way at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        match self.mode {
            Mode::Closed { connections } => connections,
            Mode::Open { max_in_flight, .. } | Mode::Trace { max_in_flight, .. } => max_in_flight,
        }
    }

    /// # Errors
    /// With the first setting that cannot be carried out.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let rules = [
            (
                (1..=MOST_IN_FLIGHT).contains(&self.concurrency()),
                "connections (or requests in flight) must be between 1 and 16384",
            ),
            (self.pace_is_sane(), "rate and speed must be above 0 and at most 1000000"),
            ((1..=256).contains(&self.workers), "workers must be between 1 and 256"),
            ((1..=MOST_PROMPTS).contains(&self.prompts), "prompts must be between 1 and 4096"),
            (
                self.prompts.saturating_mul(self.prompt_bytes) <= MOST_PROMPT_BYTES,
                "prompts are too large: at most 256 MiB together",
            ),
            (!self.timeout.is_zero(), "timeout must be above 0"),
            (self.has_an_end(), "give a duration or a number of requests, or it never ends"),
            (self.api == Api::Plain || self.body.is_none(), "a body file needs the plain API"),
            (self.api != Api::Plain || !self.stream, "the plain API has no streaming"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(LoadError::Settings((*why).into())),
            None => Ok(()),
        }
    }

    fn pace_is_sane(&self) -> bool {
        match self.mode {
            Mode::Closed { .. } => true,
            Mode::Open { rate: pace, .. } | Mode::Trace { speed: pace, .. } => {
                pace > 0.0 && pace <= 1e6
            }
        }
    }

    fn has_an_end(&self) -> bool {
        self.duration.is_some()
            || self.requests.is_some()
            || matches!(self.mode, Mode::Trace { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_the_echo() {
        let header = Header { name: "authorization".into(), value: "Bearer s3cret".into() };
        let settings = LoadSettings { headers: vec![header], ..LoadSettings::default() };
        let echo = serde_json::to_string(&settings).unwrap();
        assert!(echo.contains("authorization") && !echo.contains("s3cret"), "{echo}");
        assert!(serde_json::from_str::<LoadSettings>(&echo).is_ok());
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let good = LoadSettings::default();
        assert!(good.check().is_ok());
        let bad = [
            LoadSettings { mode: Mode::Closed { connections: 0 }, ..good.clone() },
            LoadSettings { duration: None, ..good.clone() },
            LoadSettings { body: Some("x".into()), ..good.clone() },
            LoadSettings { prompt_bytes: usize::MAX, ..good.clone() },
            LoadSettings {
                mode: Mode::Open { rate: f64::NAN, arrivals: Arrivals::Even, max_in_flight: 1 },
                ..good
            },
        ];
        for settings in bad {
            assert!(matches!(settings.check(), Err(LoadError::Settings(_))), "{settings:?}");
        }
    }
}
