//! Starting the command: as whom, where, with what; and saying what helps if it fails.

use std::io::{self, ErrorKind, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::SigSet;
use nix::unistd::User;
use rustix::fs::{Access, access};
use rustix::process::{Gid, Uid};

use crate::wire::{Launch, RUN_VARIABLE};

/// The service manager takes what comes by these for the keeper's word.
const OF_THE_KEEPER: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A user, with everything that a log-in would give it.
struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: PathBuf,
    name: String,
    shell: PathBuf,
}

/// Starts the command in a process group of its own and answers with its pid. The
/// error is one line for a person.
///
/// It happens on a thread of its own: Linux keeps credentials and the signal mask per
/// thread, so that the thread can become the user (supplementary groups included,
/// which GPUs need) while the guard keeps the right to kill what it started.
pub(super) fn spawn(launch: &Launch, run: &str, output: PipeWriter) -> Result<u32, String> {
    let result = thread::scope(|scope| scope.spawn(|| on_thread(launch, run, output)).join());
    match result {
        Ok(Ok(pid)) => Ok(pid),
        Ok(Err(message)) => Err(format!("cannot start {}: {message}", launch.name)),
        Err(_) => Err(format!("cannot start {}: the guard failed", launch.name)),
    }
}

fn on_thread(launch: &Launch, run: &str, output: PipeWriter) -> Result<u32, String> {
    let identity = launch.user.as_deref().map(identity).transpose()?;
    if let Some(identity) = &identity {
        assume(identity)?;
    }
    if let Some(cwd) = &launch.cwd {
        check_cwd(cwd, launch)?;
    }
    let mut command = prepare(launch, run, identity.as_ref())?;
    let both = output.try_clone().map_err(|error| describe(&error, launch))?;
    command.stdin(Stdio::null()).stdout(both).stderr(output).process_group(0);
    // The guard blocks signals; the command must not inherit that.
    let _ = SigSet::empty().thread_set_mask();
    // Not `Child::wait`: the guard reaps everything, in one place.
    command.spawn().map(|child| child.id()).map_err(|error| describe(&error, launch))
}

fn prepare(launch: &Launch, run: &str, identity: Option<&Identity>) -> Result<Command, String> {
    let (program, args) = launch.command.split_first().ok_or("its `command` is empty")?;
    let mut command = Command::new(program);
    command.args(args);
    for name in OF_THE_KEEPER {
        command.env_remove(name);
    }
    if let Some(identity) = identity {
        command.env("HOME", &identity.home).env("SHELL", &identity.shell);
        command.env("USER", &identity.name).env("LOGNAME", &identity.name);
    }
    command.envs(&launch.env).env(RUN_VARIABLE, run);
    if let Some(cwd) = &launch.cwd {
        command.current_dir(cwd);
    }
    Ok(command)
}

fn identity(name: &str) -> Result<Identity, String> {
    let user = User::from_name(name)
        .map_err(|error| format!("the user \"{name}\" cannot be looked up: {error}"))?
        .ok_or_else(|| format!("there is no user \"{name}\" here; create it or change `user`"))?;
    let groups = std::ffi::CString::new(name)
        .ok()
        .and_then(|name| nix::unistd::getgrouplist(&name, user.gid).ok())
        .unwrap_or_else(|| vec![user.gid]);
    Ok(Identity {
        uid: Uid::from_raw(user.uid.as_raw()),
        gid: Gid::from_raw(user.gid.as_raw()),
        groups: groups.iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
        home: user.dir,
        name: user.name,
        shell: user.shell,
    })
}

/// Becomes the user, on this thread only. Groups first: afterwards it is not allowed.
fn assume(identity: &Identity) -> Result<(), String> {
    if rustix::process::getuid() == identity.uid && rustix::process::geteuid() == identity.uid {
        return Ok(());
    }
    rustix::thread::set_thread_groups(&identity.groups)
        .and_then(|()| rustix::thread::set_thread_res_gid(identity.gid, identity.gid, identity.gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(identity.uid, identity.uid, identity.uid))
        .map_err(|error| {
            let name = &identity.name;
            format!("it may not run as \"{name}\" ({error}); run Evenkeel as root or drop `user`")
        })
}

fn check_cwd(cwd: &Path, launch: &Launch) -> Result<(), String> {
    let shown = cwd.display();
    let who = launch.user.as_deref().unwrap_or("this user");
    match std::fs::metadata(cwd) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(format!("its `cwd` {shown} does not exist; create it or change `cwd`"))
        }
        Err(error) => Err(format!("its `cwd` {shown} cannot be used: {error}")),
        Ok(meta) if !meta.is_dir() => {
            Err(format!("its `cwd` {shown} is not a directory; change `cwd`"))
        }
        Ok(_) if access(cwd, Access::EXEC_OK).is_err() => {
            Err(format!("{who} may not enter its `cwd` {shown}; change its permissions or `cwd`"))
        }
        Ok(_) => Ok(()),
    }
}

fn describe(error: &io::Error, launch: &Launch) -> String {
    let program = launch.command.first().map_or("", String::as_str);
    let who = launch.user.as_deref().unwrap_or("this user");
    match error.kind() {
        ErrorKind::NotFound if !program.contains('/') => {
            format!("\"{program}\" is not in PATH; install it or give its full path in `command`")
        }
        // A relative path is looked up in `cwd`, which exists: that was checked.
        ErrorKind::NotFound if at_cwd(program, launch).exists() => format!(
            "{program} is there but its interpreter or loader is not; \
             look at its first line (`head -1`) or at `ldd`"
        ),
        ErrorKind::NotFound => {
            format!("{program} does not exist; install it or correct `command`")
        }
        ErrorKind::PermissionDenied => format!(
            "{who} may not execute \"{program}\"; `chmod +x` it, or check its file system's noexec"
        ),
        ErrorKind::ArgumentListTooLong => {
            "its command line and environment are too long; shorten them".to_owned()
        }
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory => format!(
            "the system is out of processes or memory ({error}); raise the limit (`ulimit -u`)"
        ),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => format!(
            "\"{program}\" is not a program for this machine; a script needs a first line \
             such as `#!/bin/sh`"
        ),
        _ => format!("\"{program}\": {error}"),
    }
}

fn at_cwd(program: &str, launch: &Launch) -> PathBuf {
    launch.cwd.as_deref().unwrap_or(Path::new("")).join(program)
}
