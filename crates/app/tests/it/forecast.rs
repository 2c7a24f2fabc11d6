//! What is done before a leak, a full disk and an expired certificate become failures.

use crate::support::{EVENKEEL, Up, ask, chat, get, until_within};
use evenkeel_domain::clock::wall;
use evenkeel_testkit::tempdir;
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, UNIX_EPOCH};

/// How long a trend may take to be certain on a slow machine, and what follows from it.
const WHOLE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What a check says.
async fn check(up: &Up, name: &str) -> Value {
    let all = up.snapshot().await["checks"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|check| check["name"] == name).unwrap_or_default()
}

/// The incident of a target, once it is so.
async fn incident(up: &Up, target: &str, phase: &str) -> Value {
    until_within(WHOLE, &format!("an incident of {target} that is {phase}"), || async {
        let answer = get(&up.admin, "/api/v1/incidents").await;
        let all = if answer.status == 200 { answer.json() } else { Value::Null };
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["replica"] == target).filter(|one| one["phase"] == phase)
    })
    .await
}

#[tokio::test]
async fn a_replica_that_leaks_is_renewed_before_its_limit() {
    let dir = tempdir();
    let leak = dir.path().join("leak.py");
    // 4 MiB each tenth of a second; like the kernel, it kills the server at the limit.
    std::fs::write(
        &leak,
        "import os, time\nheld = []\nwhile len(held) < 150:\n    held.append(bytearray(os.urandom(1) * (4 << 20)))\n    time.sleep(0.1)\nos.kill(os.getppid(), 9)\n",
    )
    .expect("a file can be written");
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\ncopies = \
         2\nstop_grace = \"1s\"\ncommand = [\"sh\", \"-c\", \"[ {{index}} = 1 ] || python3 {} & \
         exec {EVENKEEL} model --model test --listen 127.0.0.1:{{port}}\"]\n[[check]]\nname = \
         \"leak\"\nkind = \"process\"\nservice = \"chat\"\ninterval = \"100ms\"\nfor = \
         \"0s\"\ncritical = {{ memory = \"600MiB\" }}\nforecast = {{ within = \"1h\" }}\n",
        leak.display()
    );
    let up = Up::start(&services).await.ready().await;
    let over = Arc::new(AtomicBool::new(false));
    let client = {
        let (address, over) = (up.clients.clone(), over.clone());
        tokio::spawn(async move {
            let mut asked = 0;
            while !over.load(Relaxed) {
                let answer = ask(&address, "", &chat("hello", 4, false)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                asked += 1;
            }
            asked
        })
    };
    let renewed = until_within(WHOLE, "the leaking replica is renewed", || async {
        let all = up.replicas().await;
        all.into_iter().find(|r| r["name"] == "chat-0" && r["process"]["restarts"] == 1)
    })
    .await;
    up.replica("chat-0", |r| r["gate"] == "open").await;
    let exit = renewed["process"]["last_exit"].as_str().unwrap_or_default();
    assert!(exit.contains("code 0"), "it was stopped, and did not die of it: {exit}");
    over.store(true, Relaxed);
    assert!(client.await.expect("every request was answered") > 0);
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("memory reaches 600MiB in about"), "{events}");
    assert!(!events.contains("(critical from"), "it was never over its limit: {events}");
    let incident = incident(&up, "chat-0", "probation").await;
    assert_eq!(
        (&incident["cause"], &incident["isolated_unix_ms"]),
        (&"forecast".into(), &Value::Null)
    );
    assert!(
        incident["why"].as_str().is_some_and(|why| why.contains("memory reaches")),
        "{incident}"
    );
    let ran = up.cli(&["why", "chat-0"]).await;
    for part in ["forecast", "drain and restart it", "renew has helped"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let other = up.replica("chat-1", |_| true).await;
    assert_eq!(other["process"]["restarts"], 0, "what does not leak is left alone");
}

