//! The guard: a tiny process between the keeper and one command.
//!
//! ```text
//!   keeper ══ lifeline ══► guard ──► command ──► its children, their daemons, …
//!          ◄═ reports ════   │
//!                            └── log files
//! ```
//!
//! The lifeline is a pipe whose other end only the keeper holds. However the keeper
//! dies, the kernel closes it, the guard reads the end of file and kills the tree:
//! no code of the keeper's has to run for that. The guard is a **subreaper**: whatever
//! the command leaves behind, detached or not, becomes the guard's child, so
//! "no child is left" means that nothing is left at all.
//!
//! It has no async runtime: a few threads that wait, one channel, one loop.

mod output;
mod spawn;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_domain::clock;
use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::{Pid, Signal, WaitOptions};

use self::output::{Log, Tail};
use crate::rotate::RotatingFile;
use crate::tree;
use crate::wire::{Launch, Order, Report};

/// How long SIGKILL may take to work. A process inside a driver's call may not be
/// killable at all; then it is reported rather than waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often the tree is looked at again while it is being killed.
const KILL_ROUND: Duration = Duration::from_millis(10);
/// How often progress is reported, at most.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long the last lines may take to reach the disk.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What the guard's command line may hold. Everything else comes over the lifeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardArgs {
    /// Shown in process lists only.
    pub label: Option<String>,
}

/// What can happen to a guard.
enum Event {
    Order(Order),
    /// The keeper is gone.
    KeeperGone,
    Reaped(Pid, Option<i32>, Option<i32>),
    NothingLeft,
}

/// Runs a guard until its command has ended or its keeper has. Call it first thing in
/// `main` for the hidden subcommand: before any runtime, thread or log is set up.
/// Standard input and output belong to it.
#[must_use]
pub fn guard_main(_args: GuardArgs) -> ExitCode {
    if io::stdin().is_terminal() {
        eprintln!("this is what `evenkeel up` runs its commands under; run `evenkeel up` instead");
        return ExitCode::from(2);
    }
    // A service manager that ends everything at once must not take the guard before
    // the keeper has stopped the command in an orderly way. The keeper's end, however
    // it comes, is told by the lifeline.
    let mut blocked = SigSet::empty();
    for signal in [NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP, NixSignal::SIGQUIT] {
        blocked.add(signal);
    }
    let _ = blocked.thread_block();
    // A session of its own: Ctrl-C is for the keeper, and what is left of a guard that
    // was killed can be told by its session.
    let _ = rustix::process::setsid();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&Report::Failed { message: format!("the guard failed: {error}") });
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let me = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(me))?;
    let Some(launch) = read_launch()? else { return Ok(()) };
    let log = Log::start(RotatingFile::new(launch.log.clone(), launch.log_settings.clone()))?;
    let tail = Tail::default();
    let (pipe, output) = io::pipe()?;
    let pid = match spawn::spawn(&launch, &run_label(), output) {
        Ok(pid) => pid,
        Err(message) => {
            log.mark(format!("--- {message} ---"));
            log.finish(LOG_PATIENCE);
            report(&Report::Failed { message });
            return Ok(());
        }
    };
    log.mark(format!(
        "--- started pid {pid} incarnation {} at {} ---",
        launch.incarnation,
        stamp()
    ));
    let read = log.read(pipe, tail.clone())?;
    report(&Report::Started { pid });
    let (tell, events) = channel();
    start_lifeline(tell.clone())?;
    start_reaper(tell)?;
    let mut guard = Guard::new(pid, me, events, tail);
    let left = guard.watch();
    let _ = read.recv_timeout(LOG_PATIENCE);
    log.mark(format!("--- {} at {} ---", guard.end(), stamp()));
    log.finish(LOG_PATIENCE);
    let tail = guard.tail.lines();
    report(&Report::Exited { code: guard.code, signal: guard.signal, left, tail });
    Ok(())
}

/// Names this start in the environment of everything it starts. Guard pid and start
/// time: unique on this machine until it boots.
fn run_label() -> String {
    let pid = std::process::id();
    label_of(pid, tree::look(pid).map_or(0, |me| me.start))
}

/// See [`run_label`]; the keeper builds the same.
pub(crate) fn label_of(guard: u32, start: u64) -> String {
    format!("{guard}.{start}")
}

