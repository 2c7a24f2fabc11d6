//! Connections within this process: what is served on another thread is reached as a server
//! elsewhere is, with the same bounds and the same way to give up.

use evenkeel_domain::outcome::NetworkFault;
use evenkeel_domain::transport::{Connection, Dial, DialError, Dialing};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes on their way in each direction: whoever does not read holds the other side up.
const ROOM: usize = 64 << 10;

/// Opens connections to its [`Listener`].
#[derive(Debug, Clone)]
pub struct Dialer(mpsc::Sender<DuplexStream>);

/// Takes connections. With it gone, its dialer is refused.
#[derive(Debug)]
pub struct Listener(mpsc::Receiver<DuplexStream>);

/// Both ends; `backlog` connections may wait to be taken.
#[must_use]
pub fn pair(backlog: usize) -> (Dialer, Listener) {
    let (to, from) = mpsc::channel(backlog.max(1));
    (Dialer(to), Listener(from))
}

impl Listener {
    /// The next connection; `None` when nobody can dial any more. May be dropped while it
    /// waits.
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.0.recv().await
    }
}

impl Dial for Dialer {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async {
            let (near, far) = tokio::io::duplex(ROOM);
            self.0.send(far).await.map_err(|_| DialError {
                fault: NetworkFault::Refused,
                text: "nobody listens there any more".into(),
            })?;
            Ok(Connection { io: Box::new(near), h2: false })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_pass_and_an_end_is_seen() {
        let (dialer, mut listener) = pair(1);
        let mut near = dialer.dial().await.map(|c| c.io).unwrap_or_else(|e| panic!("{e}"));
        let mut far = listener.accept().await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        drop(near);
        assert_eq!(far.read(&mut got).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn without_a_listener_it_is_refused() {
        let (dialer, listener) = pair(1);
        drop(listener);
        let Err(error) = dialer.dial().await else { panic!("nobody listens") };
        assert_eq!(error.fault, NetworkFault::Refused);
    }
}
