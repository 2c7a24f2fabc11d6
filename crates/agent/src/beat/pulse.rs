//! Beats to one agent, over one connection after another.

use crate::connect::{Target, connect};
use crate::frame::{self, Incoming};
use crate::words::{Ack, Beat, Wants};
use evenkeel_domain::{clock, phi, rng};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_rustls::client::TlsStream;

/// How long opening a connection may take: three round trips and some computing.
const CONNECT: Duration = Duration::from_secs(1);
/// A connection without an acknowledgement for so long is given up. After a cut TCP itself
/// tries again after ever longer times only.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(250);
/// Beats whose acknowledgement is waited for.
const UNDER_WAY: usize = 64;

/// What comes of beats.
pub(super) enum Pulse {
    /// One was acknowledged, after so long.
    Acked(Ack, Duration),
    /// There is no connection, or not any more.
    Broken(String),
}

/// Beats for ever; `from` is the own node, `None` for the keeper.
pub(super) async fn beat(to: Target, from: Option<String>, mut on: impl FnMut(Pulse)) {
    let mut rng = rng::from_os();
    loop {
        let why = match connect(&to, Wants::Beat { from: from.clone() }, CONNECT).await {
            Ok((stream, _)) => match over(stream, &mut on).await {
                Ok(never) => match never {},
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        on(Pulse::Broken(why));
        sleep(rng::jittered(RETRY, 0.2, &mut rng)).await;
    }
}

async fn over(
    stream: TlsStream<TcpStream>,
    on: &mut impl FnMut(Pulse),
) -> io::Result<std::convert::Infallible> {
    let (read, mut write) = tokio::io::split(stream);
    let mut acks = Incoming::<Ack>::new(read, GIVE_UP);
    let mut ticks = interval(phi::BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    let mut sent: VecDeque<(u64, Instant)> = VecDeque::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                if sent.len() == UNDER_WAY {
                    sent.pop_front();
                }
                sent.push_back((number, clock::now()));
                frame::send(&mut write, &Beat { number }).await?;
            }
            ack = acks.next() => {
                let ack = ack?;
                let at = sent.iter().find(|(number, _)| *number == ack.number).map(|(_, at)| *at);
                sent.retain(|(number, _)| *number > ack.number);
                // What was never sent is no sign of life.
                if let Some(at) = at {
                    on(Pulse::Acked(ack, clock::now().saturating_duration_since(at)));
                }
            }
        }
    }
}
