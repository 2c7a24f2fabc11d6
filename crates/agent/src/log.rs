//! Reads logs of other nodes. Blocking, as reading a file is.

use crate::frame;
use crate::identity::{Authority, tls};
use crate::words::{Greeting, Hello, Lines, VERSION, Wants};
use rustls::{ClientConnection, StreamOwned};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long the agent may take to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a follower may hear nothing; an agent gives a sign of life every five seconds.
const IDLE: Duration = Duration::from_secs(20);
/// Messages of a log that is not read on.
const WAITING: usize = 4;

/// The last `n` lines of what an instance or job on a node wrote. `authority` is read from the
/// state directory.
///
/// # Errors
/// When the node cannot be reached or has no such log.
pub fn tail(
    state_dir: &Path,
    node: &str,
    address: &str,
    name: &str,
    n: usize,
) -> io::Result<Vec<String>> {
    let mut log = Log::open(state_dir, node, address, name, n, false)?;
    let mut all = VecDeque::new();
    loop {
        let piece = log.next()?;
        all.extend(piece.lines);
        all.drain(..all.len().saturating_sub(n));
        if piece.last {
            return Ok(all.into());
        }
    }
}

/// What it writes from now on.
///
/// # Errors
/// As [`tail`].
pub fn follow(
    state_dir: &Path,
    node: &str,
    address: &str,
    name: &str,
) -> io::Result<crate::Follow> {
    let log = Log::open(state_dir, node, address, name, 0, true)?;
    let socket = Closed(log.0.sock.try_clone()?);
    let (to, from) = sync_channel(WAITING);
    std::thread::Builder::new().name("remote-log".into()).spawn(move || pass_on(log, &to))?;
    Ok(Box::new(move || {
        let _open_while_read = &socket;
        next_lines(&from)
    }))
}

/// Ends the reading thread with its reader.
struct Closed(TcpStream);

impl Drop for Closed {
    fn drop(&mut self) {
        // Closed already where the other side was faster.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

fn pass_on(mut log: Log, to: &SyncSender<io::Result<Vec<String>>>) {
    loop {
        let piece = log.next();
        let over = piece.as_ref().map_or(true, |piece| piece.last);
        if to.send(piece.map(|piece| piece.lines)).is_err() || over {
            return;
        }
    }
}

/// What has come by now.
fn next_lines(from: &Receiver<io::Result<Vec<String>>>) -> io::Result<Vec<String>> {
    use std::sync::mpsc::TryRecvError;
    loop {
        match from.try_recv() {
            Ok(Ok(lines)) if lines.is_empty() => {}
            Ok(lines) => return lines,
            Err(TryRecvError::Empty) => return Ok(Vec::new()),
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the node is gone"));
            }
        }
    }
}

struct Log(StreamOwned<ClientConnection, TcpStream>);

impl Log {
    fn open(
        state_dir: &Path,
        node: &str,
        address: &str,
        name: &str,
        lines: usize,
        follow: bool,
    ) -> io::Result<Self> {
        let authority = Authority::read(state_dir).map_err(io::Error::other)?;
        let config = tls::client(authority.keeper()).map_err(io::Error::other)?;
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("node {node} at {address}: {error}"))
        };
        let server = tls::server_name(node).map_err(io::Error::other)?;
        let session =
            ClientConnection::new(Arc::clone(&config), server).map_err(io::Error::other)?;
        let mut log = Self(StreamOwned::new(session, dial(address).map_err(named)?));
        let wants = Wants::Log { name: name.to_owned(), lines, follow };
        let hello = frame::encode(&Hello { version: VERSION, wants })?;
        log.0.write_all(&hello).and_then(|()| log.0.flush()).map_err(named)?;
        match log.receive().map_err(named)? {
            Greeting::Welcome { .. } => {}
            Greeting::Refused { why, .. } => {
                return Err(named(io::Error::new(ErrorKind::PermissionDenied, why)));
            }
        }
        log.0.sock.set_read_timeout(Some(IDLE))?;
        Ok(log)
    }

    fn next(&mut self) -> io::Result<Lines> {
        let piece: Lines = self.receive()?;
        match piece.error {
            Some(error) => Err(io::Error::new(ErrorKind::NotFound, error)),
            None => Ok(piece),
        }
    }

    fn receive<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix)?;
        let length = frame::length(prefix)?;
        let mut body = Vec::with_capacity(length.min(64 << 10));
        let read = Read::by_ref(&mut self.0).take(length as u64).read_to_end(&mut body)?;
        if read < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        frame::decode(&body)
    }
}

fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for at in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&at, WITHIN) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(WITHIN))?;
                tcp.set_write_timeout(Some(WITHIN))?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
