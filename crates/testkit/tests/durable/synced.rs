//! Accepted means on disk: the system calls of the server, in their order, say so.

use crate::support::{Server, example, lines};
use evenkeel_testkit::tempdir;
use std::collections::{HashMap, HashSet};
use std::process::Command;

/// What a line of the trace means here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A file of the store was written to.
    Wrote(String),
    /// A file or directory is on disk.
    Synced(String),
    /// A client was told that something was accepted.
    Accepted,
}

/// The path in `call(5</path>, …`.
fn path(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// Reads a trace of `strace -f -y`. A call that was interrupted by another thread's counts
/// when it returns.
fn steps(trace: &str) -> Vec<Step> {
    let mut pending: HashMap<&str, String> = HashMap::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let is = |names: &[&str]| names.iter().any(|name| call.starts_with(name));
        if is(&["fsync(", "fdatasync("]) {
            let path = path(call).unwrap_or_default();
            if call.contains("<unfinished") {
                pending.insert(thread, path);
            } else if call.ends_with("= 0") {
                steps.push(Step::Synced(path));
            }
        } else if is(&["<... fsync", "<... fdatasync"]) {
            let path = pending.remove(thread).unwrap_or_default();
            if call.ends_with("= 0") {
                steps.push(Step::Synced(path));
            }
        } else if is(&["write(", "writev(", "sendto(", "sendmsg("]) && call.contains("HTTP/1.1 200")
        {
            steps.push(Step::Accepted);
        } else if is(&["pwrite64(", "write(", "ftruncate("])
            && let Some(path) = path(call).filter(|path| path.contains("/store/"))
        {
            steps.push(Step::Wrote(path));
        }
    }
    steps
}

/// What was said to be accepted before it was on disk. The shared-memory file is not part of
/// what must survive: SQLite makes it anew.
fn broken_promises(steps: &[Step]) -> Vec<String> {
    let mut unsynced: HashSet<&str> = HashSet::new();
    let mut broken = Vec::new();
    let mut written = 0;
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Wrote(path) if path.ends_with("-shm") => {}
            Step::Wrote(path) => {
                written += 1;
                unsynced.insert(path);
            }
            Step::Synced(path) => {
                unsynced.remove(path.as_str());
            }
            Step::Accepted => {
                if written == 0 {
                    broken.push(format!("step {at}: nothing was written"));
                }
                broken.extend(unsynced.iter().map(|path| format!("step {at}: {path}")));
                written = 0;
            }
        }
    }
    broken
}

#[tokio::test]
async fn nothing_is_accepted_before_it_is_on_disk() {
    let dir = tempdir();
    let trace = dir.path().join("trace");
    let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg,pwrite64,ftruncate";
    let there = Command::new("strace").arg("-V").output();
    assert!(there.is_ok(), "strace is not installed: apt-get install strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "32", "-e", calls, "-o"]).arg(&trace).arg(example());
    // Nobody executes, so that whatever is written was asked for by the client.
    let server = Server::start(strace.arg(dir.path()).args(["0", "idle"]), dir.path()).await;
    let client = server.client();
    // A file of several transactions: 3 MiB.
    let large = lines("large", 20_000);
    assert!(large.len() > 2 << 20, "{} bytes", large.len());
    let mut accepted = 0;
    for content in [&lines("one", 3), &large, &lines("two", 5)] {
        let file = client.upload(content.as_bytes()).await.unwrap();
        let batch = client.order(&file).await.unwrap();
        let cancel = format!("/v1/batches/{batch}/cancel");
        let cancelled = client.send("POST", &cancel, "application/json", Vec::new()).await;
        assert_eq!(cancelled.unwrap().0, 200);
        let deleted = client.send("DELETE", &format!("/v1/files/{file}"), "", Vec::new()).await;
        assert_eq!(deleted.unwrap().0, 200);
        accepted += 4;
    }
    server.process.kill9();
    drop(server);
    let trace = std::fs::read_to_string(trace).unwrap();
    let steps = steps(&trace);
    let told = steps.iter().filter(|step| **step == Step::Accepted).count();
    assert_eq!(told, accepted, "every answer is in the trace");
    assert_eq!(broken_promises(&steps), Vec::<String>::new());
    let directory = steps.iter().position(|step| match step {
        Step::Synced(path) => path.ends_with("/store"),
        _ => false,
    });
    let first = steps.iter().position(|step| *step == Step::Accepted);
    assert!(directory.is_some() && directory < first, "the file's name is on disk too");
    // The check would notice: without its last sync before an answer, the trace is refused.
    for lost in
        steps.iter().enumerate().filter(|(at, _)| steps.get(at + 1) == Some(&Step::Accepted))
    {
        let without = steps.iter().enumerate().filter(|(at, _)| *at != lost.0);
        let without: Vec<Step> = without.map(|(_, step)| step.clone()).collect();
        assert_ne!(broken_promises(&without), Vec::<String>::new(), "{lost:?}");
    }
}

#[test]
fn a_trace_is_read_whatever_was_interrupted() {
    let trace = "\
7  pwrite64(5</d/store/evenkeel.db-wal>, \"x\"..., 1, 0) = 1
7  fdatasync(5</d/store/evenkeel.db-wal> <unfinished ...>
8  write(3</elsewhere>, \"x\"..., 1) = 1
8  writev(9<socket:[1]>, [{iov_base=\"HTTP/1.1 200 OK\\r\\n\"}], 1) = 9
7  <... fdatasync resumed>)                = 0
8  writev(9<socket:[1]>, [{iov_base=\"HTTP/1.1 200 OK\\r\\n\"}], 1) = 9
";
    let steps = steps(trace);
    let wal = || "/d/store/evenkeel.db-wal".to_owned();
    let expected = [Step::Wrote(wal()), Step::Accepted, Step::Synced(wal()), Step::Accepted];
    assert_eq!(steps, expected);
    assert_eq!(broken_promises(&steps).len(), 2, "one too early, one for nothing");
}
