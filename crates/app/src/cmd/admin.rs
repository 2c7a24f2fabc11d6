//! Where the admin API of a running Evenkeel is, for the commands that ask it.

use crate::config::{self, replicas};
use evenkeel_admin::AdminClient;
use std::path::{Path, PathBuf};

/// The configuration whose Evenkeel is asked, when it lies in the working directory.
const HERE: &str = "evenkeel.toml";
/// Where it listens by default.
const USUAL: &str = "http://127.0.0.1:9900";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AdminArgs {
    /// Address of the admin API [default: that of ./evenkeel.toml, or http://127.0.0.1:9900]
    #[arg(long, env = "EVENKEEL_ADMIN", global = true)]
    admin: Option<String>,
    /// File with the admin token [default: that of ./evenkeel.toml, unless --admin is given]
    #[arg(long, env = "EVENKEEL_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Authority to trust, for an admin API with TLS
    #[arg(long, global = true)]
    ca: Option<PathBuf>,
}

impl AdminArgs {
    pub(crate) fn client(self) -> Result<AdminClient, String> {
        let (address, token_file) = match self.admin {
            Some(address) => (address, self.token_file),
            None => {
                let (address, file) = configured(Path::new(HERE));
                (address, self.token_file.or(file))
            }
        };
        let token = token_file.as_deref().map(replicas::read_secret).transpose()?;
        AdminClient::new(&address, token, self.ca).map_err(|e| e.to_string())
    }
}

/// Where clients connect, by the configuration in the working directory, or the usual place.
pub(super) fn clients() -> String {
    let usual = || "http://127.0.0.1:8080".to_owned();
    let file = Path::new(HERE);
    let Ok(text) = std::fs::read_to_string(file) else { return usual() };
    let Ok(config) = config::parse(file, &text) else { return usual() };
    let scheme = if config.gateway.tls.is_some() { "https" } else { "http" };
    match config.gateway.listen.all().first() {
        Some(listen) => format!("{scheme}://{}", here(listen)),
        None => usual(),
    }
}

/// Whoever listens everywhere listens here.
fn here(listen: &str) -> String {
    listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

/// Address and token file by a configuration; the usual address where there is none, or none
/// that is good.
fn configured(file: &Path) -> (String, Option<PathBuf>) {
    let usual = || (USUAL.to_owned(), None);
    let Ok(text) = std::fs::read_to_string(file) else { return usual() };
    let Ok(config) = config::parse(file, &text) else { return usual() };
    let admin = config.admin;
    let scheme = if admin.tls.is_some() { "https" } else { "http" };
    (format!("{scheme}://{}", here(&admin.listen)), admin.token_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_tells_where_to_ask() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("evenkeel.toml");
        assert_eq!(configured(&file), (USUAL.into(), None));
        let service = "[[service]]\nname = \"a\"\nmodels = [\"*\"]\n[[service.replica]]\nurl = \"http://h:1\"\n";
        let with = |admin: &str| {
            std::fs::write(&file, format!("[admin]\n{admin}\n{service}")).unwrap();
            configured(&file).0
        };
        assert_eq!(with("listen = \"127.0.0.1:7002\""), "http://127.0.0.1:7002");
        assert_eq!(with("liste = \"127.0.0.1:7002\""), USUAL, "no good configuration");
    }
}
