//! Which times are comparable: a long prompt takes longer than a short one without any
//! queue, and a whole answer longer than a first token.

use http::Method;

/// Bodies up to this size take about the same time to read for a model.
const SMALL: usize = 4 << 10;
/// Classes of streams, by the size of the request: each twice the one before.
const STREAMS: usize = 7;
/// Classes of answers that are no generated text, by the size of the request: each four
/// times the one before.
const WHOLE: usize = 4;
/// Classes of whole generated answers, by their tokens: each four times the one before.
const GENERATED: usize = 4;
/// Tokens up to which whole generated answers are of the first class.
const FEW_TOKENS: u64 = 16;

/// What a request asks for, as far as its time to first token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Work {
    /// Anything: its time says nothing.
    #[default]
    Unknown,
    /// A stream: its first token comes after its prompt was read.
    Stream(usize),
    /// An answer that comes whole and is no generated text: vectors, scores.
    Whole(usize),
    /// Generated text that comes whole: its time goes with its tokens, which are known at
    /// its end.
    Generated(usize),
}

impl Work {
    /// By path, size of the body, and whether a stream is asked for.
    pub(crate) fn of(method: &Method, path: &str, body: usize, stream: bool) -> Self {
        if method != Method::POST || !crate::route::is_inference(path) {
            return Self::Unknown;
        }
        match path {
            _ if stream => Self::Stream(octaves(body, SMALL).min(STREAMS - 1)),
            "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/messages" => {
                Self::Generated(octaves(body, SMALL).min(STREAMS - 1))
            }
            // Time goes with size and steps that only the body tells.
            "/v1/images/generations" | "/v1/audio/speech" => Self::Unknown,
            _ => Self::Whole(octaves(body, SMALL).div_ceil(2).min(WHOLE - 1)),
        }
    }

    /// The class of a time to first byte that stands for the time to first token.
    pub(crate) fn class(self) -> Option<usize> {
        match self {
            Self::Stream(size) => Some(size),
            Self::Whole(size) => Some(STREAMS + size),
            Self::Generated(_) | Self::Unknown => None,
        }
    }

    /// The size of the request, where there is one to speak of: what fails only for long
    /// prompts fails in some sizes.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Self::Stream(size) | Self::Generated(size) => Some(size),
            Self::Whole(size) => Some(size * 2),
            Self::Unknown => None,
        }
    }

    /// Class and comparable time of a whole generated answer of `tokens`, which took `us`.
    pub(crate) fn generated(tokens: u64, us: u64) -> (usize, u64) {
        let class = match tokens {
            0..FEW_TOKENS => 0,
            _ => ((tokens / FEW_TOKENS).ilog2() as usize / 2 + 1).min(GENERATED - 1),
        };
        // As if it had the tokens in the middle of its class. Few tokens cost as much as one:
        // there the prompt counts.
        let middle = if class == 0 { tokens } else { FEW_TOKENS << (2 * class - 1) };
        let scaled = us.saturating_mul(middle.max(1)) / tokens.max(1);
        (STREAMS + WHOLE + class, scaled)
    }
}

/// How often `size` is twice `small`, rounded up.
fn octaves(size: usize, small: usize) -> usize {
    (size / small.max(1)).checked_ilog2().map_or(0, |n| n as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::conduct::SIZES;
    use evenkeel_domain::room::CLASSES;

    #[test]
    fn like_is_compared_with_like() {
        let of = |path, body, stream| Work::of(&Method::POST, path, body, stream);
        assert_eq!(of("/v1/chat/completions", 200, true).class(), Some(0));
        assert_eq!(of("/v1/chat/completions", 9 << 10, true).class(), Some(2));
        assert_eq!(of("/v1/completions", usize::MAX, true).class(), Some(STREAMS - 1));
        assert_eq!(of("/v1/embeddings", 200, false).class(), Some(STREAMS));
        assert_eq!(of("/v1/embeddings", usize::MAX, false).class(), Some(STREAMS + WHOLE - 1));
        assert_eq!(of("/v1/chat/completions", 200, false), Work::Generated(0));
        assert_eq!(of("/v1/chat/completions", 9 << 10, false).size(), Some(2));
        assert!(of("/v1/completions", usize::MAX, true).size() < Some(SIZES));
        assert_eq!(of("/v1/images/generations", 200, false), Work::Unknown);
        assert_eq!(of("/v1/files", 200, false), Work::Unknown);
        assert_eq!(Work::of(&Method::GET, "/v1/embeddings", 0, false), Work::Unknown);
    }

    #[test]
    fn twice_the_tokens_in_twice_the_time_is_the_same() {
        for tokens in [17, 40, 100, 300, 5000] {
            let (class, us) = Work::generated(tokens, tokens * 1000);
            let (again, same) = Work::generated(tokens + 1, (tokens + 1) * 1000);
            assert!(class < CLASSES);
            if class == again {
                assert_eq!(us, same, "{tokens}");
            }
        }
        assert_eq!(Work::generated(0, 500).1, 500);
        assert_eq!(Work::generated(u64::MAX, 500).0, STREAMS + WHOLE + GENERATED - 1);
    }
}
