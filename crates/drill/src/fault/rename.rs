//! A server that answers as another model.

use crate::fault::{Fault, Flow, SharedFault, spec, text};
use std::fmt;
use std::sync::Arc;

/// The first letter of the model's name is another one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rename;

impl Fault for Rename {
    fn change(&self, flow: &mut Flow, piece: &mut [u8]) {
        // Answers begun before go on as they were: no server changes in the middle of one.
        if flow.follow(piece).is_none() {
            return;
        }
        text::strings(piece, "model", |string| {
            if let Some(first) = string.get_mut(1).filter(|byte| byte.is_ascii_alphanumeric()) {
                *first = if *first == b'x' { b'y' } else { b'x' };
            }
        });
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rename")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Rename))
}
