//! Redis, and what speaks its protocol: whether it answers, connections, memory, replication.
//!
//! Three commands are sent and three replies are read; that is all of the protocol (RESP)
//! that is needed here.

use super::place::{self, Schemes};
use super::{Asking, Kind, Members, Part, Reading, Source, Trouble, Wrong, above, share, value};
use evenkeel_domain::check::{CheckSettings, CheckState, CheckValue, Unit};
use evenkeel_domain::clock;
use evenkeel_domain::replica::Secret;
use evenkeel_domain::transport::Dial;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};

/// Bytes of one line, and of one reply: `INFO` has some kilobytes.
const LINE: u64 = 4096;
const REPLY: usize = 256 << 10;

pub(super) const KIND: Kind = Kind {
    name: "redis",
    keys: &["url", "password_file", "ca"],
    measures: &[
        above("connections", Unit::Share),
        above("memory", Unit::Share),
        above("latency", Unit::Seconds),
        above("lag", Unit::Seconds),
        above("connected", Unit::Number),
    ],
    silence: CheckState::Critical,
    build,
};

const SCHEMES: Schemes = &[("redis", 6379, false), ("rediss", 6379, true)];

fn build(settings: &CheckSettings, _: &Arc<dyn Members>) -> Result<Box<dyn Source>, Wrong> {
    let place = place::read(settings, SCHEMES)?;
    let password = place::secret("password_file", settings.password_file.as_deref())?;
    let dial = place::dialer(settings, &place.endpoint, false)?;
    Ok(Box::new(Redis { user: place.user, password, dial }))
}

#[derive(Debug)]
struct Redis {
    user: Option<String>,
    password: Option<Secret>,
    dial: Arc<dyn Dial>,
}

/// A command as an array of bulk strings.
fn command(parts: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len());
    for part in parts {
        out.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    out.into_bytes()
}

async fn line(from: &mut (impl AsyncBufReadExt + Unpin)) -> Result<String, Trouble> {
    let mut line = Vec::new();
    let read = from.take(LINE).read_until(b'\n', &mut line).await;
    read.map_err(|error| Trouble::Failed(format!("the connection broke: {error}")))?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None => Err(Trouble::Failed("the connection ended, or this is no Redis".into())),
    }
}

/// One reply that is a text: simple, an error, or bulk.
async fn reply(from: &mut BufReader<impl AsyncRead + Unpin>) -> Result<String, Trouble> {
    let head = line(from).await?;
    let rest = head.get(1..).unwrap_or_default();
    match head.as_bytes().first() {
        Some(b'+') => Ok(rest.to_owned()),
        Some(b'-') => Err(Trouble::Failed(refused(rest))),
        Some(b'$') => {
            let length = rest.parse().ok().filter(|length| *length <= REPLY);
            let length = length.ok_or_else(|| Trouble::Failed("its reply is too long".into()))?;
            let mut bulk = vec![0; length + 2];
            from.read_exact(&mut bulk)
                .await
                .map_err(|error| Trouble::Failed(format!("its reply broke off: {error}")))?;
            Ok(String::from_utf8_lossy(&bulk[..length]).into_owned())
        }
        _ => Err(Trouble::Failed("what answers there is no Redis".into())),
    }
}

/// What it refused, with what helps.
fn refused(text: &str) -> String {
    let helps = match text.split(' ').next().unwrap_or_default() {
        "NOAUTH" => "; set `password_file`",
        "WRONGPASS" => "; correct `password_file` or the user in `url`",
        "LOADING" => "; it still loads its data",
        "NOPERM" => "; give the user rights for PING and INFO",
        _ => "",
    };
    format!("it answered {text}{helps}")
}

/// What `INFO` says.
fn values(info: &str) -> (Vec<CheckValue>, Option<(CheckState, String)>) {
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<f64>().ok());
    let mut found = Vec::new();
    if let Some(connected) = number("connected_clients") {
        let most = number("maxclients").filter(|most| *most > 0.0);
        found.extend(most.map(|most| value("connections", share(connected, most), Unit::Share)));
        found.push(value("connected", connected, Unit::Number));
    }
    if let (Some(used), Some(most)) = (number("used_memory"), number("maxmemory"))
        && most > 0.0
    {
        found.push(value("memory", share(used, most), Unit::Share));
    }
    // Only replicas say so.
    let lag = number("master_last_io_seconds_ago").filter(|lag| *lag >= 0.0);
    found.extend(lag.map(|lag| value("lag", lag, Unit::Seconds)));
    let cut = fields.get("master_link_status").is_some_and(|status| *status == "down");
    let said = cut.then(|| (CheckState::Critical, "its link to the primary is down".into()));
    (found, said)
}

impl Redis {
    async fn look(&self) -> Result<Reading, Trouble> {
        let began = clock::now();
        let connection =
            self.dial.dial().await.map_err(|error| Trouble::Failed(error.to_string()))?;
        let (read, mut write) = tokio::io::split(connection.io);
        let mut read = BufReader::new(read);
        let broke = |error: std::io::Error| Trouble::Failed(format!("cannot be asked: {error}"));
        if let Some(password) = &self.password {
            let auth = match &self.user {
                Some(user) => command(&["AUTH", user, password.expose()]),
                None => command(&["AUTH", password.expose()]),
            };
            write.write_all(&auth).await.map_err(broke)?;
            reply(&mut read).await?;
        }
        write.write_all(&command(&["PING"])).await.map_err(broke)?;
        reply(&mut read).await?;
        let took = clock::now().saturating_duration_since(began);
        write.write_all(&command(&["INFO"])).await.map_err(broke)?;
        let (mut found, said) = values(&reply(&mut read).await?);
        found.push(value("latency", took.as_secs_f64(), Unit::Seconds));
        let part = Part { said, values: found, ..Part::default() };
        Ok(Reading { parts: vec![part] })
    }
}

impl Source for Redis {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(self.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_without_its_primary_says_so() {
        let info = "# Clients\r\nconnected_clients:5\r\nmaxclients:50\r\nused_memory:30\r\n\
                    maxmemory:0\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n";
        let (found, said) = values(info);
        let plain: Vec<_> = found.iter().map(|v| (&*v.measure, v.value)).collect();
        assert_eq!(plain, [("connections", 0.1), ("connected", 5.0)]);
        assert!(
            said.is_some_and(|(state, text)| state == CheckState::Critical
                && text.contains("link to the primary"))
        );
        let (found, said) = values("master_last_io_seconds_ago:3\nused_memory:5\nmaxmemory:10\n");
        assert!(found.len() == 2 && said.is_none(), "{found:?}");
    }

    #[tokio::test]
    async fn only_texts_of_some_length_are_taken() {
        for (bytes, says) in [
            (&b"-NOAUTH Authentication required.\r\n"[..], "set `password_file`"),
            (b"-LOADING Redis is loading\r\n", "still loads"),
            (b"$999999999\r\n", "too long"),
            (b"$5\r\nab", "broke off"),
            (b"HTTP/1.1 400 Bad Request\r\n", "no Redis"),
            (b"", "no Redis"),
            (&[b'x'; 10_000], "no Redis"),
        ] {
            let Err(Trouble::Failed(text)) = reply(&mut BufReader::new(bytes)).await else {
                panic!("{says}")
            };
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(reply(&mut BufReader::new(&b"$3\r\na\nb\r\n"[..])).await, Ok("a\nb".into()));
    }
}
