//! Batches and answers.

use super::{NOW, Suite, TTL, about, answer, owner};
use crate::durable::{
    Answer, BatchStatus, Counts, End, Finish, InputError, Limit, Limits, LineResult, PIECE,
    StoreError, Sweep, Tokens,
};

const NOTHING: Finish = Finish { end: End::Cancelled, output: None, errors: None, unanswered: 0 };

pub(super) async fn a_batch_is_made_of_a_file_of_its_owner(store: &Suite) {
    let (a, b) = (owner("a"), owner("b"));
    let input = store.put(&a, b"{}", &about("batch", None)).await;
    let other = store.put(&a, b"{}", &about("vision", None)).await;
    let expired = store.put(&a, b"{}", &about("batch", Some(NOW))).await;
    for order in [Suite::order(&b, &input), Suite::order(&a, &other), Suite::order(&a, &expired)] {
        let refused = store.create_batch(&order).await;
        assert_eq!(refused, Err(StoreError::no_file(&order.input)));
    }
    let order = Suite::order(&a, &input);
    let first = store.create_batch(&order).await.expect("made");
    assert_eq!((first.status, &first.order), (BatchStatus::Validating, &order));
    assert_eq!((first.times.created, first.times.expires), (NOW, NOW + 1000));
    assert_eq!(store.batch(&a, &first.id).await, Ok(first.clone()));
    assert_eq!(store.batch(&b, &first.id).await, Err(StoreError::no_batch(&first.id)));
    let second = store.create_batch(&order).await.expect("made");
    let third = store.create_batch(&order).await.expect("made");
    let page = store.batches(&a, None, 2).await.expect("listed");
    assert_eq!((page.data, page.has_more), (vec![third, second.clone()], true));
    let page = store.batches(&a, Some(&second.id), 2).await.expect("listed");
    assert_eq!((page.data, page.has_more), (vec![first.clone()], false));
    assert!(store.batches(&b, None, 9).await.expect("listed").data.is_empty());
    assert!(store.batches(&b, Some(&first.id), 9).await.is_err());
    let open = store.open_batches().await.expect("listed");
    assert_eq!(open.first().map(|batch| &batch.id), Some(&first.id), "oldest first");
    assert_eq!(open.len(), 3);
}

pub(super) async fn a_batch_runs_to_its_end(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    let seen = store.look(&batch).await;
    assert_eq!((seen.status, seen.model.as_deref()), (BatchStatus::InProgress, Some("m")));
    let used = store.used().await.expect("counted");
    for (status, count) in BatchStatus::ALL.into_iter().zip(used.batches) {
        assert_eq!(count, u64::from(status == BatchStatus::InProgress), "{status:?}");
    }
    assert_eq!((seen.counts.total, seen.times.in_progress), (3, Some(NOW + 1)));
    let lost = LineResult::Error { code: "lost".into(), message: "It was lost.".into() };
    let none = Tokens::default();
    let lost = Answer { index: 2, request_id: "req-2".into(), result: lost, tokens: none };
    let kept = [answer(0, 200, "{}"), answer(1, 400, "{}"), lost];
    assert_eq!(store.keep(&fence, &batch.id, &kept).await, 3);
    let seen = store.look(&batch).await;
    assert_eq!(seen.counts, Counts { total: 3, completed: 1, failed: 2 });
    assert_eq!(seen.tokens, Tokens { input: 4, cached: 2, output: 6, reasoning: 2 });
    assert_eq!(store.answers(&batch.id, 0, 1 << 20).await, Ok(kept.to_vec()));
    store.finalize_batch(&fence, &batch.id, NOW + 2).await.expect("finalizing");
    let owner = &batch.order.owner;
    let output = store.output(&fence, owner, b"good").await;
    let errors = store.output(&fence, owner, b"bad").await;
    assert!(store.file(owner, &output, NOW).await.is_err(), "not before the batch is over");
    let finish = Finish {
        end: End::Completed,
        output: Some((output.clone(), about("batch_output", Some(NOW + 99)))),
        errors: Some((errors.clone(), about("batch_output", None))),
        unanswered: 0,
    };
    store.finish_batch(&fence, &batch.id, &finish, NOW + 3).await.expect("over");
    let seen = store.look(&batch).await;
    assert_eq!((seen.status, seen.times.completed), (BatchStatus::Completed, Some(NOW + 3)));
    assert_eq!((seen.output_file, seen.error_file), (Some(output.clone()), Some(errors)));
    let file = store.file(owner, &output, NOW).await.expect("it is there");
    assert_eq!((file.about, file.bytes), (about("batch_output", Some(NOW + 99)), 4));
    assert!(store.open_batches().await.expect("listed").is_empty());
}

