//! Commands that end by themselves.

use super::{EVENKEEL, SOON};
use std::process::Output;

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the binary to its end.
pub(crate) async fn evenkeel(args: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(EVENKEEL);
    let running = command.args(args).env_remove("EVENKEEL_LOG").kill_on_drop(true).output();
    let ended: Output = tokio::time::timeout(SOON, running)
        .await
        .unwrap_or_else(|_| panic!("{args:?} did not end"))
        .expect("the binary runs");
    Ran {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}
