//! Keys of clients and their limits.

mod batches;
mod cli;
mod limits;
mod turns;
mod who;

use crate::support::{Up, until};
use evenkeel_gateway::keys::hash;
use evenkeel_testkit::tempdir;
use serde_json::Value;
use std::path::Path;

/// The text of a key of this name.
fn text(id: &str) -> String {
    format!("ek_{id}_{}", "0123456789".repeat(5).split_at(43).0)
}

/// Its entry, with further lines.
fn entry(id: &str, more: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nhash = \"{}\"\n{more}\n", hash(&text(id)))
}

/// A header line that shows it.
fn bearer(id: &str) -> String {
    format!("authorization: Bearer {}\r\n", text(id))
}

/// Writes a key file whole: it is watched.
fn write_keys(dir: &Path, keys: &str) {
    let new = dir.join("keys.toml.written");
    std::fs::write(&new, keys).expect("keys can be written");
    std::fs::rename(new, dir.join("keys.toml")).expect("keys can be replaced");
}

/// With these keys in a file of their own.
async fn start(keys: &str, services: &str) -> Up {
    let dir = tempdir();
    write_keys(dir.path(), keys);
    Up::within(dir, "keys = \"keys.toml\"", services).await.ready().await
}

/// A key as the admin API shows it.
async fn shown(up: &Up, id: &str) -> Value {
    let snapshot = up.snapshot().await;
    let keys = snapshot["keys"].as_array().expect("keys are shown");
    keys.iter().find(|key| key["id"] == id).cloned().unwrap_or_else(|| panic!("{snapshot}"))
}

/// Its usage, once it is as wanted: some of it is counted behind the answer's last byte.
async fn usage(up: &Up, id: &str, so: impl Fn(&Value) -> bool) -> Value {
    until("usage as wanted", || async { Some(shown(up, id).await["usage"].clone()).filter(&so) })
        .await
}