pub(super) async fn a_line_is_answered_once(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    let twice = [answer(1, 200, "first"), answer(1, 200, "second")];
    assert_eq!(store.keep(&fence, &batch.id, &twice).await, 1, "within one call");
    assert_eq!(store.keep(&fence, &batch.id, &[answer(1, 500, "third")]).await, 0);
    let mixed = [answer(1, 200, "fourth"), answer(0, 200, "other")];
    assert_eq!(store.keep(&fence, &batch.id, &mixed).await, 1, "the rest is kept");
    let kept = vec![answer(0, 200, "other"), answer(1, 200, "first")];
    assert_eq!(store.answers(&batch.id, 0, 1 << 20).await, Ok(kept));
    let counts = store.look(&batch).await.counts;
    assert_eq!(counts, Counts { total: 3, completed: 2, failed: 0 }, "counted once too");
}

pub(super) async fn answers_come_in_order_and_in_parts(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    let big = "x".repeat(3 * PIECE);
    let kept = [answer(900, 200, &big), answer(7, 200, &big), answer(8, 200, "small")];
    assert_eq!(store.keep(&fence, &batch.id, &kept).await, 3);
    assert_eq!(store.answered(&batch.id).await, Ok(vec![7, 8, 900]));
    let mut from = 0;
    let mut seen = Vec::new();
    loop {
        let part = store.answers(&batch.id, from, PIECE).await.expect("read");
        let Some(last) = part.last() else { break };
        assert!(part.len() < 3, "a part is bounded");
        from = last.index + 1;
        seen.extend(part);
    }
    assert_eq!(seen, [kept[1].clone(), kept[2].clone(), kept[0].clone()]);
}

pub(super) async fn no_status_is_reached_from_a_wrong_one(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.batch_of("a").await;
    let (id, now) = (&batch.id, NOW + 7);
    let conflict = |status| Err(StoreError::conflict(id, status));
    let validating = conflict(BatchStatus::Validating);
    assert_eq!(store.finalize_batch(&fence, id, now).await, validating);
    assert_eq!(store.finish_batch(&fence, id, &NOTHING, now).await, validating);
    assert_eq!(store.keep(&fence, id, &[answer(0, 200, "{}")]).await, 0, "it has no lines yet");
    let wrong = InputError {
        code: "invalid_json_line".into(),
        message: "This line is not JSON.".into(),
        param: Some("body".into()),
        line: Some(4),
    };
    store.fail_batch(&fence, id, std::slice::from_ref(&wrong), now).await.expect("failed");
    let seen = store.look(&batch).await;
    assert_eq!((seen.status, seen.errors), (BatchStatus::Failed, vec![wrong]));
    assert_eq!(seen.times.failed, Some(now));
    let failed = conflict(BatchStatus::Failed);
    assert_eq!(store.start_batch(&fence, id, 1, None, now).await, failed);
    let refused = store.cancel_batch(&batch.order.owner, id, now).await;
    assert_eq!(refused, Err(StoreError::conflict(id, BatchStatus::Failed)));
}

pub(super) async fn a_batch_is_cancelled_by_its_owner(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    let (a, b) = (&batch.order.owner, owner("b"));
    let stranger = store.cancel_batch(&b, &batch.id, NOW).await;
    assert_eq!(stranger, Err(StoreError::no_batch(&batch.id)));
    let seen = store.cancel_batch(a, &batch.id, NOW + 2).await.expect("cancelling");
    assert_eq!((seen.status, seen.times.cancelling), (BatchStatus::Cancelling, Some(NOW + 2)));
    let again = store.cancel_batch(a, &batch.id, NOW + 3).await.expect("nothing happens");
    assert_eq!(again, seen);
    assert_eq!(store.keep(&fence, &batch.id, &[answer(0, 200, "{}")]).await, 1, "it may end");
    let finish = Finish { unanswered: 2, ..NOTHING };
    store.finish_batch(&fence, &batch.id, &finish, NOW + 4).await.expect("over");
    let seen = store.look(&batch).await;
    assert_eq!((seen.status, seen.times.cancelled), (BatchStatus::Cancelled, Some(NOW + 4)));
    assert_eq!(seen.counts, Counts { total: 3, completed: 1, failed: 2 });
    let late = store.keep(&fence, &batch.id, &[answer(1, 200, "{}")]).await;
    assert_eq!(late, 0, "what is over changes no more");
    assert_eq!(store.look(&batch).await, seen);
}

