//! Identity files: JSON, for their owner alone.

use super::IdentityError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Longer files are none of ours.
const LONGEST: u64 = 1 << 20;

pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    remedy: &'static str,
) -> Result<T, IdentityError> {
    let bad = |error| IdentityError::File { path: path.to_owned(), error, remedy };
    let wrong = |what: String| IdentityError::Content { path: path.to_owned(), what };
    if fs::metadata(path).map_err(bad)?.len() > LONGEST {
        return Err(wrong(format!("is no identity of Evenkeel's; {remedy}")));
    }
    let text = fs::read(path).map_err(bad)?;
    // Without serde's text: it may quote what it has read.
    serde_json::from_slice(&text)
        .map_err(|e| wrong(format!("is broken at line {}; {remedy}", e.line())))
}

/// Writes a new file whole or not at all.
pub(super) fn write_new<T: Serialize>(path: &Path, what: &T) -> Result<(), IdentityError> {
    let remedy = "move what is there away, or correct path and rights";
    let bad = |error| IdentityError::File { path: path.to_owned(), error, remedy };
    let text = serde_json::to_vec_pretty(what).map_err(|e| bad(e.into()))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir.filter(|dir| !dir.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(bad)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        // Unlike a rename, a link takes nobody's place.
        fs::hard_link(&part, path)
    };
    let result = written();
    // Gone already where it could not even be made.
    let _ = fs::remove_file(&part);
    result.map_err(bad)
}
