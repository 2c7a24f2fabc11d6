//! Memory does not grow with what is sent.

use crate::support::{Server, example, lines};
use evenkeel_testkit::tempdir;
use std::process::Command;

/// The most memory that a process ever had, in KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_large_file_takes_little_memory() {
    let dir = tempdir();
    let server =
        Server::start(Command::new(example()).arg(dir.path()).args(["0", "idle"]), dir.path())
            .await;
    let client = server.client();
    let small = client.upload(lines("small", 10).as_bytes()).await.unwrap();
    let before = peak(server.process.id());
    let content = vec![b'x'; 63 << 20];
    let file = client.upload(&content).await.unwrap();
    let (status, read) = client.get(&format!("/v1/files/{file}/content")).await.unwrap();
    assert!(status == 200 && read == content, "it is what was sent");
    let grown = peak(server.process.id()) - before;
    assert!(grown < 24 << 10, "{grown} KiB for a file of 63 MiB");
    assert!(client.get(&format!("/v1/files/{small}")).await.is_ok());
}
