//! Alerts on a real file.

use evenkeel_domain::alert::testing::suite;
use evenkeel_domain::alert::{AlertStore, Doc, Table};
use evenkeel_store::AlertFile;

#[tokio::test]
async fn a_file_does_what_every_store_must() {
    let dir = tempfile::tempdir().unwrap();
    suite(&AlertFile::open(&dir.path().join("alerts.db"), "host/1".into()).await.unwrap()).await;
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store/alerts.db");
    let first = AlertFile::open(&path, "host/1".into()).await.unwrap();
    let epoch = first.take().await.unwrap();
    let doc = Doc { table: Table::Message, key: "1".into(), body: Some("{}".into()) };
    assert!(first.write(epoch, std::slice::from_ref(&doc), &[]).await.unwrap());
    // Not closed: as a process that was killed leaves it.
    let second = AlertFile::open(&path, "host/2".into()).await.unwrap();
    assert_eq!(second.take().await.unwrap(), epoch + 1);
    assert_eq!(second.load().await.unwrap(), [doc]);
    drop(first);
}

#[tokio::test]
async fn another_programs_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.db");
    std::fs::write(&path, "these are no alerts".repeat(300)).unwrap();
    let error = AlertFile::open(&path, "host/1".into()).await.unwrap_err();
    assert!(error.to_string().contains("alerts.db"), "{error}");
}
