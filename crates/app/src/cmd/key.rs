//! `evenkeel key`: makes, lists and takes back the keys that clients show.
//!
//! It works on a file, whether Evenkeel runs or not; one that runs sees the change by itself.

// By path, as in `status.rs`: one file per command, its parts below.
#[path = "key/file.rs"]
mod file;
#[path = "key/table.rs"]
mod table;
#[path = "key/text.rs"]
mod text;

use super::{BAD_CONFIG, fail};
use crate::config::keys::{KeyConfig, NAME, is_name};
use crate::config::{self, Config, key_file};
use evenkeel_domain::clock;
use evenkeel_domain::settings::{Quota, Tier};
use evenkeel_gateway::keys::hash;
use file::{FileError, KeysFile};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// The file that keys are written to when the configuration names none.
const DEFAULT_FILE: &str = "keys.toml";

/// Arguments of `evenkeel key`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    order: Order,
    /// Configuration file: names the key file under [gateway], as `keys`
    #[arg(short, long, global = true, default_value = config::DEFAULT_FILE)]
    config: PathBuf,
    /// Key file, instead of the one that the configuration names
    #[arg(long, global = true)]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Make a key; it is printed once, and kept as a hash only
    New(Box<New>),
    /// List keys: whose they are, what they may, until when
    List,
    /// Take a key back
    Revoke {
        /// The key's name
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// Its name: letters, digits, dashes, dots, underscores
    id: String,
    /// The tenant that it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// The highest tier that its requests may have: core or best_effort
    #[arg(long, value_parser = tier)]
    tier: Option<Tier>,
    /// A service it may use; may be given several times. Without it, all
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Requests a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Quota::MOST_PER_MINUTE))]
    requests_per_minute: Option<u64>,
    /// Tokens of prompts and answers a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Quota::MOST_PER_MINUTE))]
    tokens_per_minute: Option<u64>,
    /// Streams at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    streams: Option<u32>,
    /// When it ends: after a time, like 30d, or a date, like 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<SystemTime>,
}

fn tier(text: &str) -> Result<Tier, String> {
    let known = Tier::ALL.into_iter().find(|tier| tier.label() == text.replace('-', "_"));
    known.ok_or_else(|| "a tier is core or best_effort".into())
}

fn end(text: &str) -> Result<SystemTime, String> {
    let after = humantime::parse_duration(text).ok().and_then(|t| clock::wall().checked_add(t));
    let date = || humantime::parse_rfc3339_weak(text).ok();
    after.or_else(date).ok_or_else(|| "no time; try 30d, or 2027-01-31T00:00:00Z".into())
}

/// Where keys are, and what is said of them elsewhere.
struct Place {
    config_path: PathBuf,
    /// As far as it can be read: keys may be made before all else is right.
    config: Config,
    file: PathBuf,
    /// Whether the configuration names the file.
    named: bool,
}

impl Place {
    fn of(args: &Args) -> Self {
        let text = std::fs::read_to_string(&args.config).unwrap_or_default();
        let named = key_file(&args.config, &text);
        let default = || config::beside(&args.config, Path::new(DEFAULT_FILE));
        let file = args.file.clone().or_else(|| named.clone()).unwrap_or_else(default);
        Self {
            named: named.as_ref() == Some(&file),
            config: toml::from_str(&text).unwrap_or_default(),
            config_path: args.config.clone(),
            file,
        }
    }

    /// What to do so that a key counts.
    fn next(&self) -> String {
        let (file, config) = (self.file.display(), self.config_path.display());
        if self.named {
            return "a running Evenkeel takes it over within a second".into();
        }
        let name = self.file.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        format!("{config} does not name {file} yet: add `keys = \"{name}\"` to its [gateway]")
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let place = Place::of(args);
    let done = match &args.order {
        Order::New(new) => make(&place, new),
        Order::List => list(&place),
        Order::Revoke { id } => revoke(&place, id),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(FileError::Bad(why)) => {
            eprintln!("{why}");
            ExitCode::from(BAD_CONFIG)
        }
        Err(FileError::Other(why)) => fail(&why),
    }
}

fn make(place: &Place, new: &New) -> Result<(), FileError> {
    if !is_name(&new.id) {
        return Err(FileError::Other(format!("`{}`: {NAME}", new.id)));
    }
    let mut file = KeysFile::open_or_new(&place.file)?;
    if let Some(why) = conflict(place, &file, new) {
        return Err(FileError::Other(why));
    }
    let text = text::new(&new.id).map_err(FileError::Other)?;
    let key = KeyConfig {
        id: new.id.clone(),
        hash: hash(&text).to_string(),
        tenant: new.tenant.clone(),
        tier: new.tier,
        services: (!new.services.is_empty()).then(|| new.services.clone()),
        expires: new.expires.map(|end| humantime::format_rfc3339_seconds(end).to_string()),
        revoked: false,
        limits: Quota {
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            streams: new.streams,
        },
    };
    file.add(&key)?;
    println!("{text}");
    eprintln!("key `{}` is in {}, as a hash: it is not shown again", new.id, place.file.display());
    eprintln!("{}", place.next());
    Ok(())
}

/// Why there can be no such key.
fn conflict(place: &Place, file: &KeysFile, new: &New) -> Option<String> {
    let (id, config) = (&new.id, place.config_path.display());
    let mut all = file.keys().iter().chain(&place.config.key);
    if let Some(there) = all.find(|key| key.id == *id) {
        let more = if there.revoked { ", and was revoked" } else { "" };
        return Some(format!("there is a key `{id}` already{more}; name this one otherwise"));
    }
    let tenant = |name: &str| place.config.tenant.iter().any(|tenant| tenant.name == name);
    if tenant(id) {
        return Some(format!("`{id}` is the name of a tenant; name the key otherwise"));
    }
    if let Some(name) = new.tenant.as_ref().filter(|name| !tenant(name)) {
        return Some(format!(
            "{config} has no tenant `{name}`; add a [[tenant]] of this name first"
        ));
    }
    let known = |name: &&String| place.config.service.iter().any(|s| s.name == **name);
    let unknown = new.services.iter().find(|name| !known(name))?;
    Some(format!("{config} has no service `{unknown}`"))
}

fn list(place: &Place) -> Result<(), FileError> {
    let file = KeysFile::open_if_there(&place.file)?;
    let own = place.config.key.iter().map(|key| (key, place.config_path.as_path()));
    let further = file.iter().flat_map(KeysFile::keys).map(|key| (key, place.file.as_path()));
    let all: Vec<_> = own.chain(further).collect();
    if all.is_empty() {
        eprintln!("there is no key in {}; `evenkeel key new ID` makes one", place.file.display());
        return Ok(());
    }
    print!("{}", table::render(&all, clock::unix_millis()));
    Ok(())
}

fn revoke(place: &Place, id: &str) -> Result<(), FileError> {
    let mut file = match KeysFile::open_if_there(&place.file)? {
        Some(file) if file.keys().iter().any(|key| key.id == id) => file,
        _ if place.config.key.iter().any(|key| key.id == id) => {
            let config = place.config_path.display();
            let why = format!("the key `{id}` is in {config}; add `revoked = true` to it there");
            return Err(FileError::Other(why));
        }
        _ => {
            let file = place.file.display();
            let why = format!("there is no key `{id}` in {file}; `evenkeel key list` shows all");
            return Err(FileError::Other(why));
        }
    };
    if !file.revoke(id)? {
        eprintln!("the key `{id}` was revoked already");
        return Ok(());
    }
    eprintln!("the key `{id}` is revoked; {}", place.next());
    Ok(())
}
