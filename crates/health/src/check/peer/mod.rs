//! How far a neighbour is: latency and loss, by connections (`host:port`) or by echo
//! requests (a host alone), which need no rights where the system allows its group to.

mod echo;

use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, above, needed, value};
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use evenkeel_domain::clock;
use futures_util::future::join_all;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// Tries of one look: enough to tell one lost packet from a lost link.
const TRIES: u32 = 5;
/// Between two of them.
const APART: Duration = Duration::from_millis(20);

pub(super) const KIND: Kind = Kind {
    name: "peer",
    keys: &["host"],
    measures: &[above("latency", Unit::Seconds), above("loss", Unit::Share)],
    silence: CheckState::Critical,
    build,
};

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let host = needed(&settings.host, "host", "\"host:port\", or a host for echo requests")?;
    let wrong = |text: &str| ("host".to_owned(), text.to_owned());
    if host.is_empty() || host.contains('/') {
        return Err(wrong("is no host; write \"10.0.0.2:9000\" or \"10.0.0.2\""));
    }
    let colons = host.matches(':').count();
    let by_port = host.parse::<SocketAddr>().is_ok() || (colons == 1 && !host.starts_with('['));
    if by_port && host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(wrong("its port is no number from 1 to 65535"));
    }
    // All tries run beside each other and must be over before the look's own time is.
    let each = settings.timeout.mul_f32(0.8).saturating_sub(APART * TRIES);
    Ok(Box::new(Peer { host: host.clone(), by_port, each: each.max(APART) }))
}

#[derive(Debug)]
struct Peer {
    host: String,
    by_port: bool,
    each: Duration,
}

/// What the tries say: the mean of those that came back, and how many did not.
fn reading(how: &str, took: &[Option<Duration>]) -> Reading {
    let back: Vec<f64> = took.iter().flatten().map(Duration::as_secs_f64).collect();
    let lost = took.len() - back.len();
    let mut values = vec![value("loss", lost as f64 / took.len().max(1) as f64, Unit::Share)];
    let mut said = None;
    if back.is_empty() {
        let text = format!("none of {} {how} came back", took.len());
        said = Some((CheckState::Critical, text));
    } else {
        let mean = back.iter().sum::<f64>() / back.len() as f64;
        values.insert(0, value("latency", mean, Unit::Seconds));
    }
    let mut part = Part { said, values, ..Part::default() };
    if part.said.is_none() && lost > 0 {
        let text = format!("{lost} of {} {how} were lost", took.len());
        part.said = Some((CheckState::Ok, text));
    }
    Reading { parts: vec![part] }
}

/// A connection, or its refusal: both say how far it is.
async fn connect(to: SocketAddr) -> bool {
    match TcpStream::connect(to).await {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

impl Peer {
    async fn address(&self) -> Result<SocketAddr, Trouble> {
        let failed = |why: String| {
            Trouble::Failed(format!("{}: {why}; correct `host` or see to its name", self.host))
        };
        if self.by_port {
            let mut found = lookup_host(&self.host).await.map_err(|e| failed(e.to_string()))?;
            return found.next().ok_or_else(|| failed("has no address".into()));
        }
        let bare = self.host.trim_matches(['[', ']']);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, 0));
        }
        let mut found = lookup_host((bare, 0)).await.map_err(|e| failed(e.to_string()))?;
        found.next().ok_or_else(|| failed("has no address".into()))
    }

    async fn by_connections(&self, to: SocketAddr) -> Vec<Option<Duration>> {
        let tries = (0..TRIES).map(|n| async move {
            sleep(APART * n).await;
            let began = clock::now();
            let back = timeout(self.each, connect(to)).await.unwrap_or(false);
            back.then(|| clock::now().saturating_duration_since(began))
        });
        join_all(tries).await
    }
}

impl Source for Peer {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let to = self.address().await?;
            if self.by_port {
                return Ok(reading("connections", &self.by_connections(to).await));
            }
            let took = echo::ask(to.ip(), TRIES, APART, self.each).await?;
            Ok(reading("echo requests", &took))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::tests::settings;
    use super::*;
    use crate::check::runner::nobody;

    fn peer(host: &str) -> Box<dyn Source> {
        let text = format!(r#"{{"kind":"peer","host":"{host}","timeout":"1s"}}"#);
        build(&settings(&text), &nobody()).unwrap()
    }

    #[tokio::test]
    async fn connections_and_refusals_are_both_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for _ in 0..2 {
            let found = peer(&address).ask().await.unwrap().parts.remove(0);
            let loss = found.values.iter().find(|v| v.measure == "loss").unwrap();
            assert!(found.said.is_none() && loss.value == 0.0, "{found:?}");
            assert!(found.values[0].measure == "latency" && found.values[0].value > 0.0);
        }
        drop(listener);
        let found = peer(&address).ask().await.unwrap().parts.remove(0);
        assert!(found.said.is_none(), "{found:?}");
    }

    #[tokio::test]
    async fn echo_requests_are_answered_or_it_is_said_what_is_missing() {
        match peer("127.0.0.1").ask().await {
            Ok(reading) => assert_eq!(reading.parts[0].values[1].value, 0.0, "{reading:?}"),
            Err(Trouble::NoData(text)) => assert!(text.contains("ping_group_range"), "{text}"),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_lost_is_counted() {
        let ms = Duration::from_millis;
        let part =
            reading("echo requests", &[Some(ms(10)), None, Some(ms(20)), None]).parts.remove(0);
        assert!((part.values[0].value - 0.015).abs() < 1e-9 && part.values[1].value == 0.5);
        assert_eq!(part.said, Some((CheckState::Ok, "2 of 4 echo requests were lost".into())));
        let part = reading("connections", &[None; 5]).parts.remove(0);
        let (state, text) = part.said.unwrap();
        assert!(state == CheckState::Critical && text == "none of 5 connections came back");
    }
}
