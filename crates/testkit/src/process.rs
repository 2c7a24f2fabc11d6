//! Children that log to a file and do not outlive their test.

use evenkeel_domain::clock::now;
use evenkeel_domain::transport::Dial;
use evenkeel_wire::{TcpDialer, client};
use http_body_util::Full;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A running child in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with all its output in `<dir>/<name>.log`, which is emptied first.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let out = File::create(&log).expect("the log can be written");
        let err = out.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
        let group = pid(child.id());
        Self { child, group, log }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a line that contains `text`, and gives it.
    ///
    /// # Errors
    /// When it does not come in time, or the process ends without it.
    pub async fn wait_for_line(&mut self, text: &str, within: Duration) -> Result<String, String> {
        let deadline = now() + within;
        loop {
            // Asked before the output is read, so that last words are not missed.
            let ended = self.ended();
            let output = self.output();
            if let Some(line) = output.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if ended.is_some() || now() >= deadline {
                return Err(format!("no line with `{text}` ({ended:?}):\n{output}"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `url` answers 200.
    ///
    /// # Errors
    /// When it does not in time, or the process ends.
    pub async fn wait_for_ok(&mut self, url: &str, within: Duration) -> Result<(), String> {
        let deadline = now() + within;
        loop {
            let status = status(url).await;
            if status == Ok(200) {
                return Ok(());
            }
            let ended = self.ended();
            if ended.is_some() || now() >= deadline {
                return Err(format!("{url}: {status:?} ({ended:?}):\n{}", self.output()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = now() + within;
        loop {
            let ended = self.ended();
            if ended.is_some() || now() >= deadline {
                return ended;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends SIGTERM to the process alone.
    pub fn terminate(&self) {
        signal(self.id(), Signal::TERM);
    }

    /// Sends SIGKILL to the process alone: its children must look after themselves.
    pub fn kill9(&self) {
        signal(self.id(), Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Pid {
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    raw.expect("a child has a process id")
}

/// Sends a signal to a process; that it is gone already is no error.
pub fn signal(id: u32, signal: Signal) {
    let _ = kill_process(pid(id), signal);
}

/// Sends SIGKILL to any process, such as a grandchild whose id was read from a log.
pub fn kill9(id: u32) {
    signal(id, Signal::KILL);
}

/// A binary of this build, such as `evenkeel`. It must have been built before: a test of
/// the same package has it in `CARGO_BIN_EXE_<name>`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return path.into();
    }
    let me = std::env::current_exe().expect("this test is a file");
    // target/<profile>/deps/<test>
    let found = me.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not built (looked beside {})", me.display()))
}

/// The status that GET of an `http://` URL gives, within a second.
///
/// # Errors
/// When there is no answer.
pub async fn status(url: &str) -> Result<u16, String> {
    let (base, path) = crate::oracle::split(url);
    let asking = async {
        let connection = TcpDialer::new(&base).dial().await.map_err(|e| e.to_string())?;
        let request = http::Request::get(path)
            .header(http::header::HOST, &*base.authority)
            .body(Full::default())
            .map_err(|e| e.to_string())?;
        let (answer, _guard) =
            client::open(connection, false, request).await.map_err(|e| e.to_string())?;
        Ok(answer.status().as_u16())
    };
    let timed = tokio::time::timeout(Duration::from_secs(1), asking).await;
    timed.unwrap_or_else(|_| Err("no answer within a second".into()))
}
