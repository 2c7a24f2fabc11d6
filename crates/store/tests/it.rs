//! The store on a real file.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use evenkeel_domain::durable::{
    Answer, BatchStore, FileAbout, FileId, FileStore, Limits, LineResult, NewBatch, Owner, PIECE,
    StoreError, Tokens, WorkStore, suite,
};
use evenkeel_store::{Key, OpenError, Options, Store};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000_000;
const ROOMY: Limits = Limits { max_bytes: 1 << 30, max_files: 100, max_open_batches: 100 };

fn key(byte: &str) -> Option<Key> {
    Some(Key::parse(&byte.repeat(32)).expect("a key"))
}

fn options(dir: &Path, key: Option<Key>) -> Options {
    let path = dir.join("data/evenkeel.db");
    Options { path, key, limits: ROOMY, writer: "test".into() }
}

async fn store(dir: &TempDir, key: Option<Key>) -> Store {
    Store::open(options(dir.path(), key)).await.expect("the store opens")
}

async fn put(store: &Store, content: &[u8]) -> FileId {
    let owner = Owner::new("a").unwrap();
    let about = FileAbout { filename: "f".into(), purpose: "batch".into(), expires_at: None };
    let id = store.begin_file(&owner, None, NOW).await.unwrap();
    store.append_file(&id, 0, content, NOW).await.unwrap();
    store.commit_file(&id, &about, NOW).await.unwrap();
    id
}

/// Everything that lies on the disk.
fn on_disk(dir: &TempDir) -> Vec<u8> {
    let files = std::fs::read_dir(dir.path().join("data")).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(all: &[u8], what: &[u8]) -> bool {
    all.windows(what.len()).any(|part| part == what)
}

async fn suite_with(key: Option<&'static str>) {
    let dirs = std::sync::Mutex::new(Vec::new());
    suite::run(|limits| {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_owned();
        dirs.lock().unwrap().push(dir);
        let key = key.map(|byte| Key::parse(&byte.repeat(32)).unwrap());
        async move {
            let options = Options { limits, ..options(&at, key) };
            Arc::new(Store::open(options).await.unwrap()) as Arc<dyn BatchStore>
        }
    })
    .await;
}

#[tokio::test]
async fn a_plain_store_is_a_store() {
    suite_with(None).await;
}

#[tokio::test]
async fn a_sealed_store_is_a_store() {
    suite_with(Some("ab")).await;
}

#[tokio::test]
async fn content_and_answers_are_sealed() {
    let secret = b"attack at dawn, as agreed";
    for (sealed, key) in [(true, key("01")), (false, None)] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, key).await;
        let input = put(&store, secret).await;
        let owner = Owner::new("a").unwrap();
        let order = NewBatch {
            owner,
            endpoint: "/v1/echo".into(),
            input: input.clone(),
            completion_window: "24h".into(),
            metadata: None,
            output_expires_after: None,
            created_at: NOW,
            expires_at: NOW + 1000,
        };
        let batch = store.create_batch(&order).await.unwrap();
        let fence = store.acquire("one", 1000, NOW).await.unwrap().unwrap();
        store.start_batch(&fence, &batch.id, 1, None, NOW).await.unwrap();
        let answered = b"retreat at dusk, as feared";
        let result = LineResult::Response { status: 200, body: answered.to_vec() };
        let tokens = Tokens::default();
        let answer = Answer { index: 0, request_id: "r".into(), result, tokens };
        let kept = [(batch.id.clone(), answer.clone())];
        assert_eq!(store.record(&fence, &kept).await, Ok(1));
        assert_eq!(store.answers(&batch.id, 0, 100).await, Ok(vec![answer]));
        assert_eq!(store.read_file(&input, 0, 100).await.unwrap(), secret);
        let disk = on_disk(&dir);
        assert_eq!(holds(&disk, secret), !sealed, "the content");
        assert_eq!(holds(&disk, answered), !sealed, "the answer");
    }
}

#[tokio::test]
async fn a_store_is_known_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let plain = put(&store(&dir, None).await, b"plain").await;
    let sealed = put(&store(&dir, key("01")).await, b"sealed").await;
    let missing = Store::open(options(dir.path(), None)).await.unwrap_err();
    assert!(matches!(missing, OpenError::KeyMissing { .. }), "{missing}");
    let wrong = Store::open(options(dir.path(), key("02"))).await.unwrap_err();
    assert!(matches!(wrong, OpenError::KeyWrong { .. }), "{wrong}");
    let store = store(&dir, key("01")).await;
    assert_eq!(store.read_file(&plain, 0, 9).await.unwrap(), b"plain");
    assert_eq!(store.read_file(&sealed, 0, 9).await.unwrap(), b"sealed");
    assert!(!format!("{store:?}").contains("[1, 1"), "the key is not shown");
}

