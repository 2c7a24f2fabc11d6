//! The built-in model server: a tiny but real language model behind the HTTP APIs of
//! real ones, so that Evenkeel, its drills and its demo run with nothing else installed.
//!
//! ```text
//! connection ─► server ─► api/* ─► slots ─► run ─► sequence ─► model
//!               path      fields   queue    pace   text, stop   n-gram
//! ```
//!
//! The next token is a function of the tokens before it (and, above temperature 0, of
//! the request's seed). So an answer that breaks off on one server can be continued on
//! another from its token ids or its text, and a token lost or doubled on the way
//! changes everything after it: a client can check a stream byte for byte.
//!
//! It answers OpenAI's chat, completions, responses, embeddings and models, Anthropic's
//! messages, vLLM's tokenize, detokenize, sleep, wake_up and load metrics, and refuses like they do.

mod api;
mod app;
mod body;
mod error;
mod fields;
mod generate;
mod hash;
mod lead;
mod model;
mod ngram;
mod params;
mod prompt;
mod run;
mod sample;
mod server;
mod settings;
mod slots;
mod text;
mod token;
mod wire;

pub use server::serve;
pub use settings::Settings;
