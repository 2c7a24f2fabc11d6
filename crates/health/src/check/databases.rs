//! Databases and caches as Debian ships them, started by the test and ended with it.

use super::limits::tests::settings;
use super::runner::nobody;
use super::*;
use evenkeel_testkit::ports::free_port;
use evenkeel_testkit::{Process, TempDir, tempdir};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long a server may take to start on a slow machine.
const START: Duration = Duration::from_secs(60);

/// A server and what it lives in.
struct Server {
    port: u16,
    process: Process,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // All of these end at once by it, and leave nothing behind.
        self.process.terminate();
    }
}

fn ran(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; see scripts/test"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

async fn started(mut command: Command, dir: TempDir, port: u16, ready: &str) -> Server {
    let mut process = Process::start("server", &mut command, dir.path());
    let line = process.wait_for_line(ready, START).await;
    assert!(line.is_ok(), "{command:?}: {line:?}: {}", process.output());
    Server { port, process, dir }
}

fn password(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("password");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    file
}

/// The user's number, for servers that refuse to run as root.
fn number(user: &str) -> u32 {
    let all = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = all.lines().find(|line| line.starts_with(&format!("{user}:")));
    let line = line.unwrap_or_else(|| panic!("no user {user}; see scripts/test"));
    line.split(':').nth(2).and_then(|n| n.parse().ok()).unwrap()
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn source(kind: &str, url: &str, secret: Option<&Path>) -> Box<dyn Source> {
    let file = secret.map(|f| format!(r#","password_file":"{}""#, f.display()));
    let text = format!(r#"{{"kind":"{kind}","url":"{url}"{}}}"#, file.unwrap_or_default());
    let settings = settings(&text);
    assert_eq!(problems(&settings), Vec::<Wrong>::new());
    (super::kind(&settings).map_err(|(_, text)| text).unwrap().build)(&settings, &nobody()).unwrap()
}

async fn measured(source: &mut Box<dyn Source>, measure: &str) -> f64 {
    let reading = source.ask().await.unwrap();
    let found = reading.parts[0].values.iter().find(|v| v.measure == measure);
    found.unwrap_or_else(|| panic!("no {measure}: {reading:?}")).value
}

async fn fails(source: &mut Box<dyn Source>, says: &str) {
    let Err(Trouble::Failed(why)) = source.ask().await else { panic!("it must fail: {says}") };
    assert!(why.contains(says) && !why.contains("s3cret"), "{why}");
}

async fn redis(more: &[&str]) -> Server {
    let (dir, port) = (tempdir(), free_port());
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
    command.arg(dir.path()).args(more);
    started(command, dir, port, "Ready to accept connections").await
}

#[tokio::test]
async fn a_redis_that_follows_another_says_how_that_goes() {
    let primary = redis(&[]).await;
    let port = primary.port.to_string();
    let follower = redis(&["--replicaof", "127.0.0.1", &port, "--repl-timeout", "1"]).await;
    let mut source = source("redis", &format!("redis://127.0.0.1:{}", follower.port), None);
    let said = async |source: &mut Box<dyn Source>, down: bool| {
        for _ in 0..1000 {
            let part = source.ask().await.unwrap().parts.remove(0);
            let says = part.said.is_some_and(|(state, text)| {
                state == CheckState::Critical && text.contains("link to the primary")
            });
            if says == down {
                return part.values;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("its link must be down: {down}")
    };
    let values = said(&mut source, false).await;
    assert!(values.iter().any(|v| v.measure == "lag" && v.value < 10.0), "{values:?}");
    drop(primary);
    said(&mut source, true).await;
}

#[tokio::test]
async fn redis_is_asked() {
    let more = ["--requirepass", "s3cret", "--maxclients", "50", "--maxmemory", "100mb"];
    let server = redis(&more).await;
    let url = format!("redis://127.0.0.1:{}", server.port);
    let secret = password(server.dir.path(), "s3cret");
    let mut redis = source("redis", &url, Some(&secret));
    assert_eq!(measured(&mut redis, "connections").await, 0.02);
    let used = measured(&mut redis, "memory").await;
    assert!(used > 0.0 && used < 0.2, "{used}");
    assert!(measured(&mut redis, "latency").await > 0.0);
    fails(&mut source("redis", &url, None), "NOAUTH Authentication required.; set `password").await;
    let wrong = password(server.dir.path(), "another");
    fails(&mut source("redis", &url, Some(&wrong)), "WRONGPASS").await;
    server.process.kill9();
    drop(server);
    fails(&mut redis, "refused").await;
}

fn postgres_bin() -> PathBuf {
    let all = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql; see scripts/test");
    let newest = all.flatten().map(|entry| entry.path().join("bin")).max();
    newest.expect("a version of postgresql")
}

#[tokio::test]
async fn postgresql_is_asked() {
    let (dir, port, bin) = (tempdir(), free_port(), postgres_bin());
    let secret = password(dir.path(), "s3cret");
    let user = is_root().then(|| number("postgres"));
    let [data, copy] = ["data", "copy"].map(|name| dir.path().join(name));
    let as_user = |program: &str, data: &Path| {
        let mut command = Command::new(bin.join(program));
        command.current_dir("/").env("PGPASSWORD", "s3cret").arg("-D").arg(data);
        user.map(|user| command.uid(user).gid(user));
        command
    };
    let serves = |data: &Path, port: u16| {
        let mut command = as_user("postgres", data);
        command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=10"]);
        command
    };
    for data in [&data, &copy] {
        std::fs::create_dir(data).unwrap();
        std::fs::set_permissions(data, PermissionsExt::from_mode(0o700)).unwrap();
        chown(data, user, None).unwrap();
    }
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(&secret, user, None).unwrap();
    let mut init = as_user("initdb", &data);
    init.args(["-U", "me", "-A", "scram-sha-256", "--no-sync", "--pwfile"]).arg(&secret);
    ran(&mut init);
    let server = started(serves(&data, port), dir, port, "ready to accept connections").await;
    let url = format!("postgresql://me@127.0.0.1:{}/postgres", server.port);
    let mut postgres = source("postgresql", &url, Some(&secret));
    assert_eq!(measured(&mut postgres, "connections").await, 0.1);
    assert!(measured(&mut postgres, "latency").await > 0.0);
    let reading = postgres.ask().await.unwrap();
    assert!(!reading.parts[0].values.iter().any(|v| v.measure == "lag"), "it is a primary");
    let mut backup = as_user("pg_basebackup", &copy);
    backup.args(["-h", "127.0.0.1", "-U", "me", "--no-sync", "-c", "fast", "-R", "-p"]);
    ran(backup.arg(server.port.to_string()));
    let (log, port) = (tempdir(), free_port());
    let ready = "ready to accept read-only connections";
    let standby = started(serves(&copy, port), log, port, ready).await;
    let there = format!("postgresql://me@127.0.0.1:{}/postgres", standby.port);
    let lag = measured(&mut source("postgresql", &there, Some(&secret)), "lag").await;
    assert!((0.0..60.0).contains(&lag), "{lag}");
    drop(standby);
    let nowhere = url.replace("/postgres", "/nowhere");
    fails(&mut source("postgresql", &nowhere, Some(&secret)), "correct the database").await;
    let wrong = password(server.dir.path(), "another");
    let mut wrong = source("postgresql", &url, Some(&wrong));
    fails(&mut wrong, "correct the user in `url` or `password_file`").await;
    server.process.terminate();
    drop(server);
}

#[tokio::test]
async fn mariadb_is_asked() {
    let (dir, port) = (tempdir(), free_port());
    let data = dir.path().join("data");
    let user: &[&str] = if is_root() { &["--user=root"] } else { &[] };
    let data_arg = format!("--datadir={}", data.display());
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--skip-test-db", &data_arg]).args(user);
    ran(install.arg("--auth-root-authentication-method=normal"));
    let init = dir.path().join("init.sql");
    let grant = "create user me@'127.0.0.1' identified by 's3cret';\n\
                 create user me@localhost identified by 's3cret';\n";
    std::fs::write(&init, grant).unwrap();
    // Debian has it where not everybody looks.
    let there = Path::new("/usr/sbin/mariadbd");
    let mut command = Command::new(if there.is_file() { there } else { Path::new("mariadbd") });
    command.args(["--no-defaults", &data_arg, "--bind-address=127.0.0.1"]).args(user);
    command.arg(format!("--port={port}")).arg("--max-connections=20");
    command.arg(format!("--socket={}", dir.path().join("socket").display()));
    command.arg(format!("--init-file={}", init.display()));
    let server = started(command, dir, port, "ready for connections").await;
    let url = format!("mysql://me@127.0.0.1:{}", server.port);
    let secret = password(server.dir.path(), "s3cret");
    let mut mysql = source("mysql", &url, Some(&secret));
    assert_eq!(measured(&mut mysql, "connections").await, 0.05);
    assert!(measured(&mut mysql, "latency").await > 0.0);
    let nowhere = format!("{url}/nowhere");
    let mut nowhere = source("mysql", &nowhere, Some(&secret));
    let Err(Trouble::Failed(why)) = nowhere.ask().await else { panic!("there is none") };
    assert!(why.contains("; correct the database") || why.contains("denied"), "{why}");
    let wrong = password(server.dir.path(), "another");
    fails(&mut source("mysql", &url, Some(&wrong)), "correct the user in `url`").await;
    drop(server);
}
