//! Model servers as processes.

use super::{EVENKEEL, SOON};
use evenkeel_testkit::{Process, TempDir, tempdir};
use std::path::Path;

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

/// The built-in model at a place of the test's choice.
pub(crate) async fn model_at(address: &str) -> Model {
    let dir = tempdir();
    let options = vec!["--model".to_owned(), "test".to_owned()];
    let mut process = launch(address, &options, dir.path());
    process.wait_for_line("http://", SOON).await.expect("the model serves");
    Model { process, address: address.to_owned(), options, dir }
}
