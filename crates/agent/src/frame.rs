//! Frames: four bytes of length, then JSON. Nothing longer than [`LONGEST`] is read or sent.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Thousands of instances with long commands and their last words fit.
pub(crate) const LONGEST: usize = 8 << 20;
/// Who takes nothing for so long is not there any more.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// Messages read and not looked at yet: each may be large.
const WAITING: usize = 4;

/// A message as a frame.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(io::Error::other)?;
    let length = frame.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= LONGEST);
    let prefix = prefix.ok_or_else(|| too_long(length))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame)
}

/// The length that a frame begins with.
pub(crate) fn length(prefix: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length <= LONGEST { Ok(length) } else { Err(too_long(length)) }
}

/// What a frame says.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body)
        .map_err(|e| io::Error::new(ErrorKind::InvalidData, format!("cannot be understood: {e}")))
}

fn too_long(length: usize) -> io::Error {
    let text = format!("a message of {length} bytes; at most {LONGEST} are taken");
    io::Error::new(ErrorKind::InvalidData, text)
}

/// Sends one message.
pub(crate) async fn send<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let frame = encode(message)?;
    let write = async {
        to.write_all(&frame).await?;
        to.flush().await
    };
    timeout(WRITE_WITHIN, write).await.map_err(|_| stuck("takes nothing", WRITE_WITHIN))?
}

/// The next message; an error when nothing comes `within`. Must not be dropped halfway if
/// the connection is to be read on.
pub(crate) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> io::Result<T> {
    let read = async {
        let mut prefix = [0; 4];
        from.read_exact(&mut prefix).await?;
        let length = length(prefix)?;
        // Grows as it comes: a length is only a claim.
        let mut body = Vec::with_capacity(length.min(64 << 10));
        let read = from.take(length as u64).read_to_end(&mut body).await?;
        if read < length { Err(io::Error::from(ErrorKind::UnexpectedEof)) } else { Ok(body) }
    };
    let body = timeout(within, read).await.map_err(|_| stuck("says nothing", within))??;
    decode(&body)
}

/// Reads messages in a task of its own, so that nothing is lost when its owner does something
/// else; ends with its owner.
pub(crate) struct Incoming<T> {
    queue: mpsc::Receiver<io::Result<T>>,
    task: AbortHandle,
}

impl<T: DeserializeOwned + Send + 'static> Incoming<T> {
    /// Reads from here on; it is over when nothing comes `within`.
    pub(crate) fn new(mut from: impl AsyncRead + Unpin + Send + 'static, within: Duration) -> Self {
        let (to, queue) = mpsc::channel(WAITING);
        let task = tokio::spawn(async move {
            loop {
                let message = receive(&mut from, within).await;
                let over = message.is_err();
                if to.send(message).await.is_err() || over {
                    return;
                }
            }
        });
        Self { queue, task: task.abort_handle() }
    }

    /// The next one; an error is the last. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> io::Result<T> {
        self.queue.recv().await.unwrap_or_else(|| Err(ErrorKind::UnexpectedEof.into()))
    }
}

impl<T> Drop for Incoming<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn stuck(what: &str, within: Duration) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("the other side {what} for {within:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn messages_pass_whole() {
        let (mut a, mut b) = tokio::io::duplex(64);
        let sent: Vec<u32> = (0..1000).collect();
        let (sending, got) = tokio::join!(send(&mut a, &sent), receive::<Vec<u32>>(&mut b, SOON));
        sending.unwrap();
        assert_eq!(got.unwrap(), sent);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_long_broken_cut_or_silent_is_an_error() {
        for (bytes, says) in [
            (&[0xff, 0xff, 0xff, 0xff][..], "at most"),
            (&[0, 0, 0, 2, b'{', b'{'][..], "cannot be understood"),
            (&[0, 0, 0, 9, b'1'][..], "end of file"),
        ] {
            let (mut a, mut b) = tokio::io::duplex(64);
            a.write_all(bytes).await.unwrap();
            drop(a);
            let error = receive::<u32>(&mut b, SOON).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let (_a, mut b) = tokio::io::duplex(64);
        let error = receive::<u32>(&mut b, SOON).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(encode(&"x".repeat(LONGEST)).is_err());
    }
}
