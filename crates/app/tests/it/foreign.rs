//! Clients and servers that others wrote, as they are installed by `scripts/test`. They find
//! what our own cannot.

use crate::support::{Answer, Model, SOON, Up, Wire, get, raw, service, until};
use evenkeel_testkit::{Process, TempDir, ports, tempdir};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Python with the packages of `scripts/requirements.txt`.
fn python() -> Command {
    let python = std::env::var_os("EVENKEEL_TEST_PYTHON").expect(
        "EVENKEEL_TEST_PYTHON names a Python with scripts/requirements.txt installed; \
         scripts/test installs one, `scripts/test --quick` leaves these tests out",
    );
    let mut command = Command::new(python);
    // What a user of this machine has set must not change what a client does.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(name)
}

/// Runs a script to its end, which must be a good one.
async fn run(name: &str, args: &[&str]) {
    let dir = tempdir();
    let mut process = Process::start(name, python().arg(script(name)).args(args), dir.path());
    let ended = process.wait(3 * SOON).await;
    let ended = ended.unwrap_or_else(|| panic!("{name} goes on: {}", process.output()));
    assert!(ended.success(), "{name}: {}", process.output());
}

/// A built-in model, and Evenkeel in front of two like it.
async fn models() -> ([Model; 2], Up) {
    let pace = ["--pace", "2"];
    let models = [Model::start(&pace).await, Model::start(&pace).await];
    let services = service("", &models.each_ref().map(Model::url)).replace("\"*\"", "\"test\"");
    let up = Up::start(&services).await.ready().await;
    (models, up)
}

