//! `evenkeel drill`, from file to report; and that nothing of a drill that is killed is left.

use crate::support::{EVENKEEL, SOON, Up, alive, evenkeel, supervised, until, until_so};
use evenkeel_domain::clock::{now, unix_millis};
use evenkeel_drill::fault::{Kind, all, kind};
use evenkeel_testkit::{Process, tempdir};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How soon all of it must be gone.
const GONE: Duration = Duration::from_secs(2);
const HALF_AN_HOUR_MS: u64 = 1_800_000;

async fn up() -> Up {
    Up::start(&supervised(3, &["--pace", "5"])).await.ready().await
}

fn write(dir: &Path, text: &str) -> String {
    let file = dir.join("mine.toml");
    std::fs::write(&file, text).expect("the file can be written");
    file.to_string_lossy().into_owned()
}

/// `drill run` to its end, with what it prints as JSON.
async fn ran(up: &Up, file: &str, more: &[&str]) -> (i32, Value, String) {
    let admin = format!("http://{}", up.admin);
    let url = up.url();
    let mut args = vec!["drill", "run", file, "--url", &url, "--admin", &admin, "--json"];
    args.extend(more);
    let mut command = tokio::process::Command::new(EVENKEEL);
    let running = command.args(&args).kill_on_drop(true).output();
    let out = tokio::time::timeout(SOON * 4, running).await.expect("it ends").expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let report = serde_json::from_slice(&out.stdout).unwrap_or(Value::Null);
    (out.status.code().unwrap_or(-1), report, said)
}

#[tokio::test]
async fn a_drill_says_what_clients_saw_and_leaves_a_report() {
    let up = up().await;
    let dir = tempdir();
    let file = write(
        dir.path(),
        "about = \"<b>one & only</b>\"\n[load]\nmodel = \"test\"\nmax_tokens = 8\n[steady]\nfor = \"2s\"\n[[fault]]\n\
         what = \"kill\"\n[expect]\ndetected = \"5s\"\nas = \"isolated\"\nincident = true\nafter = \
         \"1s\"\n",
    );
    let (html, junit) = (dir.path().join("r.html"), dir.path().join("r.xml"));
    let (html_name, junit_name) = (html.to_string_lossy(), junit.to_string_lossy());
    let (code, report, said) =
        ran(&up, &file, &["--html", &html_name, "--junit", &junit_name]).await;
    assert_eq!((code, &report["verdict"]), (0, &Value::from("passed")), "{said}");
    let figures = &report["figures"];
    assert_eq!(figures["failed"], 0, "{figures}");
    assert!(figures["requests"].as_u64().expect("a number") > 20, "{figures}");
    assert!(figures["mttd_ms"].as_u64().expect("it is known") < 5000, "{figures}");
    assert!(figures["mttr_ms"].is_u64(), "{figures}");
    assert_eq!(report["faults"][0]["what"], "kill");
    let page = std::fs::read_to_string(&html).expect("the page is there");
    assert!(page.len() < 2 << 20 && page.contains("<svg") && page.contains("passed"));
    assert!(page.contains("&lt;b&gt;one &amp; only") && !page.contains("<b>one & only"));
    assert!(!page.contains("http://") && !page.contains("https://"), "it loads nothing");
    let tests = std::fs::read_to_string(&junit).expect("the tests are there");
    assert!(tests.contains("name=\"incident\"/>") && tests.contains("failures=\"0\""), "{tests}");
}

#[tokio::test]
async fn an_expectation_that_does_not_hold_is_a_failure() {
    let up = up().await;
    let dir = tempdir();
    let file = write(
        dir.path(),
        "[load]\nmodel = \"test\"\nmax_tokens = 8\n[steady]\nfor = \"1s\"\n[[fault]]\nwhat = \"pass\"\nfor = \
         \"300ms\"\n[expect]\ndetected = \"500ms\"\nafter = \"100ms\"\n",
    );
    let (code, report, said) = ran(&up, &file, &["--no-html"]).await;
    assert_eq!((code, &report["verdict"]), (1, &Value::from("failed")), "{said}");
    let missed: Vec<_> = report["checked"].as_array().expect("a list").iter().collect();
    let missed: Vec<_> =
        missed.iter().filter(|c| c["holds"] == false).map(|c| &c["what"]).collect();
    assert_eq!(missed, ["detected"], "{report}");
}

