//! A client that others wrote: HTTP/2 and TLS.

use crate::support::{Up, chat, service, until};
use evenkeel_testkit::{Behaviour, Replica, answer, tempdir};

const PATH: &str = "/v1/chat/completions";

/// A certificate for 127.0.0.1, signed by itself.
fn certificate(dir: &std::path::Path, name: &str) {
    let mut wanted = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("an address");
    wanted.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let cert = wanted.self_signed(&key).expect("it can be signed");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("a file can be written");
    std::fs::write(dir.join("cert.pem"), cert.pem()).expect("a file can be written");
}

/// What curl says.
async fn curl(args: &[&str]) -> String {
    let mut command = tokio::process::Command::new("curl");
    let ran = command.args(["-sS", "--max-time", "5"]).args(args).kill_on_drop(true).output().await;
    let ran = ran.expect("curl runs");
    let err = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{args:?}: {err}");
    String::from_utf8_lossy(&ran.stdout).into_owned() + &err
}

#[tokio::test]
async fn foreign_curl_speaks_http2_without_tls() {
    let replica = Replica::start(Behaviour::Good).await;
    let up = Up::start(&service("", &[replica.url()])).await.ready().await;
    let url = up.url() + PATH;
    let body = chat("hello", 4, false);
    let json = "content-type: application/json";
    let format = "\n%{http_version} %{http_code}";
    let said =
        curl(&["--http2-prior-knowledge", "-w", format, "-H", json, "-d", &body, &url]).await;
    assert!(said.ends_with("2 200") && said.contains(&answer::text("hello", 4)), "{said}");
    let stream = chat("hello", 4, true);
    let said = curl(&["--http2-prior-knowledge", "-N", "-H", json, "-d", &stream, &url]).await;
    assert!(said.trim_end().ends_with("data: [DONE]"), "{said}");
}

#[tokio::test]
async fn foreign_curl_speaks_tls_and_a_new_certificate_is_taken() {
    let replica = Replica::start(Behaviour::Good).await;
    let dir = tempdir();
    certificate(dir.path(), "first");
    let [cert, key] = ["cert.pem", "key.pem"].map(|f| dir.path().join(f).display().to_string());
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n");
    let up = Up::with(&tls, &service("", &[replica.url()])).await.ready().await;
    let url = format!("https://{}{PATH}", up.clients);
    let body = chat("hello", 4, false);
    let json = "content-type: application/json";
    let format = "\n%{http_version} %{http_code}";
    for (version, flag) in [("2", "--http2"), ("1.1", "--http1.1")] {
        let said =
            curl(&["--cacert", &cert, flag, "-w", format, "-H", json, "-d", &body, &url]).await;
        assert!(said.ends_with(&format!("{version} 200")), "{said}");
    }
    certificate(dir.path(), "second");
    until("the new certificate is shown", || async {
        let mut command = tokio::process::Command::new("curl");
        let ran = command.args(["-sSv", "--cacert", &cert, "-H", json, "-d", &body, &url]);
        let ran = ran.kill_on_drop(true).output().await.expect("curl runs");
        String::from_utf8_lossy(&ran.stderr).contains("CN=second").then_some(())
    })
    .await;
    let said = curl(&["--cacert", &cert, "-w", format, "-H", json, "-d", &body, &url]).await;
    assert!(said.ends_with(" 200"), "{said}");
}
