//! The journal on a real file.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use evenkeel_domain::incident::testing::{incident, record, suite};
use evenkeel_domain::incident::{Journal, JournalError, Phase};
use evenkeel_store::{JournalFile, Tampered, verify};
use sqlx::{ConnectOptions, Connection};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn at(dir: &TempDir) -> PathBuf {
    dir.path().join("store/journal.db")
}

async fn written(dir: &TempDir, rows: u64) -> JournalFile {
    let journal = JournalFile::open(&at(dir), "host/1".into()).await.unwrap();
    let epoch = journal.take(1).await.unwrap();
    for row in 0..rows {
        let phase = if row % 2 == 1 { Phase::Resolved } else { Phase::Confirmed };
        let id = format!("1-{}", row / 2);
        journal.append(epoch, &record("row", incident(&id, "chat-0", phase), row)).await.unwrap();
    }
    journal
}

/// Does what somebody else might do to the file.
async fn tamper(path: &Path, sql: &'static str) {
    let connect = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = connect.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_file_does_what_every_journal_must() {
    let dir = tempfile::tempdir().unwrap();
    suite(&JournalFile::open(&at(&dir), "host/1".into()).await.unwrap()).await;
    verify(&at(&dir), None).await.unwrap();
}

#[tokio::test]
async fn whoever_opens_it_next_goes_on_and_fences_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let first = written(&dir, 1).await;
    let second = JournalFile::open(&at(&dir), "host/2".into()).await.unwrap();
    let epoch = second.take(9).await.unwrap();
    let (open, _) = second.load().await.unwrap();
    assert_eq!((open.len(), epoch), (1, 2));
    let late = record("late", incident("1-0", "chat-0", Phase::Acting), 9);
    assert_eq!(first.append(1, &late).await, Err(JournalError::Fenced));
    second.append(epoch, &late).await.unwrap();
    let (_, rows) = second.incident("1-0").await.unwrap().unwrap();
    let writers: Vec<&str> = rows.iter().map(|row| row.writer.as_str()).collect();
    assert_eq!(writers, ["host/1", "host/2"]);
}

#[tokio::test]
async fn what_is_changed_added_or_removed_shows() {
    for (sql, seq) in [
        ("UPDATE row SET text = 'nothing was done' WHERE seq = 4", 4),
        ("UPDATE row SET at = at + 1 WHERE seq = 4", 4),
        ("UPDATE row SET writer = 'host/9' WHERE seq = 4", 4),
        ("UPDATE row SET epoch = 7 WHERE seq = 4", 4),
        ("UPDATE row SET incident_digest = NULL WHERE seq = 4", 4),
        ("DELETE FROM row WHERE seq = 4", 4),
        ("DELETE FROM row WHERE seq = 11", 11),
        ("DELETE FROM row WHERE seq = 1", 1),
        (
            "INSERT INTO row SELECT 12, at, incident, kind, text, incident_digest, standing_digest,
          writer, epoch, hash FROM row WHERE seq = 4",
            12,
        ),
        ("UPDATE incident SET state = replace(state, 'hung', 'lying') WHERE id = '1-1'", 5),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(written(&dir, 10).await);
        let before = verify(&at(&dir), None).await.unwrap();
        assert_eq!((before.rows, before.head), (11, 11));
        tamper(&at(&dir), sql).await;
        match verify(&at(&dir), None).await {
            Err(Tampered::Broken { seq: found, .. }) => assert_eq!(found, seq, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_noted_head_proves_that_even_a_chain_made_anew_is_not_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let journal = written(&dir, 4).await;
    let noted = verify(&at(&dir), None).await.unwrap();
    let epoch = journal.take(9).await.unwrap();
    assert_eq!(epoch, 2);
    verify(&at(&dir), Some((noted.head, &noted.hash))).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    drop(written(&other, 6).await);
    verify(&at(&other), None).await.unwrap();
    let forged = "0".repeat(64);
    let found = verify(&at(&other), Some((noted.head, &forged))).await;
    assert!(matches!(found, Err(Tampered::Broken { .. })), "{found:?}");
}

#[tokio::test]
async fn old_rows_go_and_the_rest_stays_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let journal = written(&dir, 40).await;
    assert_eq!(journal.prune(1, 10, 99).await.unwrap(), 31);
    let chain = verify(&at(&dir), None).await.unwrap();
    assert_eq!((chain.rows, chain.pruned), (11, 31));
    assert_eq!(journal.incidents(99).await.unwrap().len(), 5);
    assert_eq!(journal.prune(1, 10, 99).await.unwrap(), 1, "what pruning wrote counts, too");
    assert_eq!(journal.prune(7, 10, 99).await, Err(JournalError::Fenced));
    // An open incident keeps its rows, up to a point.
    let epoch = 1;
    let open = incident("open", "chat-1", Phase::Confirmed);
    journal.append(epoch, &record("row", open, 1)).await.unwrap();
    for row in 0..18 {
        let over = incident(&format!("2-{row}"), "chat-0", Phase::Resolved);
        journal.append(epoch, &record("row", over, row)).await.unwrap();
    }
    journal.prune(epoch, 10, 99).await.unwrap();
    assert!(!journal.incident("open").await.unwrap().unwrap().1.is_empty());
    verify(&at(&dir), None).await.unwrap();
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    tamper_new(&path).await;
    assert!(JournalFile::open(&path, "x".into()).await.is_err());
    assert!(verify(&path, None).await.is_err());
    assert!(verify(&dir.path().join("none.db"), None).await.is_err());
}

async fn tamper_new(path: &Path) {
    let connect = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = connect.connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
