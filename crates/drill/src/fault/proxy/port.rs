//! A port that stays ours while nobody listens on it.
//!
//! A socket that is bound but does not listen keeps the port; connections to it are
//! refused. Listening sockets share it by `SO_REUSEPORT` and come and go.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted: more than any drill opens at once.
const BACKLOG: i32 = 1_024;

#[derive(Debug)]
pub(crate) struct Port {
    addr: SocketAddr,
    _reserved: Socket,
}

impl Port {
    pub(crate) fn reserve() -> io::Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let addr = socket.local_addr()?.as_socket();
        let addr = addr.ok_or_else(|| io::Error::other("bound to no IP address"))?;
        Ok(Self { addr, _reserved: socket })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.addr)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
