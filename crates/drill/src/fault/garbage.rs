//! Something else than HTTP.

use crate::fault::{Answer, Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

const ANSWER: &[u8] = b"\x16\x03\x01\x00\xffNOT HTTP AT ALL\r\n\x00\x01\x02\x03\r\n\r\n";

/// Every request gets bytes that are no HTTP, and the connection ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Garbage;

impl Fault for Garbage {
    fn answer(&self) -> Option<Answer> {
        Some(Answer { bytes: ANSWER.to_vec(), close: true })
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("garbage")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Garbage))
}
