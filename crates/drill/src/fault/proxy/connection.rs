//! One connection through the proxy: three loops in one task.
//!
//! *up* reads the client, *down* reads the upstream, *writer* writes to the client what the
//! two queue for it, each piece when it is due. The connection ends when the writer ends or
//! the client is gone.

use crate::fault::proxy::request::{self, Request};
use crate::fault::proxy::{Current, Shared};
use crate::fault::{Accept, Answer, End, Flow, Step};
use evenkeel_domain::clock::now;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

/// Bytes read at once.
const PIECE: usize = 16 << 10;
/// Pieces on their way to one client: 1 MiB at most, which bounds what a delay can hold.
const QUEUE: usize = 64;
/// How long a client may take to close its side after ours is closed. Closing with unread
/// bytes would reset, and lose what was just sent.
const LINGER: Duration = Duration::from_secs(1);

/// What the writer is given.
enum Out {
    Piece(Instant, Vec<u8>),
    End(End),
}

struct Connection {
    shared: Arc<Shared>,
    current: watch::Receiver<Current>,
    number: u64,
}

/// Until one side ends it or a fault does.
pub(crate) async fn run(
    client: TcpStream,
    number: u64,
    shared: Arc<Shared>,
    current: watch::Receiver<Current>,
) {
    let _open = Open(shared.clone());
    let _ = client.set_nodelay(true);
    let mut connection = Connection { shared, current, number };
    if let Some(end) = connection.admitted().await {
        connection.shared.counts.ended.fetch_add(1, Relaxed);
        close(client, end).await;
        return;
    }
    let (mut reader, mut writer) = client.into_split();
    let end = connection.carry(&mut reader, &mut writer).await;
    if let (Some(end), Ok(client)) = (end, reader.reunite(writer)) {
        close(client, end).await;
    }
}

/// Counts the connection as closed whichever way it ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts.closed.fetch_add(1, Relaxed);
    }
}

