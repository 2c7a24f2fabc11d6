//! Bodies on their way through: what clients send and what they get.

pub(crate) mod read;
pub(crate) mod relay;
pub(crate) mod whole;

use crate::answers::counted::Counted;
use crate::cache::flight::Reader;
use crate::resume::carry::Carried;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use relay::Relay;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a body ended before its end.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer to a client.
pub(crate) enum OutBody {
    /// Nothing.
    Empty,
    /// One piece, with trailers where the replica sent some.
    Full(Option<Bytes>, Option<Box<http::HeaderMap>>),
    /// From a replica, as it comes.
    Relay(Box<Relay>),
    /// A stream that outlives its replica.
    Carried(Box<Carried>),
    /// Read by several clients at once.
    Shared(Box<Reader>),
    /// Any of these, counted as another request than its own.
    Counted(Box<Counted>),
}

impl OutBody {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full(Some(bytes), None)
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes, trailers) => Poll::Ready(match piece(bytes) {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None => trailers.take().map(|t| Ok(Frame::trailers(*t))),
            }),
            Self::Relay(relay) => relay.poll_frame(cx),
            Self::Carried(carried) => carried.poll_frame(cx),
            Self::Shared(reader) => reader.poll_frame(cx),
            Self::Counted(counted) => counted.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes, trailers) => {
                bytes.as_ref().is_none_or(Bytes::is_empty) && trailers.is_none()
            }
            Self::Relay(relay) => relay.is_end_stream(),
            Self::Carried(carried) => carried.is_end_stream(),
            Self::Shared(reader) => reader.is_end_stream(),
            Self::Counted(counted) => counted.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Relay(relay) => relay.size_hint(),
            Self::Counted(counted) => counted.size_hint(),
            Self::Carried(_) | Self::Shared(_) => SizeHint::default(),
        }
    }
}

/// Bytes handed over at once, at most: the connection copies them into a buffer that it
/// keeps for as long as it lives.
const PIECE: usize = 64 << 10;

fn piece(bytes: &mut Option<Bytes>) -> Option<Bytes> {
    let rest = bytes.as_mut().filter(|rest| !rest.is_empty())?;
    if rest.len() > PIECE { Some(rest.split_to(PIECE)) } else { bytes.take() }
}

/// The body of a request to a replica.
pub(crate) enum UpBody {
    /// One piece that can be sent again.
    Full(Option<Bytes>),
    /// What was read so far, then the rest as it comes: once.
    Stream(Option<Bytes>, Box<ClientRest>),
}

/// The part of a client's body that was not held back.
pub(crate) struct ClientRest {
    body: Incoming,
    /// Bytes that may still come before the service's `max_body`.
    allowed: u64,
    /// Kept until the body is through.
    _memory: crate::shared::Reserved,
}

impl ClientRest {
    pub(crate) fn new(body: Incoming, allowed: u64, memory: crate::shared::Reserved) -> Self {
        Self { body, allowed, _memory: memory }
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Stream(first, rest) => {
                if let Some(bytes) = first.take().filter(|b| !b.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                let frame = std::task::ready!(rest.body.poll_frame_unpin(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    match rest.allowed.checked_sub(data.len() as u64) {
                        Some(left) => rest.allowed = left,
                        None => return Poll::Ready(Some(Err("body exceeds max_body".into()))),
                    }
                }
                Poll::Ready(frame.map(|f| f.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Stream(first, rest) => first.is_none() && rest.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(first, rest) => {
                let first = first.as_ref().map_or(0, |b| b.len() as u64);
                match rest.body.size_hint().exact() {
                    Some(more) => SizeHint::with_exact(first + more),
                    None => SizeHint::default(),
                }
            }
        }
    }
}

trait PollFrame {
    fn poll_frame_unpin(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;
}

impl PollFrame for Incoming {
    fn poll_frame_unpin(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(self).poll_frame(cx)
    }
}

/// Next frame of a body.
pub(crate) async fn next_frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    body.frame().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_large_is_handed_over_in_pieces() {
        let all = Bytes::from(vec![7; 2 * PIECE + 1]);
        let mut body = OutBody::full(all.clone());
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            assert_eq!(body.is_end_stream(), sizes.len() == 2);
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        assert_eq!(OutBody::full(all.clone()).size_hint().exact(), Some(all.len() as u64));
        assert!(OutBody::full(Bytes::new()).frame().await.is_none());
    }
}
