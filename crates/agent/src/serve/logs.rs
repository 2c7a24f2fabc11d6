//! Sends what an instance or a job has written, and what it writes from then on.

use crate::frame;
use crate::host::{Follow, Host};
use crate::words::Lines;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A reader that hears nothing for longer takes it that the agent is gone.
pub(crate) const LIFE_SIGN: Duration = Duration::from_secs(5);
/// Bytes of one message, about.
const PIECE: usize = 1 << 20;
/// Lines asked for at most: what comes is kept in memory.
const MOST: usize = 100_000;

/// Sends a log.
pub(super) async fn send(
    mut to: impl AsyncWrite + Unpin,
    host: Arc<dyn Host>,
    name: String,
    lines: usize,
    follow: bool,
) -> io::Result<()> {
    // Beside beats and orders: a disk may take its time.
    let begun = spawn_blocking(move || {
        // Opened first: nothing that is written in between is missed.
        let following = if follow { Some(host.follow(&name)?) } else { None };
        let tail = if lines == 0 { Vec::new() } else { host.tail(&name, lines.min(MOST))? };
        Ok::<_, io::Error>((tail, following))
    });
    match begun.await.map_err(io::Error::other)? {
        Err(error) => {
            let error = Some(error.to_string());
            frame::send(&mut to, &Lines { lines: Vec::new(), last: true, error }).await
        }
        Ok((tail, None)) => pieces(&mut to, tail, true).await,
        Ok((tail, Some(follow))) => {
            pieces(&mut to, tail, false).await?;
            go_on(&mut to, follow).await
        }
    }
}

async fn go_on(to: &mut (impl AsyncWrite + Unpin), mut follow: Follow) -> io::Result<()> {
    let mut said = Instant::now();
    loop {
        let looked = spawn_blocking(move || (follow(), follow)).await;
        let (lines, again) = looked.map_err(io::Error::other)?;
        follow = again;
        match lines {
            Ok(lines) if lines.is_empty() => {
                if said.elapsed() >= LIFE_SIGN {
                    pieces(to, lines, false).await?;
                    said = Instant::now();
                }
                sleep(LOOK).await;
            }
            Ok(lines) => {
                pieces(to, lines, false).await?;
                said = Instant::now();
            }
            Err(error) => {
                let error = Some(error.to_string());
                return frame::send(to, &Lines { lines: Vec::new(), last: true, error }).await;
            }
        }
    }
}

/// Sends lines in messages of a bounded size, at least one.
async fn pieces(
    to: &mut (impl AsyncWrite + Unpin),
    lines: Vec<String>,
    last: bool,
) -> io::Result<()> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for line in lines {
        bytes += line.len();
        piece.push(line);
        if bytes >= PIECE {
            let lines = std::mem::take(&mut piece);
            frame::send(to, &Lines { lines, last: false, error: None }).await?;
            bytes = 0;
        }
    }
    frame::send(to, &Lines { lines: piece, last, error: None }).await
}
