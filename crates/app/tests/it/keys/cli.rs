//! `evenkeel key`.

use super::{entry, start};
use crate::support::{ask, chat, evenkeel, service, until};
use evenkeel_testkit::replica::Behaviour;
use evenkeel_testkit::{Replica, tempdir};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_new_key_works_and_a_revoked_one_does_not() {
    let replica = Replica::start(Behaviour::Good).await;
    let services = "[[tenant]]\nname = \"t\"\n".to_owned() + &service("", &[replica.url()]);
    let up = start("# mine\n", &services).await;
    let file = up.file().display().to_string();
    let key = async |args: &[&str]| evenkeel(&[&["key", "-c", &file], args].concat()).await;
    let made = key(&[
        "new",
        "al.ice_1",
        "--tenant",
        "t",
        "--tier",
        "core",
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "1000",
        "--streams",
        "2",
        "--expires",
        "30d",
        "--service",
        "chat",
    ])
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    let text = made.out.trim_end().to_owned();
    assert!(text.starts_with("ek_al.ice_1_") && !text.contains(char::is_whitespace), "{text}");
    assert!(made.err.contains("not shown again"), "{}", made.err);
    let header = format!("authorization: Bearer {text}\r\n");
    let answer = until("the key is taken", || async {
        let got = ask(&up.clients, &header, &chat("x", 1, false)).await;
        (got.status == 200).then_some(got)
    })
    .await;
    assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("60"));
    let keys = std::fs::read_to_string(up.dir.path().join("keys.toml")).expect("it is there");
    assert!(keys.starts_with("# mine\n") && !keys.contains(&text), "{keys}");
    let list = key(&["list"]).await.out;
    let line = list.lines().find(|line| line.starts_with("al.ice_1")).expect("it is listed");
    for cell in ["active", "t", "core", "chat", "60 requests/min, 1000 tokens/min, 2 streams"] {
        assert!(line.contains(cell), "{cell}: {list}");
    }
    let good = evenkeel(&["check", &file]).await;
    assert!(good.code == 0 && good.out.contains("keys: 1, 0 revoked"), "{good:?}");
    assert!(!good.err.contains("warning"), "{good:?}");
    assert_eq!(key(&["revoke", "al.ice_1"]).await.code, 0);
    until("the key is refused", || async {
        (ask(&up.clients, &header, &chat("x", 1, false)).await.status == 401).then_some(())
    })
    .await;
    assert!(key(&["list"]).await.out.contains("revoked"));
    let again = key(&["revoke", "al.ice_1"]).await;
    assert!(again.code == 0 && again.err.contains("already"), "{again:?}");
}

#[tokio::test]
async fn what_cannot_be_done_says_what_to_do() {
    let dir = tempdir();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (config, keys) = (path("evenkeel.toml"), path("keys.toml"));
    let key = async |args: &[&str]| evenkeel(&[&["key", "-c", &config], args].concat()).await;
    // Before there is a configuration at all.
    let first = key(&["new", "a"]).await;
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.err.contains("add `keys = \"keys.toml\"` to its [gateway]"), "{}", first.err);
    let mode = std::fs::metadata(&keys).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let in_config = format!("[gateway]\nkeys = \"keys.toml\"\n{}", entry("b", ""));
    std::fs::write(&config, in_config + &service("", &["http://127.0.0.1:9".into()]))
        .expect("it can be written");
    for (args, code, why) in [
        (&["new", "a"][..], 1, "there is a key `a` already"),
        (&["new", "b"], 1, "there is a key `b` already"),
        (&["new", "a b"], 1, "letters, digits, dashes"),
        (&["new", "x", "--tenant", "t"], 1, "has no tenant `t`"),
        (&["new", "x", "--service", "s"], 1, "has no service `s`"),
        (&["new", "x", "--tier", "gold"], 2, "core or best_effort"),
        (&["new", "x", "--expires", "soon"], 2, "try 30d"),
        (&["revoke", "x"], 1, "there is no key `x`"),
        (&["revoke", "b"], 1, "add `revoked = true` to it there"),
    ] {
        let ran = key(args).await;
        assert!(ran.code == code && ran.err.contains(why), "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
    }
    let list = key(&["list"]).await.out;
    assert_eq!(list.lines().count(), 3, "{list}");
    // Rights of others, and what is no key file.
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let check = evenkeel(&["check", &config]).await;
    assert!(check.code == 0 && check.err.contains("chmod 600"), "{check:?}");
    std::fs::write(&keys, "[[key]]\nid = \"a\"\n").expect("it can be written");
    for ran in [key(&["list"]).await, evenkeel(&["check", &config]).await] {
        assert!(ran.code == 2 && ran.err.contains("keys.toml:1:"), "{ran:?}");
    }
    std::fs::remove_file(&keys).expect("it is ours");
    let check = evenkeel(&["check", &config]).await;
    assert!(check.code == 2 && check.err.contains("`evenkeel key new ID` makes one"), "{check:?}");
    assert!(check.err.contains("evenkeel.toml:2:1: gateway.keys"), "{check:?}");
}
