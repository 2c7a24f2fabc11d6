//! The lease.

use super::{NOW, Suite, TTL, about, answer};
use crate::durable::{End, Finish, StoreError, Sweep};

pub(super) async fn has_one_holder(store: &Suite) {
    let one = store.lease().await;
    let ask = async |who: &str, at| store.acquire(who, TTL, at).await.expect("it can be asked for");
    assert_eq!(ask("two", NOW + TTL - 1).await, None);
    assert_eq!(ask("one", NOW + 1).await, None, "not even the same name gets it twice");
    store.renew(&one, TTL, NOW + 5).await.expect("the holder keeps it");
    assert_eq!(ask("two", NOW + TTL).await, None);
    let two = ask("two", NOW + 5 + TTL).await.expect("it has run out");
    assert!(two.epoch > one.epoch, "the epoch rises");
    assert_eq!(store.renew(&one, TTL, NOW).await, Err(StoreError::Fenced));
    assert_eq!(store.release(&one).await, Err(StoreError::Fenced));
    store.release(&two).await.expect("it is given back");
    let three = ask("one", NOW + 6).await.expect("it is free at once");
    assert!(three.epoch > two.epoch, "the epoch rises when the lease was given back");
    assert_eq!(store.renew(&two, TTL, NOW).await, Err(StoreError::Fenced));
    assert_eq!(ask("two", NOW + 6 - TTL).await, None, "clocks differ a little");
    let four = ask("two", NOW - 100 * TTL).await.expect("a lease from the future holds nobody up");
    assert!(four.epoch > three.epoch);
}

pub(super) async fn that_is_lost_stops_every_write(store: &Suite) {
    let stale = store.lease().await;
    let batch = store.started(&stale).await;
    let fresh = store.batch_of("b").await;
    let half = store.output(&stale, &batch.order.owner, b"half").await;
    let late = NOW + TTL;
    let fence = store.acquire("two", TTL, late).await.expect("asked").expect("it has run out");
    let fenced = Err(StoreError::Fenced);
    let owner = &batch.order.owner;
    let kept = [(batch.id.clone(), answer(0, 200, "{}"))];
    assert_eq!(store.record(&stale, &kept).await, Err(StoreError::Fenced));
    assert_eq!(store.start_batch(&stale, &fresh.id, 1, None, late).await, fenced);
    assert_eq!(store.fail_batch(&stale, &fresh.id, &[], late).await, fenced);
    assert_eq!(store.finalize_batch(&stale, &batch.id, late).await, fenced);
    assert_eq!(store.begin_file(owner, Some(&stale), late).await, Err(StoreError::Fenced));
    let what = Sweep { uploads_before: 0, batches_before: 0, rows: 9 };
    assert_eq!(store.sweep(&stale, what, late).await, Err(StoreError::Fenced));
    assert_eq!(store.answered(&batch.id).await, Ok(Vec::new()), "nothing was kept");
    store.finalize_batch(&fence, &batch.id, late).await.expect("the holder may");
    let named = Some((half.clone(), about("batch_output", None)));
    let finish = Finish { end: End::Expired, output: named, errors: None, unanswered: 3 };
    assert_eq!(store.finish_batch(&stale, &batch.id, &finish, late).await, fenced);
    assert_eq!(store.file(owner, &half, late).await, Err(StoreError::no_file(&half)));
    store.sweep(&fence, what, late).await.expect("swept");
    assert!(
        store.append_file(&half, 4, b"x", late).await.is_err(),
        "outputs of an earlier holder are given up at once"
    );
}
