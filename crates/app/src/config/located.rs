//! Errors in a configuration file, each with file, line, key and remedy.

use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One error in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    file: PathBuf,
    /// Line and column, from 1.
    at: Option<(usize, usize)>,
    key: String,
    message: String,
}

/// All errors found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    pub(crate) fn one(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl ConfigError {
    pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file; `evenkeel init` writes one, \
                 `evenkeel demo` needs none"
                .to_owned(),
            _ => format!("cannot be read: {error}; check its rights"),
        };
        Self { file: file.to_owned(), at: None, key: String::new(), message }
    }

    /// An error about a file as a whole.
    pub(crate) fn whole(file: &Path, message: &str) -> Self {
        Self { file: file.to_owned(), at: None, key: String::new(), message: message.to_owned() }
    }

    /// Where keys of another kind of file are listed.
    pub(crate) fn schema(mut self, command: &str) -> Self {
        self.message = self.message.replace("evenkeel config schema", command);
        self
    }

    /// An error of the parser: bad TOML, an unknown key, a value of the wrong type.
    pub(crate) fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span();
        let at = span.as_ref().map(|span| position(text, span.start));
        let key = span.and_then(|span| text.get(span)).unwrap_or_default();
        let key = if key.contains('\n') || key.len() > 40 { "" } else { key.trim() };
        let mut message = error.message().trim().replace('\n', "; ");
        if let Some(guess) = nearest(key, &message) {
            message = format!("unknown key; did you mean `{guess}`?");
        } else if message.starts_with("unknown field") {
            message.push_str("; remove it or correct it (`evenkeel config schema` lists all keys)");
        }
        Self { file: file.to_owned(), at, key: key.to_owned(), message }
    }
}

/// The expected key closest to an unknown one, from the parser's list of them.
fn nearest(key: &str, message: &str) -> Option<String> {
    let expected = message.strip_prefix("unknown field")?.split_once("expected")?.1;
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (distance(key, known), known))
        .filter(|(d, known)| *d <= known.len() / 3 + 1)
        .min()
        .map(|(_, known)| known.to_owned())
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Line and column, from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

/// A contradiction, by the path of its key: `service[0].replica[1].url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: String,
    pub(crate) message: String,
}

impl Problem {
    /// Finds the key's place in the file.
    pub(crate) fn locate(self, file: &Path, text: &str) -> ConfigError {
        let at = DeTable::parse(text).ok().and_then(|table| find(&table, &self.key));
        let at = at.map(|byte| position(text, byte));
        ConfigError { file: file.to_owned(), at, key: self.key, message: self.message }
    }
}

/// The byte where the key, or its closest parent that is there, stands.
fn find(table: &Spanned<DeTable<'_>>, path: &str) -> Option<usize> {
    let mut best = None;
    let mut here: &DeTable<'_> = table.get_ref();
    for part in path.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = here.get_key_value(name) else { break };
        best = Some(key.span().start);
        let value = match (value.get_ref(), index) {
            (DeValue::Array(items), Some(index)) => items.get(index)?,
            _ => value,
        };
        if index.is_some() {
            best = Some(value.span().start);
        }
        match value.get_ref() {
            DeValue::Table(table) => here = table,
            _ => break,
        }
    }
    best
}