#[tokio::test]
async fn what_is_kept_is_there_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![5; 3 * PIECE + 1];
    let id = put(&store(&dir, key("01")).await, &content).await;
    let again = store(&dir, key("01")).await;
    let owner = Owner::new("a").unwrap();
    assert_eq!(again.file(&owner, &id, NOW).await.unwrap().bytes, content.len() as u64);
    assert!(again.read_file(&id, 0, content.len()).await.unwrap() == content);
}

#[tokio::test]
async fn two_processes_share_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (store(&dir, None).await, store(&dir, None).await);
    let ids = tokio::join!(async { [put(&one, b"1").await, put(&one, b"2").await] }, async {
        [put(&two, b"3").await, put(&two, b"4").await]
    },);
    for id in ids.0.iter().chain(&ids.1) {
        assert_eq!(one.read_file(id, 0, 9).await, two.read_file(id, 0, 9).await);
    }
    let held = one.acquire("one", 1000, NOW).await.unwrap();
    assert!(held.is_some());
    assert_eq!(two.acquire("two", 1000, NOW + 1).await, Ok(None));
}

#[tokio::test]
async fn who_leaves_in_mid_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, None).await;
    let owner = Owner::new("a").unwrap();
    let id = store.begin_file(&owner, None, NOW).await.unwrap();
    let data = vec![1; 64 * PIECE];
    for polls in 1..40 {
        let mut call = store.append_file(&id, 0, &data, NOW);
        for _ in 0..polls {
            let once = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())
            });
            assert!(!once.await, "64 pieces are not written in {polls} polls");
            tokio::task::yield_now().await;
        }
        drop(call);
        let used = store.used().await.unwrap();
        assert_eq!(used.bytes, 0, "after {polls} polls");
    }
    store.append_file(&id, 0, &data, NOW).await.expect("the store goes on");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, None).await;
    let owner = Owner::new("a").unwrap();
    let id = store.begin_file(&owner, None, NOW).await.unwrap();
    store.append_file(&id, 0, &vec![1; PIECE], NOW).await.unwrap();
    store.limit_pages(64).await;
    let refused = store.append_file(&id, PIECE as u64, &vec![1; 64 * PIECE], NOW).await;
    assert_eq!(refused, Err(StoreError::NoSpace));
    assert_eq!(store.used().await.unwrap().bytes, PIECE as u64);
    store.limit_pages(1 << 20).await;
    store.append_file(&id, PIECE as u64, &vec![1; 64 * PIECE], NOW).await.expect("room again");
}

#[tokio::test]
async fn a_damaged_file_is_named_with_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data/evenkeel.db");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = Store::open(options(dir.path(), None)).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("evenkeel.db") && text.contains("restore it from a backup"), "{text}");
}

#[tokio::test]
async fn damage_found_later_is_said_too() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir, key("01")).await;
    let id = put(&first, &vec![7; 40 * PIECE]).await;
    first.close().await;
    let path = dir.path().join("data/evenkeel.db");
    let opened = store(&dir, key("01")).await;
    assert!(opened.read_file(&id, 0, 10).await.is_ok(), "it is whole");
    opened.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 4096].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let opened = store(&dir, key("01")).await;
    let mut found = Vec::new();
    for piece in 0..40 {
        found.push(opened.read_file(&id, piece * PIECE as u64, PIECE).await);
    }
    let damaged = found.iter().filter(|read| matches!(read, Err(StoreError::Corrupt(_))));
    assert!(damaged.count() > 0, "what was changed is noticed");
    let lie = found.iter().flatten().any(|read| read.iter().any(|byte| *byte != 7));
    assert!(!lie, "nothing else than what was written is ever returned");
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    store(&dir, None).await.close().await;
    let path = dir.path().join("data/evenkeel.db");
    for (at, value, newer) in [(60, 99_u32, true), (68, 0x1234_5678, false)] {
        let mut bytes = std::fs::read(&path).unwrap();
        let sound = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = Store::open(options(dir.path(), None)).await.unwrap_err();
        match error {
            OpenError::Newer { found: 99, .. } => assert!(newer),
            OpenError::Foreign { .. } => assert!(!newer),
            other => panic!("{other}"),
        }
        std::fs::write(&path, sound).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    put(&store(&dir, None).await, b"x").await;
    for file in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", file.path());
    }
}

/// Below 3.51.3 a checkpoint that meets a writer can corrupt the file
/// (<https://sqlite.org/wal.html#walresetbug>); two processes share it during an upgrade.
#[tokio::test]
async fn the_library_has_no_known_way_to_corrupt_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let version = store(&dir, None).await.library().await;
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}
