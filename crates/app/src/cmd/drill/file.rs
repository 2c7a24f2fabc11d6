//! Drill files: read, checked, with file, line and key of each error.

use crate::config::{ConfigError, ConfigErrors, Problem};
use evenkeel_drill::catalogue;
use evenkeel_drill::plan::{Drill, problems};
use std::path::Path;

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// A drill that was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its name: that of the file without its ending, or that of a ready one.
    pub(crate) name: String,
    /// Where it is from.
    pub(crate) shown: String,
    pub(crate) text: String,
    pub(crate) drill: Drill,
}

/// From a file, or by the name of a ready one.
pub(crate) fn load(what: &Path) -> Result<Found, ConfigErrors> {
    let name = what.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let named = what.to_str().filter(|_| !what.exists()).and_then(catalogue::file);
    if let Some(text) = named {
        let shown = format!("(ready drill) {name}");
        let drill = parse(Path::new(&shown), text)?;
        return Ok(Found { name, drill, shown, text: text.to_owned() });
    }
    let text = read(what).map_err(|error| ConfigErrors::one(missing(what, &error)))?;
    let drill = parse(what, &text)?;
    Ok(Found { name, shown: what.display().to_string(), drill, text })
}

fn read(path: &Path) -> std::io::Result<String> {
    let large = || std::io::Error::other(format!("it is larger than {LARGEST} bytes"));
    match std::fs::metadata(path)?.len() > LARGEST {
        true => Err(large()),
        false => std::fs::read_to_string(path),
    }
}

fn missing(path: &Path, error: &std::io::Error) -> ConfigError {
    match error.kind() {
        std::io::ErrorKind::NotFound => ConfigError::whole(
            path,
            "there is no such file and no ready drill of that name; `evenkeel drill list` lists them",
        ),
        _ => ConfigError::unreadable(path, error),
    }
}

fn parse(path: &Path, text: &str) -> Result<Drill, ConfigErrors> {
    let drill: Drill = toml::from_str(text).map_err(|error| {
        let error = ConfigError::syntax(path, text, &error);
        ConfigErrors::one(error.schema("evenkeel drill schema"))
    })?;
    let problems = problems(&drill).into_iter();
    let found: Vec<_> =
        problems.map(|(key, message)| Problem { key, message }.locate(path, text)).collect();
    if found.is_empty() { Ok(drill) } else { Err(ConfigErrors(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ready_drill_is_good_and_says_what_it_shows() {
        for (name, _) in catalogue::ALL {
            let found = load(Path::new(name)).unwrap_or_else(|errors| panic!("{name}: {errors}"));
            assert!(found.drill.about.len() > 20 && found.name == *name, "{name}");
        }
    }

    #[test]
    fn errors_name_file_line_key_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        for (text, parts) in [
            ("[[fault]]\nwhat = \"kil\"\n", &["mine.toml:2:", "fault[0].what", "there are"][..]),
            ("[[fault]]\nwhat = \"kill\"\nfro = 1\n", &["mine.toml:3:", "did you mean `for`"]),
            ("[load]\nrte = 1\n", &["mine.toml:2:", "did you mean `rate`"]),
            ("[[fault]]\nwhat = 1\n", &["mine.toml:2:"]),
            ("about = \"nothing\"\n", &["mine.toml", "add a [[fault]]"]),
        ] {
            std::fs::write(&file, text).unwrap();
            let errors = load(&file).unwrap_err().to_string();
            assert!(parts.iter().all(|part| errors.contains(part)), "{errors}");
        }
        let none = load(Path::new("no-such-drill")).unwrap_err().to_string();
        assert!(none.contains("evenkeel drill list"), "{none}");
    }
}