/// A file system of its own, taken away at the end.
struct Small(evenkeel_testkit::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempdir();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        mount.status().ok()?.success().then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Nothing can be done about a mount that stays.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_is_cleared_before_it_is_full() {
    let Some(disk) = Small::mount(60) else {
        eprintln!("not tested: a small file system needs root");
        return;
    };
    let state = tempdir();
    let path = disk.path().display().to_string();
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
         \"http://127.0.0.1:9\"\n[[check]]\nname = \"disk\"\nkind = \"disk\"\npath = \
         \"{path}\"\ninterval = \"100ms\"\nfor = \"0s\"\ncritical = \"95%\"\nforecast = {{ within \
         = \"1h\", again = \"2s\", command = [\"sh\", \"-c\", \"echo $EVENKEEL_CHECK \
         $EVENKEEL_MEASURE >> {done}; rm -f {path}/fill.*\"] }}\n",
        done = state.path().join("done").display(),
    );
    let up = Up::start(&services).await;
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (over, dir) = (over.clone(), disk.path().to_owned());
        // As a server writes its log: 512 KiB each tenth of a second fills it within 12 s.
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            let (mut full, mut written) = (false, 0);
            while !over.load(Relaxed) {
                tick.tick().await;
                let file = std::fs::File::create(dir.join(format!("fill.{written}")));
                let put = file.and_then(|mut file| file.write_all(&vec![7; 512 << 10]));
                full |= put.is_err_and(|error| error.kind() == ErrorKind::StorageFull);
                written += 1;
            }
            (full, written)
        })
    };
    let done = || std::fs::read_to_string(state.path().join("done")).unwrap_or_default();
    until_within(WHOLE, "it is cleared twice", || async {
        (done().lines().count() >= 2).then_some(())
    })
    .await;
    over.store(true, Relaxed);
    let (full, written) = writer.await.expect("the writer ends");
    assert!(!full && written > 60, "{full} {written}");
    assert!(done().lines().all(|line| line == "disk used"), "{}", done());
    let open = incident(&up, "check:disk", "probation").await;
    assert!(open["why"].as_str().is_some_and(|why| why.contains("used reaches 95%")), "{open}");
    let ran = up.cli(&["why", "check:disk"]).await;
    assert!(ran.out.contains("script has helped"), "{}", ran.out);
}

/// A certificate for this host that ends in so many days, with its key, as files.
fn certificate(dir: &Path, name: &str, days: u32) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let mut params =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name of a host");
    let end = wall().duration_since(UNIX_EPOCH).expect("after 1970") + DAY * days;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    let own = rcgen::KeyPair::generate().expect("a key");
    let signed = params.self_signed(&own).expect("a certificate");
    std::fs::write(cert, signed.pem()).expect("a file can be written");
    std::fs::write(key, own.serialize_pem()).expect("a file can be written");
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_expires() {
    let dir = tempdir();
    certificate(dir.path(), "now", 5);
    certificate(dir.path(), "next", 90);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}\n", at("now.pem"), at("now.key"));
    let services = "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
                    \"http://127.0.0.1:9\"\n";
    // Without any setting it is looked at.
    let up = Up::with(&tls, services).await;
    let said = until_within(WHOLE, "the certificate is looked at", || async {
        Some(check(&up, "certificate-gateway").await).filter(|said| said["state"] == "warning")
    })
    .await;
    assert!(said["why"].as_str().is_some_and(|why| why.contains("expires in")), "{said}");
    let events = get(&up.admin, "/api/v1/events").await.text();
    assert!(events.contains("certificate-gateway"), "{events}");
    // With a command it is renewed, and read again.
    let renew = format!(
        "{services}[[check]]\nname = \"tls\"\nkind = \"certificate\"\npath = \"{}\"\ninterval = \
         \"200ms\"\nfor = \"0s\"\nforecast = {{ command = [\"sh\", \"-c\", \"cp {} {} && cp {} \
         {}\"] }}\n",
        at("now.pem"),
        at("next.key"),
        at("now.key"),
        at("next.pem"),
        at("now.pem")
    );
    up.rewrite(&renew);
    until_within(WHOLE, "the certificate is renewed", || async {
        Some(check(&up, "tls").await).filter(|said| said["state"] == "ok")
    })
    .await;
    until_within(WHOLE, "the new one is shown to clients", || async {
        up.process.output().contains("certificate reloaded").then_some(())
    })
    .await;
    let open = incident(&up, "check:tls", "probation").await;
    assert!(open["why"].as_str().is_some_and(|why| why.contains("expires in")), "{open}");
}

