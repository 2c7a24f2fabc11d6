//! A success with nothing in it.

use crate::fault::{Answer, Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n";

/// Every request gets a 200 with a body of no bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyBody;

impl Fault for EmptyBody {
    fn answer(&self) -> Option<Answer> {
        Some(Answer { bytes: ANSWER.to_vec(), close: false })
    }
}

impl fmt::Display for EmptyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("empty-body")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(EmptyBody))
}
