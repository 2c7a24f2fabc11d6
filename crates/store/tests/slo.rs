//! The account of availability on a real file.

use evenkeel_domain::slo::SloStore;
use evenkeel_domain::slo::testing::{clocks, delta, suite};
use evenkeel_store::SloFile;

#[tokio::test]
async fn a_file_does_what_every_store_must() {
    let dir = tempfile::tempdir().unwrap();
    suite(&SloFile::open(&dir.path().join("slo.db"), "host/1".into()).await.unwrap()).await;
}

#[tokio::test]
async fn what_was_added_is_there_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store/slo.db");
    let first = SloFile::open(&path, "host/1".into()).await.unwrap();
    let epoch = first.take(&clocks("a", 10, 60_000)).await.unwrap().epoch;
    let now = clocks("a", 2_010, 62_000);
    first.add(epoch, &now, 62_000, &[delta(1, 3, 2_000)]).await.unwrap();
    // Not closed: as a process that was killed leaves it.
    let second = SloFile::open(&path, "host/2".into()).await.unwrap();
    let taken = second.take(&clocks("a", 7_010, 1)).await.unwrap();
    assert_eq!((taken.epoch, taken.axis_ms, taken.gap_ms), (2, 67_000, 5_000));
    let kept = second.load().await.unwrap();
    assert_eq!((kept.len(), kept[0].total.good, kept[0].total.up_ms), (1, 3, 2_000));
    drop(first);
}

#[tokio::test]
async fn another_programs_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slo.db");
    std::fs::write(&path, "this is no account".repeat(300)).unwrap();
    let error = SloFile::open(&path, "host/1".into()).await.unwrap_err();
    assert!(error.to_string().contains("slo.db"), "{error}");
}
