//! The agent's ears: who beats to it, and who acknowledges its own beats.

use super::pulse::{self, Pulse};
use crate::connect::Target;
use crate::frame;
use crate::words::{Ack, Beat};
use evenkeel_domain::clock;
use evenkeel_domain::node::{PAUSE, Peer, SILENCE};
use evenkeel_domain::phi::{self, Accrual};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;

/// Who says nothing for so long opens another connection.
const IDLE: Duration = Duration::from_secs(10);

/// Arrivals by sender; `None` is the keeper. As many as the authority has certified at most.
#[derive(Debug, Default)]
pub(crate) struct Hearing(Mutex<BTreeMap<Option<String>, Accrual>>);

impl Hearing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Accrual>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, from: Option<&str>) {
        let now = clock::now();
        self.lock().entry(from.map(str::to_owned)).or_default().observe(now);
    }

    /// The other nodes, with the time since each was heard.
    fn nodes(&self) -> Vec<(String, Duration)> {
        let now = clock::now();
        let heard = |accrual: &Accrual| accrual.last().map(|at| now.saturating_duration_since(at));
        let all = self.lock();
        all.iter().filter_map(|(from, a)| Some((from.clone()?, heard(a)?))).collect()
    }

    fn keeper_is_silent(&self, stood_still: Duration) -> Option<bool> {
        let now = clock::now();
        let mut all = self.lock();
        let keeper = all.get_mut(&None)?;
        if stood_still > phi::BEAT {
            keeper.forgive(stood_still, now);
        }
        Some(keeper.phi(now, PAUSE) >= SILENCE)
    }
}

/// Takes beats and acknowledges them, until the sender leaves.
pub(crate) async fn acknowledge(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: Option<String>,
    hearing: &Hearing,
) -> io::Result<()> {
    loop {
        let beat: Beat = frame::receive(&mut stream, IDLE).await?;
        hearing.heard(from.as_deref());
        let ack = Ack { number: beat.number, hears: hearing.nodes() };
        frame::send(&mut stream, &ack).await?;
    }
}

/// Beats to the peers that the keeper has named.
pub(crate) async fn with_peers(
    me: Target,
    mut peers: watch::Receiver<Vec<Peer>>,
    hearing: Arc<Hearing>,
) {
    loop {
        let mut beats = JoinSet::new();
        for peer in peers.borrow_and_update().clone() {
            let to = Target { node: peer.name, address: peer.address, tls: me.tls.clone() };
            let (node, hearing) = (to.node.clone(), hearing.clone());
            beats.spawn(pulse::beat(to, Some(me.node.clone()), move |pulse| {
                if let Pulse::Acked(..) = pulse {
                    hearing.heard(Some(&node));
                }
            }));
        }
        if peers.changed().await.is_err() {
            return;
        }
    }
}

/// Says when the keeper falls silent, and when it is heard again.
pub(crate) async fn hear_keeper(hearing: Arc<Hearing>) {
    let mut ticks = interval(phi::BEAT);
    let (mut last, mut silent) = (clock::now(), false);
    loop {
        ticks.tick().await;
        let stood_still = clock::now().saturating_duration_since(last).saturating_sub(phi::BEAT);
        last = clock::now();
        let Some(now) = hearing.keeper_is_silent(stood_still) else { continue };
        if now && !silent {
            tracing::warn!("the keeper is silent; what it has started goes on");
        } else if silent && !now {
            tracing::info!("the keeper is heard again");
        }
        silent = now;
    }
}