fn read_launch() -> io::Result<Option<Launch>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(io::Error::other)
}

/// Tells the keeper. If there is none any more, nobody needs to know.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

fn stamp() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(clock::wall())
}

fn start_lifeline(tell: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().name("lifeline".into()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Some(order) = Order::parse(&line) {
                let _ = tell.send(Event::Order(order));
            }
        }
        let _ = tell.send(Event::KeeperGone);
    })?;
    Ok(())
}

/// Reaps everything: the command, and whatever it orphans. Ends when nothing is left.
fn start_reaper(tell: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().name("reaper".into()).spawn(move || {
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => {
                    let (code, signal) = (status.exit_status(), status.terminating_signal());
                    let _ = tell.send(Event::Reaped(pid, code, signal));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let _ = tell.send(Event::NothingLeft);
    })?;
    Ok(())
}

struct Guard {
    command: u32,
    me: Pid,
    events: Receiver<Event>,
    tail: Tail,
    /// Whether the command itself has been reaped, and with what.
    ended: bool,
    code: Option<i32>,
    signal: Option<i32>,
    /// Progress is reported until the keeper has heard enough.
    starting: bool,
    reported: u64,
}

impl Guard {
    fn new(command: u32, me: Pid, events: Receiver<Event>, tail: Tail) -> Self {
        let (code, signal) = (None, None);
        Self { command, me, events, tail, ended: false, code, signal, starting: true, reported: 0 }
    }

    /// Waits for the end of the command and sees to the end of the rest. Answers with
    /// the pids that would not die.
    fn watch(&mut self) -> Vec<u32> {
        loop {
            let event = if self.starting {
                self.events.recv_timeout(PROGRESS)
            } else {
                self.events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match event {
                Ok(Event::Order(Order::Ready)) => self.starting = false,
                Ok(Event::Order(Order::Term)) => self.ask(),
                Ok(Event::Reaped(pid, code, signal)) => {
                    if self.note(pid, code, signal) {
                        return self.kill_all();
                    }
                }
                Ok(Event::NothingLeft) => return Vec::new(),
                Ok(Event::Order(Order::Kill) | Event::KeeperGone)
                | Err(RecvTimeoutError::Disconnected) => return self.kill_all(),
                Err(RecvTimeoutError::Timeout) => self.tell_progress(),
            }
        }
    }

    fn ask(&self) {
        // The command was just seen not to be reaped, so its group is still its own.
        if let Some(group) = i32::try_from(self.command).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            // One that was stopped (a debugger, a frozen job) would never see it.
            let _ = rustix::process::kill_process_group(group, Signal::CONT);
        }
    }

    /// Whether this was the command itself.
    fn note(&mut self, pid: Pid, code: Option<i32>, signal: Option<i32>) -> bool {
        if u32::try_from(pid.as_raw_pid()) != Ok(self.command) {
            return false;
        }
        (self.ended, self.code, self.signal) = (true, code, signal);
        true
    }

    fn kill_all(&mut self) -> Vec<u32> {
        let give_up = clock::now() + KILL_PATIENCE;
        let me = u32::try_from(self.me.as_raw_pid()).unwrap_or_default();
        loop {
            let found = tree::kill_round(|| tree::descendants(me));
            if self.drain(clock::now() + KILL_ROUND) {
                return Vec::new();
            }
            if clock::now() >= give_up {
                return found.iter().map(|process| process.pid).collect();
            }
        }
    }

    /// Takes what has happened until then. Whether nothing is left.
    fn drain(&mut self, until: Instant) -> bool {
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(Event::Reaped(pid, code, signal)) => {
                    self.note(pid, code, signal);
                }
                Ok(Event::NothingLeft) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    fn tell_progress(&mut self) {
        if let Some((number, line)) = self.tail.last()
            && number != self.reported
        {
            self.reported = number;
            report(&Report::Progress { line });
        }
    }

    fn end(&self) -> String {
        match (self.ended, self.code, self.signal) {
            (_, Some(code), _) => format!("exited with code {code}"),
            (_, _, Some(signal)) => format!("ended by signal {signal}"),
            _ => "left behind, it cannot be killed".to_owned(),
        }
    }
}
