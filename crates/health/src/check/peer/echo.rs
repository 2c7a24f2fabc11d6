//! ICMP echo over datagram sockets: the kernel fills in identifier and checksum, and gives
//! only the answers to one's own.

use super::Trouble;
use evenkeel_domain::clock;
use futures_util::future::join_all;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

/// Echo request and echo reply, in versions 4 and 6.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

/// A socket for one request, so that no answer is another's.
fn socket(to: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    UdpSocket::from_std(socket.into())
}

async fn once(to: IpAddr, number: u16) -> io::Result<Duration> {
    let socket = socket(to)?;
    let (request, reply) = if to.is_ipv4() { V4 } else { V6 };
    let [high, low] = number.to_be_bytes();
    let began = clock::now();
    socket.send(&[request, 0, 0, 0, 0, 0, high, low, b'e', b'v', b'e', b'n']).await?;
    let mut answer = [0; 64];
    loop {
        let length = socket.recv(&mut answer).await?;
        let answer = &answer[..length];
        if answer.first() == Some(&reply) && answer.get(6..8) == Some(&[high, low]) {
            return Ok(clock::now().saturating_duration_since(began));
        }
    }
}

/// Asks several times, and says how long each took that came back.
pub(super) async fn ask(
    to: IpAddr,
    tries: u32,
    apart: Duration,
    each: Duration,
) -> Result<Vec<Option<Duration>>, Trouble> {
    // Whether it is allowed shows at the first socket.
    drop(socket(to).map_err(|error| {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Trouble::NoData(
                "echo requests are not allowed here; allow them by `sysctl \
             net.ipv4.ping_group_range`, or give `host` a port"
                    .into(),
            ),
            _ => Trouble::Failed(format!("{to}: {error}")),
        }
    })?);
    let asked = (0..tries).map(|n| async move {
        sleep(apart * n).await;
        let number = u16::try_from(n + 1).unwrap_or(1);
        timeout(each, once(to, number)).await.ok()?.ok()
    });
    Ok(join_all(asked).await)
}