pub(super) async fn an_input_is_kept_while_it_is_needed(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    let input = &batch.order.input;
    store.delete_file(&batch.order.owner, input, NOW).await.expect("deleted");
    let what = Sweep { uploads_before: 0, batches_before: 0, rows: 100 };
    store.sweep(&fence, what, NOW).await.expect("swept");
    assert_eq!(store.read(input).await, b"{}\n{}\n{}\n", "its batch goes on");
    store.finalize_batch(&fence, &batch.id, NOW).await.expect("finalizing");
    let finish = Finish { end: End::Expired, unanswered: 3, ..NOTHING };
    store.finish_batch(&fence, &batch.id, &finish, NOW).await.expect("over");
    store.sweep(&fence, what, NOW).await.expect("swept");
    assert!(store.read_file(input, 0, 9).await.is_err(), "nobody needs it");
}

pub(super) async fn what_is_over_is_swept_up(store: &Suite) {
    let fence = store.lease().await;
    let batch = store.started(&fence).await;
    store.keep(&fence, &batch.id, &[answer(0, 200, "kept"), answer(1, 200, "kept")]).await;
    let before = store.used().await.expect("counted").bytes;
    store.cancel_batch(&batch.order.owner, &batch.id, NOW).await.expect("cancelling");
    let what = Sweep { uploads_before: 0, batches_before: NOW + 10, rows: 100 };
    store.sweep(&fence, what, NOW).await.expect("swept");
    assert_eq!(store.answered(&batch.id).await.map(|all| all.len()), Ok(2), "not over");
    let finish = Finish { unanswered: 1, ..NOTHING };
    store.finish_batch(&fence, &batch.id, &finish, NOW + 10).await.expect("over");
    store.sweep(&fence, what, NOW).await.expect("swept");
    assert_eq!(store.look(&batch).await.status, BatchStatus::Cancelled, "it is young");
    assert_eq!(store.answered(&batch.id).await, Ok(Vec::new()), "they are in the files");
    assert_eq!(store.used().await.map(|used| used.bytes), Ok(before - 8));
    let what = Sweep { batches_before: NOW + 11, ..what };
    store.sweep(&fence, what, NOW).await.expect("swept");
    let gone = store.batch(&batch.order.owner, &batch.id).await;
    assert_eq!(gone, Err(StoreError::no_batch(&batch.id)));
}

pub(super) async fn open_batches_are_bounded(store: &Suite) {
    let batch = store.batch_of("a").await;
    let order = Suite::order(&batch.order.owner, &batch.order.input);
    let full = Err(StoreError::Full { limit: Limit::OpenBatches, max: 1 });
    assert_eq!(store.create_batch(&order).await, full);
    let fence = store.lease().await;
    store.fail_batch(&fence, &batch.id, &[], NOW).await.expect("failed");
    assert!(store.create_batch(&order).await.is_ok());
}

pub(super) async fn answers_may_use_as_much_again(store: &Suite, limits: Limits) {
    let fence = store.acquire("one", TTL, NOW).await.expect("asked").expect("free");
    let batch = store.started(&fence).await;
    let big = "x".repeat(limits.max_bytes as usize);
    assert_eq!(store.keep(&fence, &batch.id, &[answer(0, 200, &big)]).await, 1);
    assert_eq!(store.keep(&fence, &batch.id, &[answer(1, 200, &big)]).await, 1);
    let refused = store.record(&fence, &[(batch.id.clone(), answer(2, 200, "x"))]).await;
    assert_eq!(refused, Err(StoreError::Full { limit: Limit::Bytes, max: limits.max_bytes }));
}
