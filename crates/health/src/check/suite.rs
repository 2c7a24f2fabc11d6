//! What every kind promises, whatever it looks at.

use super::limits::tests::settings;
use super::runner::nobody;
use super::*;
use tokio::time::timeout;

/// Settings with which each kind can be built here.
fn example(kind: &str) -> CheckSettings {
    let more = match kind {
        "disk" => r#","path":"/""#,
        "disk_latency" => r#","path":"/tmp""#,
        "peer" => r#","host":"127.0.0.1:9""#,
        "process" => r#","pid":1"#,
        "certificate" => r#","path":"/nowhere/tls.pem""#,
        // Nobody listens there.
        "postgresql" => r#","url":"postgresql://me@127.0.0.1:9/db""#,
        "mysql" => r#","url":"mysql://me@127.0.0.1:9/db""#,
        "redis" => r#","url":"redis://127.0.0.1:9""#,
        "tcp" => r#","url":"tcp://127.0.0.1:9""#,
        "http" => r#","url":"http://127.0.0.1:9/health""#,
        "grpc" => r#","url":"grpc://127.0.0.1:9""#,
        "inference" => r#","url":"http://127.0.0.1:9","model":"m""#,
        "script" => r#","command":["true"]"#,
        _ => "",
    };
    settings(&format!(r#"{{"kind":"{kind}"{more}}}"#))
}

#[test]
fn names_are_unique_and_wrong_settings_say_what_helps() {
    for (at, kind) in KINDS.iter().enumerate() {
        assert!(!KINDS[..at].iter().any(|other| other.name == kind.name));
        assert_eq!(problems(&example(kind.name)), Vec::<Wrong>::new(), "{}", kind.name);
        let mut foreign = example(kind.name);
        let (key, set): (_, fn(&mut CheckSettings)) = match kind.keys.contains(&"interface") {
            false => ("interface", |s| s.interface = Some("eth0".into())),
            true => ("gpu", |s| s.gpu = Some("0".into())),
        };
        set(&mut foreign);
        let wrong = problems(&foreign);
        assert!(wrong.len() == 1 && wrong[0].0 == key && wrong[0].1.contains("remove it"));
    }
    let wrong = problems(&settings(r#"{"kind":"dsk"}"#));
    assert!(wrong[0].0 == "kind" && wrong[0].1.contains("use one of cpu"), "{wrong:?}");
}

/// A look may be dropped at any moment, and the next one is as good as the first.
#[tokio::test]
async fn a_look_can_be_given_up_and_asked_again() {
    for kind in KINDS {
        let mut source = (kind.build)(&example(kind.name), &nobody()).unwrap();
        for wait in [Duration::ZERO, Duration::from_micros(50)] {
            let _ = timeout(wait, source.ask()).await;
        }
        let last = loop {
            let asked = timeout(Duration::from_secs(20), source.ask()).await.unwrap();
            match asked {
                // The one that was given up is still on its way.
                Err(Trouble::Hangs(_)) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        match last {
            Ok(reading) => {
                assert!(!reading.parts.is_empty(), "{}", kind.name);
                for value in reading.parts.iter().flat_map(|part| &part.values) {
                    let known = kind.measures.iter().find(|m| m.name == value.measure);
                    let known = known.unwrap_or_else(|| panic!("{}: {value:?}", kind.name));
                    assert!(value.value.is_finite() && value.value >= 0.0, "{value:?}");
                    assert_eq!(known.unit, value.unit, "{}: {value:?}", kind.name);
                }
            }
            Err(Trouble::Failed(text) | Trouble::NoData(text) | Trouble::Hangs(text)) => {
                assert!(text.len() > 10, "{}: {text}", kind.name);
            }
        }
    }
}
