//! What every action must do.

use super::{Action, Blast, REGISTRY, Task};
use evenkeel_domain::health::{Evidence, Gate, Health};
use evenkeel_domain::incident::testing::incident;
use evenkeel_domain::incident::{
    Action as Does, Copies, Elsewhere, Foreseen, Hands, Hold, Holding, Millis, More, Phase, Reach,
    Seen, Step, Verify, When,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// A replica that does what it is told, once for each start.
struct Fake {
    seen: Mutex<Seen>,
    fail: bool,
    keys: Mutex<BTreeSet<String>>,
}

impl Fake {
    fn new(fail: bool) -> Self {
        let seen = Seen {
            target: "chat-0".into(),
            service: "chat".into(),
            health: Health::Isolated,
            gate: Gate::Desperate,
            evidence: Evidence::default(),
            why: String::new(),
            signs: Vec::new(),
            incarnation: 1,
            ordered: None,
            in_flight: 3,
            process: None,
            ends: 0,
            last_exit: None,
            has_standby: false,
            replaced_by: None,
            copies: Some(Copies { size: 1, max: 3, open: Vec::new() }),
            stand_in: None,
            ahead: None,
        };
        Self { seen: Mutex::new(seen), fail, keys: Mutex::default() }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn act<T: Send + 'static>(&self, value: T, act: impl FnOnce(&mut Seen)) -> Reach<'_, T> {
        if self.fail {
            return Box::pin(std::future::ready(Err("told to fail".into())));
        }
        act(&mut self.seen.lock().unwrap());
        Box::pin(std::future::ready(Ok(value)))
    }
}

impl Hands for Fake {
    fn isolate<'a>(&'a self, _: &'a str, key: &'a str, until: Millis) -> Reach<'a, ()> {
        assert!(until > 0, "every order of ours ends by itself");
        self.keys.lock().unwrap().insert(key.into());
        self.act((), |seen| seen.gate = Gate::Shut)
    }

    fn idle<'a>(&'a self, _: &'a str) -> Reach<'a, ()> {
        self.act((), |seen| seen.in_flight = 0)
    }

    fn release<'a>(&'a self, _: &'a str) -> Reach<'a, ()> {
        self.act((), |seen| seen.gate = Gate::Desperate)
    }

    fn restart<'a>(&'a self, _: &'a str, incarnation: u64, _: Duration) -> Reach<'a, ()> {
        self.act((), |seen| {
            if seen.incarnation == incarnation {
                seen.incarnation += 1;
            }
        })
    }

    fn renew<'a>(&'a self, target: &'a str, incarnation: u64) -> Reach<'a, ()> {
        self.restart(target, incarnation, Duration::ZERO)
    }

    fn drop_logs<'a>(&'a self, _: &'a Path) -> Reach<'a, String> {
        self.act("nothing is left".into(), |_| {})
    }

    fn promote<'a>(&'a self, _: &'a str) -> Reach<'a, String> {
        self.act("chat-1 serves".into(), |seen| seen.replaced_by = Some("chat-1".into()))
    }

    fn copies<'a>(&'a self, _: &'a str, from: u32, to: u32) -> Reach<'a, ()> {
        self.act((), |seen| {
            let open = (from..to).collect();
            seen.copies = Some(Copies { size: to, max: 3, open });
        })
    }

    fn can_answer<'a>(&'a self, to: &'a Elsewhere) -> Reach<'a, String> {
        self.act(format!("{to} answers"), |seen| seen.stand_in = Some(to.clone()))
    }

    fn stand_in(&self, _: &BTreeMap<String, Elsewhere>) {}

    fn request<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str, key: &'a str) -> Reach<'a, u16> {
        self.keys.lock().unwrap().insert(key.into());
        self.act(200, |_| {})
    }
}

/// What the world shows once it is done.
const SHOWS: [&str; 7] =
    ["isolate", "restart", "renew", "promote", "scale", "fail_over", "move_streams"];

