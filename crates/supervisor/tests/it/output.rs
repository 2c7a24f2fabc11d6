//! Output: kept, rotated, and never in the command's way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use evenkeel_domain::orchestrator::{InstanceSpec, LogSettings};
use evenkeel_supervisor::logs::{log_path, tail};

use crate::support::{Bench, eventually, sh};

#[tokio::test]
async fn output_is_rotated_and_its_end_is_kept() {
    let bench = Bench::new();
    let log = LogSettings { max_bytes: 100_000, files: 3 };
    let script = "seq 1 100000; echo end >&2; exec sleep 1000";
    bench.run(InstanceSpec { log, ..sh(script) });
    eventually("all is printed", || bench.log("a-1").ends_with("\nend\n")).await;
    let logs = bench.dir.path().join("logs");
    let sizes: Vec<u64> = fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|&size| size <= 100_000), "{sizes:?}");
    let lines = tail(&log_path(&logs, "a-1"), 10_001).unwrap();
    let want: Vec<String> = (90_001..=100_000).map(|i| i.to_string()).collect();
    assert_eq!(lines[..10_000], want);
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_full_disk_stops_neither_command_nor_stop_and_is_owned_up_to() {
    let bench = Bench::new();
    let path = log_path(&bench.dir.path().join("logs"), "a-1");
    symlink("/dev/full", &path).unwrap();
    let (done, done2) = (bench.path("done"), bench.path("done2"));
    let script = format!(
        "seq 1 300000; touch {done}; while [ ! -e {done2} ]; do sleep 0.05; done; \
         echo works again; exec sleep 1000"
    );
    bench.run(sh(&script));
    // Far more than pipes and queues can hold.
    eventually("it goes on", || Path::new(&done).exists()).await;
    fs::remove_file(&path).unwrap();
    eventually("it owns up", || bench.log("a-1").contains(" dropped: ")).await;
    fs::write(&done2, "").unwrap();
    eventually("it works again", || bench.log("a-1").ends_with("works again\n")).await;
    let log = bench.log("a-1");
    let dropped: u64 = log
        .lines()
        .filter(|line| line.contains(" dropped: "))
        .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
        .sum();
    let kept = log.lines().filter(|line| line.parse::<u64>().is_ok()).count() as u64;
    assert_eq!(dropped + kept, 300_000, "{log}");
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_line_without_an_end_is_kept_and_does_not_run_into_the_next_start() {
    let bench = Bench::new();
    bench.run(sh("printf 'no end'; exit 1"));
    eventually("it is restarted", || bench.log("a-1").contains("incarnation 2")).await;
    let log = bench.log("a-1");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[1], "no end");
    assert!(lines[2].starts_with("--- exited with code 1") && lines[3].starts_with("--- started"));
    bench.supervisor.shutdown(Duration::from_secs(5)).await;
}
