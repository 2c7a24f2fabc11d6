//! A success that breaks off inside, though HTTP sees nothing wrong.

use crate::fault::{Answer, Fault, SharedFault, spec};
use std::fmt;
use std::sync::Arc;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 82\r\n\r\n\
    {\"id\":\"x\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assi";

/// Every request gets half a JSON document, whole by its `content-length`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TruncatedJson;

impl Fault for TruncatedJson {
    fn answer(&self) -> Option<Answer> {
        Some(Answer { bytes: ANSWER.to_vec(), close: false })
    }
}

impl fmt::Display for TruncatedJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("truncated-json")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(TruncatedJson))
}
