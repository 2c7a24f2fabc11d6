//! The suite that every [`SloStore`] passes.

use super::{Clocks, Delta, SloStore, Tally};

/// A reading of clocks.
#[must_use]
pub fn clocks(boot: &str, boot_ms: u64, wall_ms: u64) -> Clocks {
    Clocks { boot: boot.into(), boot_ms, wall_ms }
}

/// What was counted for `chat` in a minute.
#[must_use]
pub fn delta(minute: u64, good: u64, up_ms: u64) -> Delta {
    let tally = Tally { good, up_ms, ..Tally::default() };
    Delta { service: "chat".into(), since_ms: MINUTE * 60_000, minute, tally }
}

const WALL: u64 = 1_700_000_000_000;
const MINUTE: u64 = WALL / 60_000;

/// Runs the suite on an empty store.
///
/// # Panics
/// When the store does not do what it must.
pub async fn suite(store: &dyn SloStore) {
    axis_and_fence(store).await;
    sums(store).await;
}

async fn axis_and_fence(store: &dyn SloStore) {
    let first = store.take(&clocks("a", 1_000, WALL)).await.expect("taken");
    assert_eq!((first.epoch, first.axis_ms, first.gap_ms), (1, WALL, 0), "begins by the wall");
    let (now, ten) = (clocks("a", 3_000, WALL + 2_000), [delta(MINUTE, 10, 2_000)]);
    let added = store.add(1, &now, WALL + 2_000, &ten).await.expect("added");
    assert!(!added.fenced && added.minutes == [delta(MINUTE, 10, 2_000)], "{added:?}");
    // The wall was stepped an hour ahead meanwhile: the machine's clock knows better.
    let next = store.take(&clocks("a", 8_000, WALL + 3_607_000)).await.expect("taken");
    assert_eq!((next.epoch, next.axis_ms, next.gap_ms), (2, WALL + 7_000, 5_000));
    // What the first one kept before the second began counts; time after it does not.
    let late = [delta(MINUTE, 1, 4_000)];
    let kept = store.add(1, &clocks("a", 7_500, WALL), WALL + 6_500, &late).await.expect("kept");
    assert!(kept.fenced);
    assert_eq!(kept.minutes, [delta(MINUTE, 11, 6_000)]);
    let twice = store.add(1, &clocks("a", 9_000, WALL), WALL + 8_000, &late).await.expect("kept");
    assert!(twice.fenced);
    assert_eq!(twice.minutes, [delta(MINUTE, 12, 6_000)], "requests, no time");
    // After a restart of the machine only the wall is left; backwards it says nothing.
    let boot = store.take(&clocks("b", 50, WALL + 3_707_000)).await.expect("taken");
    assert_eq!((boot.epoch, boot.gap_ms), (3, 100_000));
    let back = store.take(&clocks("c", 50, WALL)).await.expect("taken");
    assert_eq!((back.epoch, back.axis_ms, back.gap_ms), (4, boot.axis_ms, 0));
    // Nobody else's time counts twice when two have come since.
    let old = store.add(2, &clocks("a", 8_500, WALL), 1, &[delta(MINUTE, 0, 500)]).await;
    assert_eq!(old.expect("answered").minutes, [delta(MINUTE, 12, 6_000)]);
}

async fn sums(store: &dyn SloStore) {
    let hour = MINUTE / 60;
    let next = [delta(MINUTE + 60, 5, 1_000), delta(MINUTE + 61, 5, 1_000)];
    let added = store.add(4, &clocks("c", 99, WALL), WALL, &next).await.expect("added");
    assert_eq!(added.hours.last().map(|d| (d.minute, d.tally.good)), Some((hour + 1, 10)));
    assert_eq!(added.totals.last().map(|d| d.tally.good), Some(22));
    let kept = store.load().await.expect("read");
    let chat = kept.iter().find(|kept| kept.service == "chat").expect("chat");
    assert_eq!(chat.total.good, 22);
    assert_eq!(chat.minutes.iter().map(|(_, tally)| tally.good).sum::<u64>(), 22);
    assert_eq!(chat.hours.iter().map(|(_, tally)| tally.good).collect::<Vec<_>>(), [12, 10]);
    assert_eq!(chat.since_ms, MINUTE * 60_000);
    assert_eq!(store.prune(4, MINUTE + 61, hour + 1).await.expect("pruned"), 3);
    assert_eq!(store.prune(1, u64::MAX, u64::MAX).await.expect("answered"), 0, "not its to do");
    let kept = store.load().await.expect("read");
    assert_eq!((kept[0].minutes.len(), kept[0].hours.len(), kept[0].total.good), (1, 1, 22));
}
