//! The listening sockets. The keeper owns them for its whole life: a gateway that dies or
//! is replaced leaves clients waiting in the backlog, never refused.

use crate::config::Config;
use crate::link::{Purpose, SOCKETS_MAX};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Clients that may wait while no gateway accepts.
const BACKLOG: i32 = 4096;

/// All listening sockets of one configuration.
pub(super) struct Sockets {
    clients: Vec<Bound>,
    admin: Bound,
    pub(super) workers: usize,
    asked: (Vec<String>, String),
}

/// One address, bound once per worker.
struct Bound {
    asked: String,
    sockets: Vec<TcpListener>,
}

impl Bound {
    /// The address's sockets: those already there when there are as many as needed.
    fn get<'a>(
        asked: &str,
        count: usize,
        mut there: impl Iterator<Item = &'a Self>,
    ) -> Result<Self, SocketError> {
        let same = |b: &&Self| b.asked == asked && b.sockets.len() == count;
        let sockets = match there.find(same) {
            Some(bound) => bound.sockets.iter().map(TcpListener::try_clone).collect(),
            None => bind_shared(asked, count),
        };
        let sockets = sockets.map_err(|e| explain(asked, &e))?;
        Ok(Self { asked: asked.to_owned(), sockets })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.sockets.first()?.local_addr().ok()
    }
}

/// Why a socket cannot be had; the text names address and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SocketError(String);

impl Sockets {
    /// Binds all addresses, each once per worker. Those that `before` has stay as they are:
    /// closing one would refuse the clients in its backlog.
    pub(super) fn bind(config: &Config, before: Option<&Self>) -> Result<Self, SocketError> {
        let addresses = config.gateway.listen.all();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = (SOCKETS_MAX - 1) / addresses.len().max(1);
        let workers = config.gateway.workers.unwrap_or(cores).clamp(1, most.max(1));
        let clients: Result<Vec<_>, _> = addresses
            .iter()
            .map(|a| Bound::get(a, workers, before.iter().flat_map(|b| &b.clients)))
            .collect();
        let clients = clients?;
        let admin = Bound::get(&config.admin.listen, 1, before.iter().map(|b| &b.admin))?;
        Ok(Self { clients, admin, workers, asked: asked(config) })
    }

    /// Whether these are the sockets that a configuration asks for.
    pub(super) fn serve(&self, config: &Config) -> bool {
        self.asked == asked(config)
            && config.gateway.workers.is_none_or(|workers| workers == self.workers)
    }

    /// The sockets with what each is for.
    pub(super) fn all(&self) -> Vec<(Purpose, &TcpListener)> {
        let clients = self.clients.iter().flat_map(|bound| {
            let numbered = bound.sockets.iter().enumerate();
            numbered.map(|(worker, socket)| (Purpose::Clients { worker }, socket))
        });
        clients.chain(self.admin.sockets.iter().map(|s| (Purpose::Admin, s))).collect()
    }

    /// Lets go of all of them.
    pub(super) fn close(&mut self) {
        self.clients.clear();
        self.admin.sockets.clear();
    }

    /// The addresses that clients use, in the order of the configuration.
    pub(super) fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().filter_map(Bound::address).collect()
    }

    /// The address that operators use.
    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }
}

fn asked(config: &Config) -> (Vec<String>, String) {
    let clients = config.gateway.listen.all().into_iter().map(str::to_owned).collect();
    (clients, config.admin.listen.clone())
}

fn explain(address: &str, error: &io::Error) -> SocketError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop what listens there (`ss -ltnp` names it) or choose another"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "check the address",
    };
    SocketError(format!("cannot listen on {address}: {error}; {remedy}"))
}

/// Several sockets on one address, among which the kernel spreads connections.
fn bind_shared(address: &str, count: usize) -> io::Result<Vec<TcpListener>> {
    let wanted: SocketAddr =
        address.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    // Bound alone first: with SO_REUSEPORT from the start a second Evenkeel would silently
    // take half of the first one's clients.
    let alone = socket(wanted, false)?;
    alone.bind(&wanted.into())?;
    alone.listen(1)?;
    let address = alone.local_addr()?.as_socket().unwrap_or(wanted);
    drop(alone);
    (0..count)
        .map(|_| {
            let socket = socket(address, count > 1)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_a_remedy() {
        let taken = bind_shared("127.0.0.1:0", 2).unwrap();
        let address = taken[0].local_addr().unwrap().to_string();
        let error = bind_shared(&address, 2).unwrap_err();
        let text = explain(&address, &error).to_string();
        assert!(text.contains(&address) && text.contains("ss -ltnp"), "{text}");
    }
}