#[tokio::test]
async fn a_stop_condition_breaks_it_off_and_the_fault_is_gone() {
    let up = up().await;
    let dir = tempdir();
    let file = write(
        dir.path(),
        "[target]\nreplicas = \"all\"\n[load]\nmodel = \"test\"\nmax_tokens = 8\n[steady]\nfor = \"1s\"\n[[fault]]\n\
         what = \"stop\"\nfor = \"60s\"\n[stop]\ngap = \"1500ms\"\n[limits]\nreplicas = 3\n",
    );
    let (code, report, said) = ran(&up, &file, &["--no-html"]).await;
    assert_eq!((code, &report["verdict"]), (3, &Value::from("aborted")), "{said}");
    let why = report["aborted"].as_str().expect("a reason");
    assert!(why.contains("stop.gap"), "{why}");
    assert!(guards(up.admin.as_str()).is_empty());
    let pids = pids(&up).await;
    until_so("all go on", || pids.iter().all(|pid| state(*pid) != 'T')).await;
}

#[tokio::test]
async fn what_cannot_be_is_said_before_anything_is_done() {
    let up = up().await;
    let dir = tempdir();
    for (text, parts) in [
        ("[[fault]]\nwhat = \"kil\"\n", &["mine.toml:2:", "fault[0].what"][..]),
        (
            "[target]\nservice = \"none\"\n[[fault]]\nwhat = \"kill\"\n",
            &["there is no `none`", "chat"],
        ),
        ("[[fault]]\nwhat = \"kill\"\n[limits]\nready = 9\n", &["`limits.ready` asks for 9"]),
        ("[[fault]]\nwhat = \"disk-full:/no/such\"\nfor = \"1s\"\n", &["no directory"]),
    ] {
        let file = write(dir.path(), text);
        let (code, report, said) = ran(&up, &file, &["--no-html"]).await;
        assert_eq!((code, &report), (2, &Value::Null), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    let restarts = up.replicas().await.iter().filter(|r| r["process"]["restarts"] != 0).count();
    assert_eq!(restarts, 0, "nobody was touched");
    let checked = evenkeel(&["drill", "check", "kill-one"]).await;
    assert!(checked.code == 0 && checked.out.contains("good"), "{checked:?}");
}

#[tokio::test]
async fn faults_on_the_network_and_on_evenkeel_itself() {
    let up = up().await;
    let dir = tempdir();
    for (what, lasts) in [("http:500", "3s"), ("clock:1h", "1s"), ("in-turn:3,reset:0", "2s")] {
        let file = write(
            dir.path(),
            &format!(
                "[load]\nmodel = \"test\"\nmax_tokens = 8\n[steady]\nfor = \"1s\"\n[[fault]]\nwhat = \"{what}\"\nfor = \
                 \"{lasts}\"\n[expect]\nafter = \"500ms\"\n"
            ),
        );
        let (code, report, said) = ran(&up, &file, &["--no-html"]).await;
        assert_eq!((code, &report["figures"]["failed"]), (0, &Value::from(0)), "{what}: {said}");
        let via = up.replicas().await.iter().filter(|r| !r["via"].is_null()).count();
        assert_eq!(via, 0, "{what}: a way is left");
    }
}

async fn pids(up: &Up) -> Vec<u32> {
    let pid = |r: &Value| r["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    up.replicas().await.iter().filter_map(pid).collect()
}

/// The state of a process: `T` where it is stopped.
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('-')
}

/// Guards whose order, or whose drill's arguments, hold this text.
fn guards(text: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("drill-guard") && line.contains(text) && alive(*pid)
    };
    pids.filter(ours).collect()
}

/// How each fault shows, and that it is gone.
struct Sight<'a> {
    up: &'a Up,
    what: &'a str,
    kind: Kind,
    pids: Vec<u32>,
    gateway: u32,
    copy: Option<String>,
}

