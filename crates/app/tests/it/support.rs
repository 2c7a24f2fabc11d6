//! Evenkeel and model servers as processes, and a client that says what it sends.

use evenkeel_domain::clock::now;
use evenkeel_testkit::{Process, TempDir, tempdir};
use serde_json::Value;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The binary under test.
pub(crate) const EVENKEEL: &str = env!("CARGO_BIN_EXE_evenkeel");
/// How long anything may take that takes milliseconds on a machine with nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until there is something to see. The only place where tests wait.
///
/// # Panics
/// When nothing comes in time.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = now() + SOON;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// [`until`] for what is asked without waiting.
pub(crate) async fn until_so(what: &str, mut so: impl FnMut() -> bool) {
    until(what, || std::future::ready(so().then_some(()))).await;
}

/// A running `evenkeel up`. Dropping it kills the keeper, and with that everything else.
pub(crate) struct Up {
    pub(crate) process: Process,
    /// Where clients connect.
    pub(crate) clients: String,
    /// Where operators connect.
    pub(crate) admin: String,
    gateway: String,
    pub(crate) dir: TempDir,
}

impl Up {
    /// With these services, and defaults for the rest.
    pub(crate) async fn start(services: &str) -> Self {
        Self::with("", services).await
    }

    /// With these services and these lines in `[gateway]` (and tables after it).
    pub(crate) async fn with(gateway: &str, services: &str) -> Self {
        Self::within(tempdir(), gateway, services).await
    }

    /// The same in a directory that may hold an earlier one's state.
    pub(crate) async fn within(dir: TempDir, gateway: &str, services: &str) -> Self {
        write_config(dir.path(), gateway, services);
        Self::from(dir, gateway).await
    }

    /// With the `evenkeel.toml` of a directory.
    pub(crate) async fn from(dir: TempDir, gateway: &str) -> Self {
        let mut command = std::process::Command::new(EVENKEEL);
        command.args(["up", "-c"]).arg(dir.path().join("evenkeel.toml"));
        command.env_remove("EVENKEEL_LOG").env("XDG_STATE_HOME", dir.path());
        let mut process = Process::start("evenkeel", &mut command, dir.path());
        let line = process.wait_for_line(" serving ", SOON).await.expect("it serves");
        let field = |name: &str| {
            let rest = line.split_once(&format!("{name}=\"")).expect("a named address").1;
            let rest = rest.split('"').next().unwrap_or_default();
            rest.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let (clients, admin) = (field("clients"), field("admin"));
        Self { process, clients, admin, gateway: gateway.to_owned(), dir }
    }

    /// Once all its replicas can be used.
    pub(crate) async fn ready(self) -> Self {
        until("all replicas are open", || async {
            let all = self.replicas().await;
            (!all.is_empty() && all.iter().all(|r| r["gate"] == "open")).then_some(())
        })
        .await;
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.clients)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("evenkeel.toml")
    }

    /// Writes other services into the configuration.
    pub(crate) fn rewrite(&self, services: &str) {
        write_config(self.dir.path(), &self.gateway, services);
    }

