//! Answers that are whole, well-formed and not right.

use crate::fault::{Fault, Flow, SharedFault, spec, text};
use std::fmt;
use std::sync::Arc;

/// Letters of each text become other letters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wrong;

impl Fault for Wrong {
    fn change(&self, flow: &mut Flow, piece: &mut [u8]) {
        // Answers begun before go on as they were: no server changes in the middle of one.
        if flow.follow(piece).is_none() {
            return;
        }
        for key in ["content", "text"] {
            text::strings(piece, key, |string| {
                let mut escaped = false;
                for byte in string {
                    match *byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'a'..=b'y' | b'A'..=b'Y' => *byte += 1,
                        b'z' | b'Z' => *byte -= 25,
                        _ => {}
                    }
                }
            });
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrong")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Wrong))
}