impl Sight<'_> {
    async fn clock_is_wrong(&self) -> bool {
        let at = self.up.snapshot().await["at_unix_ms"].as_u64().unwrap_or_default();
        at.abs_diff(unix_millis()) > HALF_AN_HOUR_MS
    }

    async fn is_there(&self) -> bool {
        match &self.kind {
            Kind::Wire(..) => self.up.replicas().await.iter().any(|r| !r["via"].is_null()),
            Kind::Asked(_) => self.clock_is_wrong().await,
            Kind::Guard(entry) => match entry.name {
                "gateway-stop" => state(self.gateway) == 'T',
                "stop" | "slow" => self.pids.iter().any(|pid| state(*pid) == 'T'),
                "corrupt" => self.copy.as_ref().is_some_and(|copy| Path::new(copy).exists()),
                _ => !guards(self.what).is_empty(),
            },
        }
    }

    async fn is_gone(&self) -> bool {
        match &self.kind {
            Kind::Wire(..) | Kind::Asked(_) => !self.is_there().await,
            // Memory, files without names and threads are the guard's, and end with it.
            Kind::Guard(_) => {
                let stopped = self.pids.iter().chain([&self.gateway]).any(|pid| state(*pid) == 'T');
                let copy = self.copy.as_ref().is_some_and(|copy| Path::new(copy).exists());
                guards(self.what).is_empty() && !stopped && !copy
            }
        }
    }
}

#[tokio::test]
async fn every_fault_is_gone_within_two_seconds_of_the_drill_s_death() {
    let up = up().await;
    let dir = tempdir();
    let copy = dir.path().join("damaged").to_string_lossy().into_owned();
    let mut table = Vec::new();
    for listed in all() {
        // Examples name places of this host; the test has its own.
        let what = match listed.name {
            "corrupt" => format!("corrupt:/proc/self/exe,copy={copy}"),
            "disk-full" => format!("disk-full:{},size=32m", dir.path().display()),
            "disk-slow" => format!("disk-slow:{}", dir.path().display()),
            "memory" => "memory:64m".to_owned(),
            _ => listed.example.to_owned(),
        };
        let kind = kind(&what).expect("it is a fault");
        if kind.is_over_at_once() {
            table.push(format!("{what:40} leaves nothing"));
            continue;
        }
        let took = killed(&up, dir.path(), &what, kind, &copy).await;
        table.push(format!("{what:40} {:4} ms", took.as_millis()));
        assert!(took <= GONE, "{what}: {took:?}");
    }
    println!("gone after `kill -9` of the drill:\n{}", table.join("\n"));
    assert!(table.len() >= 30, "not all of them");
}

/// Starts a drill with the fault, kills it once the fault is there, and waits for its end.
async fn killed(up: &Up, dir: &Path, what: &str, kind: Kind, copy: &str) -> Duration {
    let open = |r: &&Value| r["gate"] == "open" && r["process"]["pid"].is_u64();
    until("one takes traffic", || async {
        up.replicas().await.iter().any(|r| open(&r)).then_some(())
    })
    .await;
    let gateway = up.snapshot().await["gateway"]["pid"].as_u64().expect("a number");
    let copy = what.starts_with("corrupt").then(|| copy.to_owned());
    let gateway = u32::try_from(gateway).expect("a process");
    let sight = Sight { up, what, kind, pids: pids(up).await, gateway, copy };
    let text = format!(
        "[load]\nmodel = \"test\"\nrate = 30\nmax_tokens = 4\n[steady]\nfor = \"300ms\"\nlongest_wait = \"30s\"\nfailed = \
         100\n[[fault]]\nwhat = \"{what}\"\nfor = \"60s\"\n[stop]\ngap = \"60s\"\n[limits]\nready = 1\n"
    );
    let file = write(dir, &text);
    let mut command = Command::new(EVENKEEL);
    command.args(["drill", "run", &file, "--no-html", "--url", &up.url()]);
    command.args(["--admin", &format!("http://{}", up.admin)]);
    let mut drill = Process::start("drill", &mut command, dir);
    let there = drill.wait_for_line("FAULT", SOON).await;
    there.unwrap_or_else(|why| panic!("{what}: {why}\n{}", drill.output()));
    until(&format!("`{what}` shows"), || async { sight.is_there().await.then_some(()) }).await;
    let killed = now();
    drill.kill9();
    until(&format!("`{what}` is gone"), || async { sight.is_gone().await.then_some(()) }).await;
    now().saturating_duration_since(killed)
}
