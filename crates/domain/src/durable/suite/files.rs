//! Files.

use super::{NOW, Suite, about, owner};
use crate::durable::{FileId, FileQuery, Limit, Limits, PIECE, StoreError, Sweep};

pub(super) async fn are_read_back_piece_by_piece(store: &Suite) {
    let a = owner("a");
    let content: Vec<u8> = (0..3 * PIECE + 100).map(|n| (n % 251) as u8).collect();
    let id = store.begin_file(&a, None, NOW).await.expect("begun");
    store.append_file(&id, 0, &content[..2 * PIECE], NOW).await.expect("two pieces");
    let wrong = store.append_file(&id, 5, b"x", NOW).await;
    assert!(matches!(wrong, Err(StoreError::Invalid(_))), "a gap is refused: {wrong:?}");
    let rest = &content[2 * PIECE..];
    store.append_file(&id, 2 * PIECE as u64, rest, NOW).await.expect("the rest");
    let late = store.append_file(&id, content.len() as u64, b"x", NOW).await;
    assert!(matches!(late, Err(StoreError::Invalid(_))), "nothing follows a part: {late:?}");
    let file = store.commit_file(&id, &about("batch", None), NOW + 5).await.expect("made");
    assert_eq!((file.bytes, file.created_at), (content.len() as u64, NOW + 5));
    assert_eq!(store.file(&a, &id, NOW).await, Ok(file));
    assert!(store.read(&id).await == content, "what was written is read");
    for (from, max) in [(0, 1), (PIECE - 1, 2), (PIECE, PIECE), (3 * PIECE, 500), (7, 2 * PIECE)] {
        let mut read = Vec::new();
        while read.len() < max {
            let at = (from + read.len()) as u64;
            let part = store.read_file(&id, at, max - read.len()).await.expect("read");
            if part.is_empty() {
                break;
            }
            read.extend(part);
        }
        let to = (from + max).min(content.len());
        assert!(read == content[from..to], "{max} bytes from {from}");
    }
    assert_eq!(store.read_file(&id, 1 << 40, 10).await, Ok(Vec::new()), "past the end");
    let more = store.append_file(&id, content.len() as u64, b"x", NOW).await;
    assert!(more.is_err(), "a whole file never changes");
}

pub(super) async fn are_seen_by_their_owner_once_they_are_whole(store: &Suite) {
    let (a, b) = (owner("a"), owner("b"));
    let id = store.begin_file(&a, None, NOW).await.expect("begun");
    let unseen = Err(StoreError::no_file(&id));
    assert_eq!(store.file(&a, &id, NOW).await, unseen, "it is not whole");
    let empty = FileQuery { limit: 10, ..FileQuery::default() };
    assert_eq!(store.files(&a, &empty, NOW).await.map(|page| page.data.len()), Ok(0));
    store.commit_file(&id, &about("batch", None), NOW).await.expect("made");
    let twice = store.commit_file(&id, &about("other", None), NOW).await;
    assert!(twice.is_err(), "a file is made once");
    assert!(store.file(&a, &id, NOW).await.is_ok());
    assert_eq!(store.file(&b, &id, NOW).await, unseen);
    assert_eq!(store.files(&b, &empty, NOW).await.map(|page| page.data.len()), Ok(0));
    assert_eq!(store.delete_file(&b, &id, NOW).await, Err(StoreError::no_file(&id)));
    let unknown = FileId::new("file-none");
    assert_eq!(store.file(&a, &unknown, NOW).await, Err(StoreError::no_file(&unknown)));
    assert_eq!(store.read_file(&unknown, 0, 1).await, Err(StoreError::no_file(&unknown)));
}

pub(super) async fn are_listed_in_order(store: &Suite) {
    let a = owner("a");
    let mut ids = Vec::new();
    for n in 0..5 {
        let purpose = if n % 2 == 0 { "batch" } else { "vision" };
        ids.push(store.put(&a, b"x", &about(purpose, None)).await);
    }
    let list = async |query: FileQuery| {
        let page = store.files(&a, &query, NOW).await.expect("listed");
        let at = |id: &FileId| ids.iter().position(|other| other == id).expect("it was put");
        (page.data.iter().map(|file| at(&file.id)).collect::<Vec<_>>(), page.has_more)
    };
    let query = |limit| FileQuery { limit, ..FileQuery::default() };
    assert_eq!(list(query(10)).await, (vec![4, 3, 2, 1, 0], false));
    assert_eq!(list(query(5)).await, (vec![4, 3, 2, 1, 0], false));
    assert_eq!(list(query(2)).await, (vec![4, 3], true));
    let after = FileQuery { after: Some(ids[3].clone()), ..query(2) };
    assert_eq!(list(after).await, (vec![2, 1], true));
    let up = FileQuery { ascending: true, after: Some(ids[2].clone()), ..query(9) };
    assert_eq!(list(up).await, (vec![3, 4], false));
    let some = FileQuery { purpose: Some("vision".into()), ..query(9) };
    assert_eq!(list(some).await, (vec![3, 1], false));
    let unknown = FileQuery { after: Some(FileId::new("file-none")), ..query(9) };
    assert!(store.files(&a, &unknown, NOW).await.is_err());
}

