//! An answer that is needed whole before anything of it goes out.

use super::OutBody;
use crate::shared::Reserved;
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::rc::Rc;

/// Largest answer that is held whole: embeddings of a large batch fit in.
pub(crate) const WHOLE_MAX: usize = 16 << 20;

/// Why an answer could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWhole {
    /// It broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// It is too large, or too much is held already.
    #[error("the answer is too large to be held whole")]
    TooLarge,
}

/// Reads an answer to its end; what it takes is given back with the second part.
pub(crate) async fn whole(
    worker: &Rc<Worker>,
    mut body: OutBody,
    most: usize,
) -> Result<(Bytes, Reserved), NotWhole> {
    let mut memory = Reserved::none(worker);
    if let OutBody::Full(bytes, _) = &mut body {
        let bytes = bytes.take().unwrap_or_default();
        let fits = bytes.len() <= most && memory.grow_to(bytes.len() as u64);
        return if fits { Ok((bytes, memory)) } else { Err(NotWhole::TooLarge) };
    }
    let mut held = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| NotWhole::Broken(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = held.len() + data.len();
        if length > most || !memory.grow_to(length as u64) {
            return Err(NotWhole::TooLarge);
        }
        held.extend_from_slice(&data);
    }
    Ok((held.freeze(), memory))
}