async fn close(mut client: TcpStream, end: End) {
    match end {
        End::Reset => {
            let _ = client.set_zero_linger();
        }
        End::Fin => {
            let _ = client.shutdown().await;
            let mut rest = [0; 1 << 10];
            let drain = async { while matches!(client.read(&mut rest).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
    }
}

impl Connection {
    /// Waits for leave to serve; `Some` when there is none.
    async fn admitted(&mut self) -> Option<End> {
        loop {
            let accept = self.current.borrow_and_update().fault.accept();
            match accept {
                Accept::Forward => return None,
                Accept::End(end) => return Some(end),
                Accept::Hold => self.stall().await,
            }
        }
    }

    /// Waits until the fault changes.
    async fn stall(&mut self) {
        self.shared.counts.stalled.fetch_add(1, Relaxed);
        if self.current.changed().await.is_err() {
            // The proxy is gone, and will end this task.
            pending::<()>().await;
        }
    }

    fn another(&self) -> Self {
        Self { shared: self.shared.clone(), current: self.current.clone(), number: self.number }
    }

    /// `None` when the client is gone.
    async fn carry(
        &mut self,
        reader: &mut OwnedReadHalf,
        writer: &mut OwnedWriteHalf,
    ) -> Option<End> {
        let (out, queue) = mpsc::channel(QUEUE);
        let (called, upstream) = oneshot::channel();
        let (mut up, mut down, mut watcher) = (self.another(), self.another(), self.another());
        tokio::select! {
            () = up.up(reader, called, out.clone()) => None,
            never = down.down(upstream, out) => match never {},
            end = write(writer, queue, &self.shared) => end,
            end = watcher.watch() => Some(end),
        }
    }

    /// Until a fault ends open connections.
    async fn watch(&mut self) -> End {
        loop {
            if self.current.changed().await.is_err() {
                pending::<()>().await;
            }
            if let Some(end) = self.current.borrow_and_update().fault.running() {
                self.shared.counts.ended.fetch_add(1, Relaxed);
                return end;
            }
        }
    }

    /// Reads requests, and passes or answers them, until the client is gone.
    async fn up(
        &mut self,
        client: &mut OwnedReadHalf,
        called: oneshot::Sender<OwnedReadHalf>,
        out: mpsc::Sender<Out>,
    ) {
        let mut upstream = Upstream { shared: self.shared.clone(), called: Some(called), to: None };
        let mut answering: Option<(Request, Answer)> = None;
        let mut buffer = vec![0; PIECE];
        loop {
            let read = match client.read(&mut buffer).await {
                Ok(read @ 1..) => &buffer[..read],
                Ok(_) => return upstream.client_closed().await,
                Err(_) => return,
            };
            let begins = request::starts(read);
            if answering.is_none()
                && let Some(answer) = self.answer(begins).await
            {
                answering = Some((Request::default(), answer));
            }
            let Some((request, _)) = &mut answering else {
                if upstream.send(read).await.is_err() {
                    let _ = out.send(Out::End(End::Reset)).await;
                    return pending().await;
                }
                continue;
            };
            if request.feed(read)
                && let Some((_, answer)) = answering.take()
            {
                self.give(answer, &out).await;
            }
        }
    }

    /// What is answered in the upstream's place, once requests are not withheld.
    async fn answer(&mut self, begins: bool) -> Option<Answer> {
        loop {
            let fault = self.current.borrow_and_update().fault.clone();
            if !fault.withholds(begins) {
                return if begins { fault.answer() } else { None };
            }
            self.stall().await;
        }
    }

    async fn give(&self, answer: Answer, out: &mpsc::Sender<Out>) {
        self.shared.counts.answered.fetch_add(1, Relaxed);
        // The writer is gone only when the connection is ending.
        let _ = out.send(Out::Piece(now(), answer.bytes)).await;
        if answer.close {
            let _ = out.send(Out::End(End::Fin)).await;
        }
    }

    /// Reads answers and asks the fault about each piece.
    async fn down(
        &mut self,
        upstream: oneshot::Receiver<OwnedReadHalf>,
        out: mpsc::Sender<Out>,
    ) -> Infallible {
        if let Ok(mut upstream) = upstream.await {
            let end = self.answers(&mut upstream, &out).await;
            let _ = out.send(Out::End(end)).await;
        }
        pending().await
    }

    async fn answers(&mut self, upstream: &mut OwnedReadHalf, out: &mpsc::Sender<Out>) -> End {
        let mut flow = Flow::new(self.shared.seed, self.number, now());
        let mut version = 0;
        let mut buffer = vec![0; PIECE];
        loop {
            let limit = self.current.borrow().fault.piece_limit().min(PIECE);
            let piece = match upstream.read(&mut buffer[..limit]).await {
                Ok(read @ 1..) => &mut buffer[..read],
                Ok(_) => return End::Fin,
                Err(_) => return End::Reset,
            };
            let current = self.current.borrow().clone();
            if version != current.version {
                version = current.version;
                flow.begin();
            }
            current.fault.change(&mut flow, piece);
            match self.judge(&mut flow, &mut version, piece).await {
                (due, passes, None) => {
                    flow.passed += passes as u64;
                    let _ = out.send(Out::Piece(due, piece[..passes].to_vec())).await;
                }
                (due, passes, Some(end)) => {
                    let _ = out.send(Out::Piece(due, piece[..passes].to_vec())).await;
                    self.shared.counts.ended.fetch_add(1, Relaxed);
                    return end;
                }
            }
        }
    }

    /// When a piece is due, how much of it passes, and whether the connection ends after.
    async fn judge(
        &mut self,
        flow: &mut Flow,
        version: &mut u64,
        piece: &[u8],
    ) -> (Instant, usize, Option<End>) {
        loop {
            let current = self.current.borrow_and_update().clone();
            if *version != current.version {
                *version = current.version;
                flow.begin();
            }
            flow.now = now();
            match current.fault.step(flow, piece) {
                Step::Pass => return (flow.now, piece.len(), None),
                Step::At(due) => {
                    flow.due = flow.due.max(due);
                    return (flow.due, piece.len(), None);
                }
                Step::Cut(passes, end) => return (flow.now, passes.min(piece.len()), Some(end)),
                Step::Stall => self.stall().await,
            }
        }
    }
}

/// The way to the upstream, called when it is first needed.
struct Upstream {
    shared: Arc<Shared>,
    called: Option<oneshot::Sender<OwnedReadHalf>>,
    to: Option<OwnedWriteHalf>,
}

impl Upstream {
    async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(called) = self.called.take() {
            let stream = TcpStream::connect(self.shared.upstream).await?;
            let _ = stream.set_nodelay(true);
            let (from, to) = stream.into_split();
            self.to = Some(to);
            // Its receiver lives as long as this connection.
            let _ = called.send(from);
        }
        if let Some(to) = &mut self.to {
            to.write_all(piece).await?;
        }
        self.shared.counts.bytes_up.fetch_add(piece.len() as u64, Relaxed);
        Ok(())
    }

    /// Tells the upstream, which may still have an answer to end; returns at once if none
    /// was called.
    async fn client_closed(&mut self) {
        if let Some(to) = &mut self.to {
            let _ = to.shutdown().await;
            pending::<()>().await;
        }
    }
}

/// `None` when the client is gone.
async fn write(
    client: &mut OwnedWriteHalf,
    mut queue: mpsc::Receiver<Out>,
    shared: &Shared,
) -> Option<End> {
    while let Some(out) = queue.recv().await {
        match out {
            Out::End(end) => return Some(end),
            Out::Piece(due, bytes) => {
                if due > now() {
                    tokio::time::sleep_until(due.into()).await;
                }
                client.write_all(&bytes).await.ok()?;
                shared.counts.bytes_down.fetch_add(bytes.len() as u64, Relaxed);
            }
        }
    }
    None
}