pub(super) async fn go_when_deleted_or_expired(store: &Suite) {
    let a = owner("a");
    let content = vec![7; 3 * PIECE];
    let deleted = store.put(&a, &content, &about("batch", None)).await;
    let expired = store.put(&a, &content, &about("batch", Some(NOW + 10))).await;
    let stays = store.put(&a, &content, &about("batch", Some(NOW + 1000))).await;
    assert!(store.file(&a, &expired, NOW + 9).await.is_ok());
    store.delete_file(&a, &deleted, NOW).await.expect("deleted");
    let now = NOW + 10;
    for id in [&deleted, &expired] {
        assert_eq!(store.file(&a, id, now).await, Err(StoreError::no_file(id)));
        assert_eq!(store.delete_file(&a, id, now).await, Err(StoreError::no_file(id)));
    }
    let all = FileQuery { limit: 9, ..FileQuery::default() };
    assert_eq!(store.files(&a, &all, now).await.map(|page| page.data.len()), Ok(1));
    let fence = store.lease().await;
    let what = Sweep { uploads_before: 0, batches_before: 0, rows: 2 };
    let mut rounds = 0;
    while store.sweep(&fence, what, now).await.expect("swept").more {
        rounds += 1;
        assert!(rounds < 100, "sweeping comes to an end");
    }
    assert!(rounds > 0, "two rows at a time are not all of it");
    let used = store.used().await.expect("counted");
    assert_eq!((used.files, used.bytes), (1, content.len() as u64));
    assert!(store.read(&stays).await == content);
    assert!(store.read_file(&deleted, 0, 1).await.is_err(), "its content is gone");
}

pub(super) async fn that_are_given_up_leave_nothing(store: &Suite) {
    let a = owner("a");
    let left = store.begin_file(&a, None, NOW).await.expect("begun");
    store.append_file(&left, 0, &vec![1; PIECE], NOW).await.expect("added");
    let given_up = store.begin_file(&a, None, NOW).await.expect("begun");
    store.append_file(&given_up, 0, b"x", NOW).await.expect("added");
    store.abandon_file(&given_up).await.expect("given up");
    assert!(store.commit_file(&given_up, &about("batch", None), NOW).await.is_err());
    let whole = store.put(&a, b"whole", &about("batch", None)).await;
    store.abandon_file(&whole).await.expect("nothing happens");
    assert!(store.file(&a, &whole, NOW).await.is_ok(), "what is whole is not given up");
    let fence = store.lease().await;
    let young = Sweep { uploads_before: NOW, batches_before: 0, rows: 100 };
    store.sweep(&fence, young, NOW).await.expect("swept");
    assert!(store.append_file(&left, PIECE as u64, b"y", NOW).await.is_ok(), "it is young");
    let old = Sweep { uploads_before: NOW + 1, ..young };
    store.sweep(&fence, old, NOW).await.expect("swept");
    assert!(store.commit_file(&left, &about("batch", None), NOW).await.is_err());
    assert_eq!(store.used().await.map(|used| (used.files, used.bytes)), Ok((1, 5)));
}

pub(super) async fn stay_within_the_limits(store: &Suite, limits: Limits) {
    let a = owner("a");
    let full = |limit, max| Err(StoreError::Full { limit, max });
    let first = store.begin_file(&a, None, NOW).await.expect("begun");
    let over = vec![0; limits.max_bytes as usize + 1];
    let refused = store.append_file(&first, 0, &over, NOW).await;
    assert_eq!(refused, full(Limit::Bytes, limits.max_bytes));
    assert_eq!(store.used().await.map(|used| used.bytes), Ok(0), "nothing is half taken");
    store.append_file(&first, 0, &over[1..], NOW).await.expect("exactly so much fits");
    let refused = store.begin_file(&a, None, NOW).await;
    assert_eq!(refused, Err(StoreError::Full { limit: Limit::Bytes, max: limits.max_bytes }));
    store.abandon_file(&first).await.expect("given up");
    let fence = store.lease().await;
    let what = Sweep { uploads_before: 0, batches_before: 0, rows: 100 };
    store.sweep(&fence, what, NOW).await.expect("swept");
    store.put(&a, b"1", &about("batch", None)).await;
    store.put(&a, b"2", &about("batch", None)).await;
    let refused = store.begin_file(&a, None, NOW).await;
    assert_eq!(refused, Err(StoreError::Full { limit: Limit::Files, max: limits.max_files }));
    let output = store.output(&fence, &a, &over).await;
    assert!(store.commit_file(&output, &about("batch_output", None), NOW).await.is_ok());
}
