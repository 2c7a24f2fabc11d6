//! One HTTP/1.1 connection to a replica, driven by the task of the request that uses it:
//! no task, channel or wake-up between the socket and the client.
//!
//! Dropping it closes the socket, which is how a replica learns that nobody waits.

use super::codec::{self, BadAnswer, Decoded, Decoder, Head};
use super::{Connections, SendFailure};
use crate::body::{BodyError, UpBody};
use bytes::{BufMut, Bytes, BytesMut};
use evenkeel_domain::clock;
use evenkeel_domain::outcome::{NetworkFault, Outcome, ReplicaFault};
use evenkeel_domain::transport::Io;
use http::Method;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Weak;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Room made for a read at first: a head and some events. Thousands of streams wait with it.
const READ_MIN: u32 = 2 << 10;
/// … and at most: each read that fills its room doubles the next one's.
const READ_MAX: u32 = 64 << 10;
/// Bodies up to this size are sent in one piece with their head.
const JOINED_MAX: usize = 16 << 10;

/// A connection.
pub(super) struct H1 {
    io: Box<dyn Io>,
    read: BytesMut,
    room: u32,
    /// By which way it leads to the replica, as [`Dial::turns`] counts them.
    ///
    /// [`Dial::turns`]: evenkeel_domain::transport::Dial::turns
    way: u32,
}

/// What is still to be written of a request.
struct Outgoing {
    head: Bytes,
    body: Option<UpBody>,
    chunked: bool,
}

impl H1 {
    pub(super) fn new(io: Box<dyn Io>, way: u32) -> Self {
        Self { io, read: BytesMut::new(), room: READ_MIN, way }
    }

    pub(super) fn way(&self) -> u32 {
        self.way
    }