    /// The snapshot of the admin API.
    pub(crate) async fn snapshot(&self) -> Value {
        let answer = get(&self.admin, "/api/v1/snapshot").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// All replicas of the snapshot; none while nobody answers.
    pub(crate) async fn replicas(&self) -> Vec<Value> {
        let Ok(answer) = Wire::get(&self.admin, "/api/v1/snapshot").await else {
            return Vec::new();
        };
        let services = answer.json()["services"].as_array().cloned().unwrap_or_default();
        services
            .iter()
            .flat_map(|s| s["replicas"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// One replica of the snapshot, once it looks as wanted.
    pub(crate) async fn replica(&self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        until(&format!("replica {name} as wanted"), || async {
            self.replicas().await.into_iter().find(|r| r["name"] == name).filter(|r| so(r))
        })
        .await
    }

    /// Process ids of the supervised replicas, once all run.
    pub(crate) async fn pids(&self) -> Vec<u32> {
        until("all replicas run", || async {
            let all = self.replicas().await;
            let pids: Option<Vec<u32>> = all.iter().map(|r| pid(&r["process"]["pid"])).collect();
            pids.filter(|p| !p.is_empty())
        })
        .await
    }

    /// Process id of the gateway.
    pub(crate) async fn gateway_pid(&self) -> u32 {
        pid(&self.snapshot().await["gateway"]["pid"]).expect("the gateway has a process id")
    }

    /// Runs a command against its admin API.
    pub(crate) async fn cli(&self, args: &[&str]) -> Ran {
        let admin = format!("http://{}", self.admin);
        evenkeel(&[args, &["--admin", &admin]].concat()).await
    }
}

fn pid(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|pid| u32::try_from(pid).ok())
}

fn write_config(dir: &Path, gateway: &str, services: &str) {
    let text = format!(
        "state_dir = \"{}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \
         \"127.0.0.1:0\"\n{gateway}\n{services}",
        dir.display()
    );
    // Whole or not at all: the file is watched.
    let new = dir.join("evenkeel.toml.new");
    std::fs::write(&new, text).expect("the configuration can be written");
    let file = dir.join("evenkeel.toml");
    std::fs::rename(new, file).expect("the configuration can be replaced");
}

/// A service for any model in front of these URLs; `settings` are lines of its table.
pub(crate) fn service(settings: &str, urls: &[String]) -> String {
    let mut text = format!("[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n{settings}\n");
    for url in urls {
        text.push_str(&format!("[[service.replica]]\nurl = \"{url}\"\n"));
    }
    text
}

/// A service of `copies` built-in models under Evenkeel's care.
pub(crate) fn supervised(copies: u32, options: &[&str]) -> String {
    let more: String = options.iter().map(|o| format!(", \"{o}\"")).collect();
    format!(
        "[[service]]\nname = \"chat\"\nmodels = [\"*\"]\n[[service.replica]]\ncommand = \
         [\"{EVENKEEL}\", \"model\", \"--model\", \"test\", \"--listen\", \
         \"127.0.0.1:{{port}}\"{more}]\ncopies = \
         {copies}\nstop_grace = \"5s\"\n"
    )
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the binary to its end.
pub(crate) async fn evenkeel(args: &[&str]) -> Ran {
    let mut command = tokio::process::Command::new(EVENKEEL);
    let running = command.args(args).env_remove("EVENKEEL_LOG").kill_on_drop(true).output();
    let ended: Output = tokio::time::timeout(SOON, running)
        .await
        .unwrap_or_else(|_| panic!("{args:?} did not end"))
        .expect("the binary runs");
    Ran {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// The built-in model as a process of its own.
pub(crate) struct Model {
    process: Process,
    pub(crate) address: String,
    options: Vec<String>,
    dir: TempDir,
}

impl Model {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let dir = tempdir();
        let named = ["--model", "test"];
        let options: Vec<String> = named.iter().chain(options).map(|o| (*o).to_owned()).collect();
        let mut process = launch("127.0.0.1:0", &options, dir.path());
        let line = process.wait_for_line("http://", SOON).await.expect("the model serves");
        let address = line.rsplit('/').next().unwrap_or_default().to_owned();
        Self { process, address, options, dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn kill9(&self) {
        self.process.kill9();
    }

    /// Starts it anew where it was.
    pub(crate) async fn again(&mut self) {
        self.kill9();
        self.process.wait(SOON).await.expect("a killed process ends");
        self.process = launch(&self.address, &self.options, self.dir.path());
        self.process.wait_for_line("http://", SOON).await.expect("the model serves again");
    }
}

fn launch(listen: &str, options: &[String], dir: &Path) -> Process {
    let mut command = std::process::Command::new(EVENKEEL);
    command.args(["model", "--listen", listen]).args(options);
    Process::start("model", &mut command, dir)
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A connection that sends what it is told, byte by byte.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// OpenAI's error code.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        stream.set_nodelay(true).expect("loopback has no delay");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; that nobody takes them any more shows in the answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next bytes up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|w| w == end) {
                return Ok(self.read.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        let reading = self.stream.read_buf(&mut self.read);
        match tokio::time::timeout(SOON, reading).await {
            Ok(Ok(0)) => Err(format!("closed after {:?}", String::from_utf8_lossy(&self.read))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("nothing more came".into()),
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.read.len() < count {
            self.more().await?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// What follows a status line that was read already.
    pub(crate) async fn rest_of_answer(&mut self) -> Result<Answer, String> {
        self.read.splice(0..0, *b"HTTP/1.1 200 OK\r\n");
        self.answer().await
    }

    /// The head of the next answer.
    pub(crate) async fn head(&mut self) -> Result<Answer, String> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header field has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Ok(Answer {
            status: status.ok_or_else(|| format!("no status: {head}"))?,
            headers: lines.map(field).collect(),
            body: Vec::new(),
        })
    }

    /// The next answer, whole.
    pub(crate) async fn answer(&mut self) -> Result<Answer, String> {
        let mut answer = self.head().await?;
        if matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|e| format!("{e}"))?;
            answer.body = self.exactly(length).await?;
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await? {
                answer.body.extend(chunk);
            }
        } else {
            while self.more().await.is_ok() {}
            answer.body = std::mem::take(&mut self.read);
        }
        Ok(answer)
    }

    /// The next chunk of a chunked body; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.read_until(b"\r\n").await?;
        let line = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(line.trim(), 16).map_err(|e| format!("{e}: {line}"))?;
        let chunk = self.exactly(size).await?;
        self.exactly(2).await?;
        Ok((size > 0).then_some(chunk))
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(address: &str, path: &str) -> Result<Answer, String> {
        let asking = async {
            let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            let mut wire = Self { stream, read: Vec::new() };
            wire.send(format!(
                "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ))
            .await;
            wire.answer().await
        };
        let timed = tokio::time::timeout(SOON, asking).await;
        timed.unwrap_or_else(|_| Err("no answer in time".into()))
    }
}

/// One GET.
pub(crate) async fn get(address: &str, path: &str) -> Answer {
    Wire::get(address, path).await.unwrap_or_else(|e| panic!("GET {address}{path}: {e}"))
}

/// Bytes, answered.
pub(crate) async fn raw(address: &str, bytes: impl AsRef<[u8]>) -> Result<Answer, String> {
    let mut wire = Wire::open(address).await;
    wire.send(bytes).await;
    wire.answer().await
}

/// A POST as bytes; `headers` are lines, each ended.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// A chat completion as a body.
pub(crate) fn chat(prompt: &str, tokens: u32, stream: bool) -> String {
    serde_json::json!({
        "model": "test",
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    })
    .to_string()
}

/// Asks for a chat completion.
pub(crate) async fn ask(address: &str, headers: &str, body: &str) -> Answer {
    let request = post("/v1/chat/completions", headers, body);
    raw(address, request).await.unwrap_or_else(|e| panic!("{address}: {e}"))
}

/// The built-in model at a place of the test's choice.
pub(crate) async fn model_at(address: &str) -> Model {
    let dir = tempdir();
    let options = vec!["--model".to_owned(), "test".to_owned()];
    let mut process = launch(address, &options, dir.path());
    process.wait_for_line("http://", SOON).await.expect("the model serves");
    Model { process, address: address.to_owned(), options, dir }
}
