//! `traceparent` of W3C Trace Context: the one header field that ties spans together.
//!
//! ```text
//! 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//! version  trace id (16 bytes)          parent id (8)  flags
//! ```

use http::header::{HeaderMap, HeaderName};

/// The field.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Its companion, of which only the senders of `traceparent` know the meaning.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Whether the sender records.
const SAMPLED: u8 = 1;
/// Whether the trace id is random (level 2); it holds for the whole trace.
const RANDOM: u8 = 2;
/// Length in version 00; later ones may only append.
const LENGTH: usize = 55;

/// A place in a trace. Neither id is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: u128,
    /// The span that the receiver's span belongs under.
    pub(crate) parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// The beginning of a trace, recorded.
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let trace_id = rng.u128(1..);
        Self { trace_id, parent_id: rng.u64(1..), flags: SAMPLED | RANDOM }
    }

    /// Reads a field's value; `None` for what the standard calls invalid.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [v0, v1, b'-', ids @ .., b'-', f0, f1] = known else { return None };
        let version = hex(&[*v0, *v1])?;
        let well_formed = match version {
            0 => more.is_empty(),
            0xff => false,
            // A later version is read as far as it is known.
            _ => more.is_empty() || more.starts_with(b"-"),
        };
        let (trace_id, parent_id) = ids.split_at_checked(32)?;
        let trace_id = hex(trace_id)?;
        let parent_id = u64::try_from(hex(parent_id.strip_prefix(b"-")?)?).ok()?;
        let flags = u8::try_from(hex(&[*f0, *f1])?).ok()?;
        (well_formed && trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// The one of a request's head; two are as bad as a broken one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let one = all.next()?;
        all.next().is_none().then(|| Self::parse(one.as_bytes()))?
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, recorded, with another span as parent.
    pub(crate) fn under(self, parent_id: u64) -> Self {
        Self { parent_id, flags: self.flags | SAMPLED, ..self }
    }

    /// The field's value, in version 00.
    pub(crate) fn format(self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        digits(&mut text[3..35], self.trace_id);
        digits(&mut text[36..52], self.parent_id.into());
        digits(&mut text[53..], self.flags.into());
        text
    }
}

/// Lower-case digits only, as the standard has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn digits(to: &mut [u8], mut number: u128) {
    for digit in to.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_standard_calls_valid() {
        let read = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(read.trace_id, 0x0af7651916cd43dd8448eb211c80319c);
        assert_eq!(read.parent_id, 0xb7ad6b7169203331);
        assert!(read.is_sampled());
        assert_eq!(read.format(), GOOD.as_bytes());
        let later = format!("cc{}-what-the-future-will-be-like", &GOOD[2..]);
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(read));
        let not_sampled = format!("{}00", &GOOD[..53]);
        assert!(!TraceParent::parse(not_sampled.as_bytes()).unwrap().is_sampled());
    }

    #[test]
    fn what_it_calls_invalid() {
        let bad = [
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-"),
            format!("{GOOD}0"),
            format!("cc{}0", &GOOD[2..]),
            GOOD[..54].to_owned(),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            String::new(),
        ];
        for text in bad {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceParent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1u128.., parent_id in 1u64.., flags in 0u8..4) {
            let given = TraceParent { trace_id, parent_id, flags };
            prop_assert_eq!(TraceParent::parse(&given.format()), Some(given));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }

        #[test]
        fn what_is_read_is_nowhere_wider_than_the_standard(
            text in "(00|01|ff|0g)-[0-9a-fA-F]{31,33}-[0-9a-f]{15,17}-[0-9a-g]{2}(-x)?",
        ) {
            if let Some(read) = TraceParent::parse(text.as_bytes()) {
                // Versions and flags aside, it is written as it was read.
                prop_assert_eq!(&read.format()[2..53], &text.as_bytes()[2..53]);
            }
        }
    }
}