#[tokio::test]
async fn a_playbook_comes_in_place_of_what_is_done_by_itself() {
    let dir = tempdir();
    certificate(dir.path(), "soon", 5);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (path, done) = (at("soon.pem"), at("done"));
    let services = format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
         \"http://127.0.0.1:9\"\n[[check]]\nname = \"tls\"\nkind = \"certificate\"\npath = \
         \"{path}\"\ninterval = \"200ms\"\nfor = \"0s\"\nforecast = {{ command = [\"touch\", \
         \"{done}\"] }}\n[recovery]\nprobation = \"500ms\"\n[[playbook]]\ncheck = \
         \"tls\"\nwhen = \"forecast\"\n[[playbook.step]]\naction = \"ask\"\ntext = \"may it be \
         renewed?\"\n[[playbook.step]]\naction = \"script\"\ncommand = [\"sh\", \"-c\", \"echo \
         $EVENKEEL_CHECK $EVENKEEL_MEASURE; rm {path}\"]\n"
    );
    let up = Up::start(&services).await;
    let asked = incident(&up, "check:tls", "escalated").await;
    let ran = up.cli(&["pause", "check:tls", "--for", "1h", "--why", "later"]).await;
    assert_eq!(ran.code, 0, "it can be paused by its name: {ran:?}");
    assert_eq!(up.cli(&["resume", "check:tls"]).await.code, 0);
    assert!(asked["note"].as_str().is_some_and(|note| note.contains("may it be")), "{asked}");
    let ran = up.cli(&["incident", "plan", "check:tls"]).await;
    assert!(ran.out.contains("run `sh -c"), "{ran:?}");
    let id = asked["id"].as_str().expect("a number").to_owned();
    assert_eq!(up.cli(&["incident", "approve", &id]).await.code, 0);
    let ran = until_within(WHOLE, "it is approved", || async {
        let ran = up.cli(&["incident", "show", &id]).await;
        ran.out.contains("script: tls ").then_some(ran)
    })
    .await;
    assert!(!Path::new(&done).exists(), "what it does by itself is not done: {}", ran.out);
}

#[tokio::test]
async fn check_names_what_is_wrong_with_its_playbook() {
    let dir = tempdir();
    let file = dir.path().join("bad.toml");
    let base = "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \
                \"http://127.0.0.1:9\"\n[[check]]\nname = \"disk\"\nkind = \"disk\"\npath = \
                \"/tmp\"\ncritical = \"95%\"\n[[playbook]]\n";
    let (forecast, step) = ("when = \"forecast\"\n", "[[playbook.step]]\naction = ");
    for (text, says) in [
        (format!("check = \"disk\"\n{step}\"wait\"\n"), "needs a `service`"),
        (format!("{forecast}{step}\"wait\"\n"), "needs a `service`"),
        (format!("{forecast}check = \"dsk\"\n{step}\"wait\"\n"), "there is no check `dsk`"),
        (format!("{forecast}check = \"disk\"\n{step}\"renew\"\n"), "makes no sense for a check"),
        (format!("service = \"chat\"\n{step}\"renew\"\n"), "only with `when = \"forecast\"`"),
    ] {
        std::fs::write(&file, format!("{base}{text}")).expect("a file can be written");
        let ran = crate::support::evenkeel(&["check", &file.display().to_string()]).await;
        assert!(ran.code == 2 && ran.err.contains(says), "{says}: {ran:?}");
    }
}
