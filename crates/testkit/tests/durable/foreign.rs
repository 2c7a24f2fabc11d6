//! The openai package against files and batches. It finds what our own clients cannot.

use crate::support::{PATIENCE, Server, example};
use evenkeel_testkit::{Process, tempdir};
use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn foreign_openai_files_and_batches() {
    let python = std::env::var_os("EVENKEEL_TEST_PYTHON").expect(
        "EVENKEEL_TEST_PYTHON names a Python with scripts/requirements.txt installed; \
         scripts/test installs one, `scripts/test --quick` leaves these tests out",
    );
    let dir = tempdir();
    let server = Server::start(Command::new(example()).arg(dir.path()).arg("20"), dir.path()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durable/openai_batches.py");
    let mut command = Command::new(python);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    command.arg(format!("http://{}/v1", server.address));
    let mut client = Process::start("client", &mut command, dir.path());
    let ended = client.wait(PATIENCE).await;
    assert!(ended.is_some_and(|ended| ended.success()), "{ended:?}: {}", client.output());
}