fn does(name: &str) -> Does {
    match name {
        "isolate" => Does::Isolate,
        "wait" => Does::Wait,
        "restart" => Does::Restart { grace: Duration::ZERO },
        "renew" => Does::Renew,
        "drop_logs" => Does::DropLogs,
        "promote" => Does::Promote,
        "scale" => Does::Scale { more: More::Add(1) },
        "fail_over" => Does::FailOver { to: Elsewhere::Service("other".into()) },
        "move_streams" => Does::MoveStreams,
        "reload" => Does::Reload { path: "/reload".into(), body: "{}".into() },
        "script" => Does::Script {
            command: ["sh", "-c", "echo $EVENKEEL_ACTION_KEY"].map(Into::into).into(),
        },
        // Nobody listens on the discard port of a test machine.
        "webhook" => Does::Webhook { url: "http://127.0.0.1:9/".into() },
        _ => Does::Ask { text: "go on?".into() },
    }
}

fn task(action: &dyn Action) -> Task {
    let action = does(action.name());
    let step = Step {
        action,
        when: When::Always,
        timeout: Duration::from_secs(5),
        verify: Verify::None,
        tries: 1,
    };
    let mut incident = incident("1-1", "chat-0", Phase::Acting);
    let what = Holding::Copies { from: 1, to: 2 };
    incident.holds.push(Hold { key: "1-1/0-x/0@1".into(), by_hand: false, what });
    let path = Some("/tmp".into());
    incident.ahead = Some(Foreseen {
        check: "disk".into(),
        subject: String::new(),
        measure: "used".into(),
        text: "used reaches 95%".into(),
        at: 9,
        again: Duration::ZERO,
        path,
    });
    Task { incident, step, key: "1-1/0-x/0@1".into(), incarnation: 1, until: 9 }
}

#[test]
fn the_registry_knows_every_action_once() {
    let names: Vec<&str> = REGISTRY.iter().map(|action| action.name()).collect();
    assert_eq!(names, Does::NAMES);
    for action in REGISTRY {
        assert_eq!(does(action.name()).name(), action.name());
        let harmless = action.blast() == Blast::Nothing;
        assert!(!harmless || action.undo().is_some(), "{} has nothing to undo", action.name());
        assert!(!does(action.name()).changes() || !harmless, "{}", action.name());
    }
}

#[tokio::test]
async fn what_the_world_shows_as_done_is_done_once() {
    for action in REGISTRY {
        let (fake, task) = (Fake::new(false), task(*action));
        assert!(!action.is_done(&task, &fake.seen()), "{}: nothing was done yet", action.name());
        let said = action.act(&task, &fake).await;
        assert_eq!(said.is_ok(), action.name() != "webhook", "{}: {said:?}", action.name());
        let once = fake.seen();
        let _ = action.act(&task, &fake).await;
        let twice = fake.seen();
        assert_eq!(
            (once.incarnation, once.gate, once.in_flight, once.replaced_by, once.copies),
            (
                twice.incarnation,
                twice.gate,
                twice.in_flight,
                twice.replaced_by.clone(),
                twice.copies.clone()
            ),
            "{}: the second time changed something",
            action.name()
        );
        let shows = SHOWS.contains(&action.name());
        assert_eq!(action.is_done(&task, &twice), shows, "{}", action.name());
        let keys = fake.keys.lock().unwrap().clone();
        assert!(keys.iter().all(|key| *key == task.key), "{keys:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    for action in REGISTRY {
        let (fake, task) = (Fake::new(true), task(*action));
        let said = action.act(&task, &fake).await;
        let hands =
            SHOWS.contains(&action.name()) || matches!(action.name(), "reload" | "drop_logs");
        assert_eq!(said == Err("told to fail".into()), hands, "{}: {said:?}", action.name());
    }
}

#[tokio::test]
async fn a_script_is_told_its_key_and_ends_with_its_children() {
    let action = super::find("script").unwrap();
    let mut task = task(action);
    assert_eq!(action.act(&task, &Fake::new(false)).await.unwrap(), task.key);
    let run = async |task: &Task| action.act(task, &Fake::new(false)).await;
    let with = |text: &str| Does::Script { command: ["sh", "-c", text].map(Into::into).into() };
    task.step.action = with("echo no; exit 3");
    assert!(run(&task).await.unwrap_err().ends_with(": no"));
    task.step.action = Does::Script { command: vec!["/nowhere/at/all".into()] };
    assert!(run(&task).await.unwrap_err().contains("/nowhere/at/all"));
    // A child that would outlive it holds the pipe open for an hour.
    task.step.action = with("sleep 3600 & echo $!; wait");
    let ended = tokio::time::timeout(Duration::from_millis(300), run(&task)).await;
    assert!(ended.is_err());
}
