//! What keeper and gateway say to each other: one JSON object a line over a socket pair,
//! which is the gateway's standard input. The listening sockets come with the first
//! message (`SCM_RIGHTS`).
//!
//! The end of the link means that the other process is gone.

use crate::config::Sources;
use evenkeel_domain::job::{JobOrder, JobStatus};
use evenkeel_domain::node::NodeStatus;
use evenkeel_domain::orchestrator::InstanceStatus;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Sockets passed at most: the kernel's bound on one message is 253.
pub(crate) const SOCKETS_MAX: usize = 240;
/// Bytes of the first message at most: a few per socket.
const HELLO_MAX: usize = 64 << 10;

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Clients, served by the worker of this number.
    Clients {
        /// Which worker.
        worker: usize,
    },
    /// Operators.
    Admin,
}

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    sockets: Vec<Purpose>,
}

/// Keeper to gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToGateway {
    /// The configuration to serve from; the first message and each reload.
    Config {
        /// The file, for messages.
        path: PathBuf,
        /// Its text, and that of the key file it names.
        sources: Sources,
        /// Rises with each.
        generation: u64,
    },
    /// A configuration was refused; the old one stays.
    Refused {
        /// Why.
        why: String,
    },
    /// What runs on this node.
    Instances(Vec<InstanceStatus>),
    /// Restart these in turn, each unless it has been started anew since: their settings
    /// have changed.
    Renew {
        /// Names, each with the start that is outdated.
        outdated: Vec<(String, u64)>,
    },
    /// These have left the configuration: nothing new to them, and word when nothing is
    /// under way there any more. All of them, each with its start.
    Retire {
        /// Names, each with the start that is meant.
        leaving: Vec<(String, u64)>,
    },
    /// How many copies of scaled services are meant to run, by service.
    Sizes(BTreeMap<String, u32>),
    /// What jobs do.
    Jobs(Vec<JobStatus>),
    /// Which nodes are there.
    Nodes(Vec<NodeStatus>),
    /// Stop accepting, finish what runs, exit.
    Drain {
        /// Whether another gateway has taken over: it answers operators, too, on the same
        /// socket. Without one this gateway goes on telling them until it ends.
        replaced: bool,
    },
}

/// Gateway to keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToKeeper {
    /// It serves.
    Ready,
    /// Its control thread is alive; once a second.
    Alive,
    /// A supervised replica answers.
    MarkReady {
        /// Which.
        name: String,
        /// Which start of it.
        incarnation: u64,
    },
    /// A supervised replica that was retired has nothing under way here any more.
    Idle {
        /// Which.
        name: String,
        /// Which start of it.
        incarnation: u64,
    },
    /// Restart a supervised replica.
    Restart {
        /// Which.
        name: String,
        /// Only if this is still the start that runs; `None` in any case.
        #[serde(default)]
        incarnation: Option<u64>,
        /// How long it may take to end before it is killed, where that differs from its
        /// settings.
        #[serde(default)]
        grace_ms: Option<u64>,
    },
    /// Start a cold standby's process, or stop it.
    Wake {
        /// Which.
        name: String,
        /// Start it.
        run: bool,
    },
    /// Run so many copies of a scaled service.
    Scale {
        /// The service.
        service: String,
        /// How many.
        copies: u32,
    },
    /// A person's order about a job.
    Job {
        /// Which.
        name: String,
        /// What.
        order: JobOrder,
    },
    /// Read the configuration again.
    Reload,
    /// Hand over to a gateway of this binary, or of the one that runs.
    Upgrade {
        /// The binary.
        binary: Option<PathBuf>,
    },
    /// Stop everything.
    Stop,
}

/// Passes the sockets. The keeper's side.
pub(crate) fn send_sockets(
    link: &StdUnixStream,
    sockets: &[(Purpose, &TcpListener)],
) -> io::Result<()> {
    let hello = Hello { sockets: sockets.iter().map(|(purpose, _)| *purpose).collect() };
    let text = serde_json::to_vec(&hello).map_err(io::Error::other)?;
    let fds: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other(format!("more than {SOCKETS_MAX} listening sockets")));
    }
    let sent = sendmsg(link, &[IoSlice::new(&text)], &mut control, SendFlags::empty())?;
    if sent != text.len() {
        return Err(io::Error::other("the gateway's link took only a part of the first message"));
    }
    Ok(())
}

/// Takes the sockets. The gateway's side; blocks until they are there.
pub(crate) fn receive_sockets(link: &StdUnixStream) -> io::Result<Vec<(Purpose, TcpListener)>> {
    let mut bytes = vec![0; HELLO_MAX];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let hello: Hello = serde_json::from_slice(&bytes[..got.bytes]).map_err(io::Error::other)?;
    if hello.sockets.len() != fds.len() {
        return Err(io::Error::other("sockets were lost on the way; check LimitNOFILE"));
    }
    Ok(hello.sockets.into_iter().zip(fds.into_iter().map(TcpListener::from)).collect())
}

/// The writing half.
pub(crate) struct Writer(OwnedWriteHalf);

/// The reading half.
pub(crate) struct Reader(Lines<BufReader<OwnedReadHalf>>);

/// Both halves of a link, after the sockets have passed.
pub(crate) fn split(link: StdUnixStream) -> io::Result<(Reader, Writer)> {
    link.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(link)?.into_split();
    Ok((Reader(BufReader::new(read).lines()), Writer(write)))
}

impl Writer {
    /// Sends one message.
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
        line.push(b'\n');
        self.0.write_all(&line).await
    }
}

impl Reader {
    /// The next message; `None` when the other side is gone.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.0.next_line().await? {
            None => Ok(None),
            Some(line) => serde_json::from_str(&line).map(Some).map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_and_messages_pass() {
        let (a, b) = StdUnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = [(Purpose::Clients { worker: 1 }, &listener), (Purpose::Admin, &listener)];
        send_sockets(&a, &sent).unwrap();
        let got = receive_sockets(&b).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].0, Purpose::Clients { worker: 1 });
        assert_eq!(got[1].1.local_addr().unwrap(), address);
        let (_, mut writer) = split(a).unwrap();
        let (mut reader, _) = split(b).unwrap();
        writer.send(&ToGateway::Drain { replaced: true }).await.unwrap();
        drop(writer);
        let got = reader.next::<ToGateway>().await.unwrap();
        assert!(matches!(got, Some(ToGateway::Drain { replaced: true })));
    }
}