    /// Whether the other side has neither closed it nor said anything unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.read.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_fill(&mut cx).is_pending()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(
        mut self,
        head: Vec<u8>,
        body: UpBody,
        method: &Method,
        home: Weak<Connections>,
    ) -> Result<(http::response::Parts, H1Body), SendFailure> {
        let mut out = Outgoing::new(head, body);
        let head = std::future::poll_fn(|cx| self.poll_exchange(cx, &mut out, method)).await?;
        // An answer before the request's end: what is left of it would be taken for the next.
        let reusable = head.keep_alive && out.is_sent();
        let decoder = Decoder::new(head.framing);
        let mut body = H1Body { connection: Some(self), decoder, reusable, home };
        if body.decoder.is_done() {
            body.finish();
        }
        Ok((head.parts, body))
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outgoing,
        method: &Method,
    ) -> Poll<Result<Head, SendFailure>> {
        let wrote = match out.poll_write(&mut self.io, cx) {
            Poll::Ready(Err(error)) => Some(error),
            _ => None,
        };
        loop {
            match codec::head(&mut self.read, method) {
                Err(bad) => return Poll::Ready(Err(garbage(&bad))),
                // 100 and 103 come before the answer; nobody waits for them.
                Ok(Some(head)) if head.parts.status.is_informational() => continue,
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(reset("connection closed"))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(reset(&error.to_string()))),
                // A server that refuses a body may answer and stop reading: its answer
                // counts, the broken pipe only when there is none.
                Poll::Pending => {
                    return match wrote {
                        Some(WriteError::Client(text)) => Poll::Ready(Err(client_broke(text))),
                        Some(WriteError::Io(error)) => Poll::Ready(Err(reset(&error.to_string()))),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.room as usize);
        let room = self.read.capacity() - self.read.len();
        // Keeps no state between polls, so it can be made anew for each.
        let read = ready!(pin!(self.io.read_buf(&mut self.read)).poll(cx));
        if let Ok(n) = read {
            let next = if n >= room { self.room * 2 } else { self.room / 2 };
            self.room = next.clamp(READ_MIN, READ_MAX);
        }
        Poll::Ready(read)
    }
}

enum WriteError {
    Io(io::Error),
    Client(String),
}

impl Outgoing {
    fn new(mut head: Vec<u8>, body: UpBody) -> Self {
        let chunked = body.size_hint().exact().is_none();
        let body = match body {
            UpBody::Full(Some(bytes)) if bytes.len() <= JOINED_MAX => {
                head.extend_from_slice(&bytes);
                None
            }
            UpBody::Full(None) => None,
            other => Some(other),
        };
        Self { head: Bytes::from(head), body, chunked }
    }

    fn is_sent(&self) -> bool {
        self.head.is_empty() && self.body.is_none()
    }

    fn poll_write(
        &mut self,
        io: &mut Box<dyn Io>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            while !self.head.is_empty() {
                let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.head));
                match written {
                    Ok(0) => {
                        return Poll::Ready(Err(WriteError::Io(io::ErrorKind::WriteZero.into())));
                    }
                    Ok(n) => bytes::Buf::advance(&mut self.head, n),
                    Err(error) => return Poll::Ready(Err(WriteError::Io(error))),
                }
            }
            let Some(body) = &mut self.body else {
                return Pin::new(io).poll_flush(cx).map_err(WriteError::Io);
            };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => self.take(frame),
                Some(Err(error)) => return Poll::Ready(Err(WriteError::Client(error.to_string()))),
                None => {
                    self.body = None;
                    if self.chunked {
                        self.head = Bytes::from_static(b"0\r\n\r\n");
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        let Ok(data) = frame.into_data() else { return };
        if !self.chunked {
            self.head = data;
        } else if !data.is_empty() {
            let mut chunk = BytesMut::with_capacity(data.len() + 24);
            chunk.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
            chunk.put_slice(&data);
            chunk.put_slice(b"\r\n");
            self.head = chunk.freeze();
        }
    }
}

fn reset(text: &str) -> SendFailure {
    SendFailure {
        outcome: Outcome::NetworkFault(NetworkFault::Reset),
        unsent: false,
        client_broke: false,
        text: text.to_owned(),
    }
}

fn garbage(bad: &BadAnswer) -> SendFailure {
    SendFailure {
        outcome: Outcome::ReplicaFault(ReplicaFault::Garbage),
        unsent: false,
        client_broke: false,
        text: bad.to_string(),
    }
}

fn client_broke(text: String) -> SendFailure {
    SendFailure { outcome: Outcome::ClientFault, unsent: false, client_broke: true, text }
}

/// The body of an answer. Read to its end, it gives its connection back; dropped before,
/// it closes it.
pub(crate) struct H1Body {
    connection: Option<H1>,
    decoder: Decoder,
    reusable: bool,
    home: Weak<Connections>,
}

impl H1Body {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        loop {
            match self.decoder.decode(&mut connection.read) {
                Err(bad) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(bad.into())));
                }
                Ok(Decoded::Data(data)) => {
                    self.end_early();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::End(trailers)) => {
                    self.finish();
                    return Poll::Ready(trailers.map(|t| Ok(Frame::trailers(*t))));
                }
                Ok(Decoded::More) => {}
            }
            match ready!(connection.poll_fill(cx)) {
                Ok(0) => {
                    let whole = self.decoder.may_end_here();
                    self.connection = None;
                    let error = || Err("connection closed before the answer's end".into());
                    return Poll::Ready((!whole).then(error));
                }
                Ok(_) => {}
                Err(error) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Looks whether the end is here already: it often comes with the last data, and the
    /// client's answer can then end in the same write.
    fn end_early(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if self.decoder.is_done()
            || (self.decoder.at_end_of_chunks(&connection.read)
                && matches!(self.decoder.decode(&mut connection.read), Ok(Decoded::End(None))))
        {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.reusable
            && connection.read.is_empty()
            && let Some(home) = self.home.upgrade()
        {
            home.checkin(connection, clock::now());
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.decoder.left() {
            Some(n) => SizeHint::with_exact(n),
            None => SizeHint::default(),
        }
    }
}
