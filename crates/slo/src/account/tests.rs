//! The account with clocks that are stepped, processes that die, and stores that fail.

use super::*;

const WALL: u64 = 28_333_333 * MINUTE_MS;

fn clocks(boot_ms: u64, wall_ms: u64) -> Clocks {
    Clocks { boot: "a".into(), boot_ms, wall_ms }
}

/// So long after the account began, with an honest wall clock.
fn after(ms: u64) -> Clocks {
    clocks(1_000 + ms, WALL + ms)
}

fn accountant() -> Accountant {
    let taken = Taken { epoch: 1, axis_ms: WALL, gap_ms: 0 };
    Accountant::new(&taken, &after(0), Vec::new())
}

fn chat(sample: Sample) -> BTreeMap<String, Sample> {
    BTreeMap::from([("chat".to_owned(), sample)])
}

fn sums(account: &Accountant, now: &Clocks) -> (u64, u64, u64, u64) {
    let window = account.ledger("chat").map(|l| l.total(account.at(now))).unwrap_or_default();
    let t = window.tally;
    (t.up_ms, t.down_ms, t.planned_ms, window.unknown_ms())
}

#[test]
fn time_is_what_both_ends_vouch_for() {
    let mut account = accountant();
    use Sample::{Down, Planned, Unknown, Up};
    for (n, sample) in [Up, Up, Down, Up, Planned, Planned, Unknown, Up, Up].into_iter().enumerate()
    {
        account.sample(&after(n as u64 * 250), chat(sample));
    }
    assert_eq!(sums(&account, &after(2_000)), (500, 500, 500, 500));
}

#[test]
fn a_step_of_an_hour_neither_loses_nor_doubles_time() {
    for step in [3_600_000i64, -3_600_000] {
        let mut account = accountant();
        let mut noticed = Vec::new();
        let mut now = after(0);
        for n in 0..=1200u64 {
            now = after(n * 250);
            if n >= 600 {
                now.wall_ms = now.wall_ms.saturating_add_signed(step);
            }
            noticed.extend(account.sample(&now, chat(Sample::Up)));
            account.count(&now, "chat", [1, 0, 1]);
        }
        assert_eq!(noticed, [step]);
        assert_eq!(sums(&account, &now), (300_000, 0, 0, 0));
        // Windows look back by time that has passed, not by what the wall says.
        let hour = account.window("chat", account.at(&now), Duration::from_secs(3600));
        assert_eq!((hour.tally.good, hour.tally.up_ms), (1201, 300_000));
    }
}

#[test]
fn what_nobody_sampled_is_unknown() {
    let mut account = accountant();
    account.sample(&after(0), chat(Sample::Up));
    account.sample(&after(1_000), chat(Sample::Up));
    // Held, or asleep: up at both ends says nothing of the ten minutes between.
    account.sample(&after(601_000), chat(Sample::Up));
    account.sample(&after(602_000), chat(Sample::Up));
    assert_eq!(sums(&account, &after(602_000)), (2_000, 0, 0, 600_000));
}

#[test]
fn what_could_not_be_written_is_written_later_and_once() {
    let mut account = accountant();
    account.sample(&after(0), chat(Sample::Up));
    account.sample(&after(1_000), chat(Sample::Up));
    let first = account.deltas(&after(1_000));
    account.sample(&after(2_000), chat(Sample::Up));
    account.restore(first);
    let both = account.deltas(&after(2_000));
    assert_eq!(both.iter().map(|d| d.tally.up_ms).sum::<u64>(), 2_000);
    assert!(account.deltas(&after(20_000)).is_empty());
    // What came while it was written stays when the store answers; what others counted comes in.
    account.sample(&after(3_000), chat(Sample::Up));
    let stands = |minute| {
        let tally = Tally { good: 7, up_ms: 2_000, ..Tally::default() };
        vec![Delta { service: "chat".into(), since_ms: WALL, minute, tally }]
    };
    let minute = WALL / MINUTE_MS;
    let added = Added {
        fenced: false,
        minutes: stands(minute),
        hours: stands(minute / 60),
        totals: stands(WALL),
    };
    assert!(account.written("chat").tally.is_empty());
    account.absorb(WALL + 2_000, &added);
    // What a crash could still take away is not shown as written.
    let written = account.written("chat");
    assert_eq!((written.tally.up_ms, written.unknown_ms()), (2_000, 0));
    assert_eq!(sums(&account, &after(3_000)), (3_000, 0, 0, 0));
    for span in [300, 30 * 86_400] {
        let window = account.window("chat", account.at(&after(3_000)), Duration::from_secs(span));
        assert_eq!((window.tally.good, window.tally.up_ms), (7, 3_000), "{span}");
    }
}

#[test]
fn whoever_lost_the_account_keeps_no_time_and_still_counts() {
    let mut account = accountant();
    account.sample(&after(0), chat(Sample::Up));
    account.absorb(WALL, &Added { fenced: true, ..Added::default() });
    account.sample(&after(1_000), chat(Sample::Up));
    account.count(&after(1_000), "chat", [2, 1, 2]);
    let deltas = account.deltas(&after(20_000));
    let t = deltas[0].tally;
    assert_eq!((deltas.len(), t.up_ms, t.good, t.bad), (1, 0, 2, 1));
    assert!(!account.keeps_time());
}

#[test]
fn without_a_store_memory_has_a_bound() {
    let mut account = accountant();
    let minutes = PENDING as u64 + 10;
    for n in 0..minutes {
        account.count(&after(n * MINUTE_MS), "chat", [1, 0, 1]);
        if n % 1000 == 0 {
            account.trim(&after(n * MINUTE_MS));
        }
    }
    assert_eq!(account.dropped(), 10);
    assert_eq!(account.deltas(&after(minutes * MINUTE_MS)).len(), PENDING);
}

#[test]
fn a_service_that_went_is_forgotten_once_all_of_it_is_old() {
    let mut account = accountant();
    account.sample(&after(0), chat(Sample::Up));
    account.sample(&after(1_000), chat(Sample::Up));
    account.sample(&after(2_000), BTreeMap::new());
    account.trim(&after(3_000));
    assert!(account.ledger("chat").is_some());
    account.trim(&after(401 * 86_400_000));
    assert!(account.ledger("chat").is_none());
}
