//! The suite that every [`AlertStore`] passes.

use super::{AlertStore, Doc, Past, Table};

fn doc(table: Table, key: &str, body: Option<&str>) -> Doc {
    Doc { table, key: key.into(), body: body.map(Into::into) }
}

fn past(at: u64) -> Past {
    Past { at, alert: "1-1".into(), kind: "fires".into(), text: format!("at {at}") }
}

/// Runs the suite on an empty store.
///
/// # Panics
/// When the store does not do what it must.
pub async fn suite(store: &dyn AlertStore) {
    assert_eq!(store.take().await.expect("taken"), 1);
    assert!(store.load().await.expect("read").is_empty());
    let both = [doc(Table::Alert, "a", Some("1")), doc(Table::Message, "a", Some("2"))];
    assert!(store.write(1, &both, &[past(1), past(2)]).await.expect("written"));
    assert_eq!(store.load().await.expect("read"), both, "tables have keys of their own");
    let next = [doc(Table::Alert, "a", Some("3")), doc(Table::Message, "a", None)];
    assert!(store.write(1, &next, &[]).await.expect("written"));
    assert_eq!(store.load().await.expect("read"), [doc(Table::Alert, "a", Some("3"))]);
    assert_eq!(store.past(10).await.expect("read"), [past(2), past(1)], "newest first");
    assert_eq!(store.past(1).await.expect("read"), [past(2)]);
    assert_eq!(store.take().await.expect("taken"), 2);
    let late = [doc(Table::Alert, "a", None)];
    assert!(!store.write(1, &late, &[past(3)]).await.expect("answered"), "taken over");
    assert_eq!(store.load().await.expect("read"), [doc(Table::Alert, "a", Some("3"))]);
    assert_eq!(store.past(10).await.expect("read").len(), 2);
    let many: Vec<Past> = (0..6000).map(past).collect();
    assert!(store.write(2, &late, &many).await.expect("written"));
    let kept = store.past(u32::MAX).await.expect("read").len();
    assert!((1000..6000).contains(&kept), "what happened is bounded: {kept}");
}