#[tokio::test]
async fn foreign_openai_package() {
    let (models, up) = models().await;
    run("openai_client.py", &[&up.url(), &models[0].url()]).await;
    until("the stream that was left is over", || async {
        (up.snapshot().await["services"][0]["active"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn foreign_openai_files_and_batches() {
    let pace = ["--pace", "2"];
    let models = [Model::start(&pace).await, Model::start(&pace).await];
    let services = service("", &models.each_ref().map(Model::url)).replace("\"*\"", "\"test\"");
    let up = Up::start(&format!("[batch]\n{services}")).await.ready().await;
    run("openai_batches.py", &[&up.url()]).await;
}

#[tokio::test]
async fn foreign_anthropic_package() {
    let (models, up) = models().await;
    run("anthropic_client.py", &[&up.url(), &models[0].url()]).await;
}

/// A server that says where it serves.
async fn server(name: &str) -> (Process, String, TempDir) {
    let dir = tempdir();
    let mut process = Process::start(name, python().arg(script(name)), dir.path());
    let line = process.wait_for_line("http://", SOON).await.expect("it serves");
    let url = line.split_once("http://").map(|(_, rest)| format!("http://{rest}"));
    (process, url.unwrap_or_default(), dir)
}

async fn grpc() -> ([(Process, String, TempDir); 2], Up) {
    let servers = [server("grpc_server.py").await, server("grpc_server.py").await];
    let up = Up::start(&format!(
        "[[service]]\nname = \"echo\"\nprotocol = \"grpc\"\n[[service.replica]]\nurl = \
         \"{}\"\n[[service.replica]]\nurl = \"{}\"\n",
        servers[0].1, servers[1].1
    ))
    .await
    .ready()
    .await;
    (servers, up)
}

#[tokio::test]
async fn foreign_grpc_calls_of_every_kind() {
    let (_servers, up) = grpc().await;
    run("grpc_client.py", &[&up.clients, "all"]).await;
    let healthy = up.replicas().await;
    assert!(healthy.iter().all(|r| r["health"] == "healthy"), "{healthy:?}");
}

#[tokio::test]
async fn foreign_grpc_calls_survive_a_killed_replica() {
    let (servers, up) = grpc().await;
    let dir = tempdir();
    let log = dir.path().join("client.log");
    let out = std::fs::File::create(&log).expect("a file can be written");
    let mut client = python()
        .arg(script("grpc_client.py"))
        .args([&up.clients, "load"])
        .stdin(std::process::Stdio::piped())
        .stdout(out.try_clone().expect("a file can be shared"))
        .stderr(out)
        .spawn()
        .expect("the client starts");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    until("calls are under way", || async { said().contains("under way").then_some(()) }).await;
    servers[0].0.kill9();
    up.replica("echo-0", |r| r["health"] == "isolated").await;
    // A while longer, on the one that is left.
    let before = attempts(&up).await;
    until("the other one serves", || async { (attempts(&up).await > before + 200).then_some(()) })
        .await;
    let mut end = client.stdin.take().expect("it listens");
    end.flush().expect("it listens");
    drop(end);
    let ended =
        until("the client ends", || std::future::ready(client.try_wait().ok().flatten())).await;
    assert!(ended.success(), "{}", said());
}

async fn attempts(up: &Up) -> u64 {
    let all = up.replicas().await;
    all.iter().filter(|r| r["name"] == "echo-1").filter_map(|r| r["outcomes"]["ok"].as_u64()).sum()
}

#[tokio::test]
async fn foreign_nginx_serves_files() {
    let dir = tempdir();
    let at = dir.path().display().to_string();
    let port = ports::free_port();
    let file = dir.path().join("nginx.conf");
    let config = format!(
        "daemon off; pid {at}/pid; error_log stderr; worker_processes 1;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen 127.0.0.1:{port}; root {at}/files; }} }}\n"
    );
    std::fs::create_dir(dir.path().join("files")).expect("a directory can be made");
    // Files of root's temporary directories are not for nginx's own user.
    let config =
        if rustix::process::geteuid().is_root() { format!("user root;\n{config}") } else { config };
    std::fs::write(&file, config).expect("a file can be written");
    let large: Vec<u8> = (0..24_u32 << 20).map(|n| (n % 251) as u8).collect();
    std::fs::write(dir.path().join("files/large"), &large).expect("a file can be written");
    std::fs::write(dir.path().join("files/empty"), "").expect("a file can be written");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&at).arg("-c").arg(&file);
    let nginx = Process::start("nginx", &mut command, dir.path());
    let up = Up::start(&format!(
        "[[service]]\nname = \"files\"\nprotocol = \"http\"\nprobe = {{ interval = \"300ms\" }}\n[[service.route]]\npath = \
         \"/\"\n[[service.replica]]\nurl = \"http://127.0.0.1:{port}\"\n"
    ))
    .await
    .ready()
    .await;
    let whole = get(&up.clients, "/large").await;
    assert!(whole.status == 200 && whole.body == large, "{} of {}", whole.body.len(), large.len());
    assert_eq!(get(&up.clients, "/empty").await.body, b"");
    assert_eq!(get(&up.clients, "/nothing").await.status, 404);
    let part = with(&up, "GET /large", "range: bytes=1000000-1000099\r\n").await;
    assert_eq!((part.status, &part.body[..]), (206, &large[1_000_000..1_000_100]));
    assert_eq!(part.header("content-range"), Some("bytes 1000000-1000099/25165824"));
    assert_eq!(with(&up, "GET /large", "range: bytes=99999999-\r\n").await.status, 416);
    let etag = whole.header("etag").expect("nginx gives one").to_owned();
    let same = with(&up, "GET /large", &format!("if-none-match: {etag}\r\n")).await;
    assert_eq!(same.status, 304);
    let mut head = Wire::open(&up.clients).await;
    head.send(
        "HEAD /large HTTP/1.1\r\nhost: test\r\n\r\nGET /empty HTTP/1.1\r\nhost: test\r\n\r\n",
    )
    .await;
    let answer = head.head().await.expect("an answer to HEAD");
    assert_eq!(answer.header("content-length"), Some("25165824"));
    assert_eq!(head.answer().await.map(|a| a.status), Ok(200));
    assert_eq!(with(&up, "POST /large", "content-length: 0\r\n").await.status, 405);
    drop(nginx);
    until("nginx is missed", || async { (up.replicas().await[0]["gate"] == "shut").then_some(()) })
        .await;
}

async fn with(up: &Up, line: &str, headers: &str) -> Answer {
    let request = format!("{line} HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    raw(&up.clients, request).await.unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[tokio::test]
async fn foreign_mlserver_speaks_kserve() {
    let assets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testkit/assets/mlserver");
    let dir = tempdir();
    let [http, grpc, metrics] = ports::free_ports().map(|port| port.to_string());
    let mut command = python();
    command
        .args(["-c", "from mlserver.cli import main; main()", "start"])
        .arg(assets)
        .env("MLSERVER_HOST", "127.0.0.1")
        .env("MLSERVER_HTTP_PORT", &http)
        .env("MLSERVER_GRPC_PORT", grpc)
        .env("MLSERVER_METRICS_PORT", metrics)
        .env("MLSERVER_PARALLEL_WORKERS", "0")
        .current_dir(dir.path());
    let mut mlserver = Process::start("mlserver", &mut command, dir.path());
    let ready = format!("http://127.0.0.1:{http}/v2/models/echo/ready");
    mlserver.wait_for_ok(&ready, Duration::from_secs(45)).await.expect("MLServer starts");
    let up = Up::start(&format!(
        "[[service]]\nname = \"echo\"\nprotocol = \"kserve\"\n[[service.route]]\npath = \
         \"/v2\"\n[[service.replica]]\nurl = \"http://127.0.0.1:{http}\"\n"
    ))
    .await
    .ready()
    .await;
    let input = serde_json::json!({
        "id": "one",
        "inputs": [{ "name": "x", "shape": [3], "datatype": "FP32", "data": [1.0, 2.5, -3.0] }],
    });
    let asked = crate::support::post("/v2/models/echo/infer", "", &input.to_string());
    let answer = raw(&up.clients, asked).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["id"], &answer["model_name"]), (&"one".into(), &"echo".into()));
    assert_eq!(answer["outputs"][0]["data"], input["inputs"][0]["data"]);
    assert_eq!(get(&up.clients, "/v2/models/echo").await.json()["name"], "echo");
    assert_eq!(get(&up.clients, "/v2/models/nobody").await.status, 404);
    let broken = crate::support::post("/v2/models/echo/infer", "", "{\"inputs\": 5}");
    let refused = raw(&up.clients, broken).await.expect("an answer");
    assert!((400..500).contains(&refused.status), "{}", refused.text());
    let outside = get(&up.clients, "/v3").await;
    assert_eq!(outside.status, 404, "{}", outside.text());
}

#[tokio::test]
async fn foreign_packages_do_not_notice_a_resumed_stream() {
    let pace = ["--pace", "10"];
    let mut models = [Model::start(&pace).await, Model::start(&pace).await];
    let direct = Model::start(&["--pace", "0"]).await;
    let services = service("", &models.each_ref().map(Model::url)).replace("\"*\"", "\"test\"");
    let up = Up::start(&services).await.ready().await;
    let dir = tempdir();
    let mut command = python();
    command.arg(script("resumed_client.py")).args([up.url(), direct.url()]);
    let mut client = Process::start("resumed_client.py", &mut command, dir.path());
    for name in ["chat", "completions", "responses", "messages"] {
        let under_way = format!("under way {name}");
        let said = client.wait_for_line(&under_way, SOON).await;
        said.unwrap_or_else(|why| panic!("{why}: {}", client.output()));
        let at = crate::resume::serving(&up).await;
        models[at].again().await;
    }
    let ended = client.wait(3 * SOON).await.unwrap_or_else(|| panic!("{}", client.output()));
    assert!(ended.success(), "{}", client.output());
}
