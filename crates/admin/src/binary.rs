//! Whether a program named by a caller may be run.

use crate::ports::ControlError;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The real path of a program that nobody but this process's user and root can have put
/// there. Without a token every local user reaches the API, and must not be able to run
/// something of theirs as this process's user.
///
/// # Errors
/// When it is not there, or somebody else may change it or its path.
pub(crate) fn trusted(path: &str) -> Result<PathBuf, ControlError> {
    let bad = |what: String| {
        let remedy = "give the path of a program that only you and root may change, or set a token";
        ControlError::invalid(format!("`{path}` cannot be upgraded to: {what}"), remedy)
    };
    let me = fs::metadata("/proc/self").map_err(|e| bad(e.to_string()))?.uid();
    if !Path::new(path).is_absolute() {
        return Err(bad("the path is not absolute".into()));
    }
    // The real path is what is checked and run: a link may be changed in between.
    let real = fs::canonicalize(path).map_err(|e| bad(e.to_string()))?;
    for (depth, part) in real.ancestors().enumerate() {
        let about = fs::metadata(part).map_err(|e| bad(e.to_string()))?;
        if depth == 0 && !about.is_file() {
            return Err(bad("it is no file".into()));
        }
        if !ours(&about, me) {
            return Err(bad(format!("others may change {}", part.display())));
        }
    }
    Ok(real)
}

/// Owned by us or root, and writable by nobody else; in a sticky directory others cannot
/// replace what is ours.
fn ours(about: &Metadata, me: u32) -> bool {
    let owner = about.uid();
    let shared = about.mode() & WRITABLE_BY_OTHERS != 0;
    (owner == me || owner == 0) && (!shared || about.is_dir() && about.mode() & STICKY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_may_change_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("evenkeel");
        fs::write(&file, "").unwrap();
        let set = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let text = file.to_str().unwrap();
        set(0o755);
        assert_eq!(trusted(text).unwrap(), fs::canonicalize(&file).unwrap());
        set(0o777);
        assert!(trusted(text).unwrap_err().to_string().contains("others may change"));
        assert!(trusted("evenkeel").is_err() && trusted("/no/such").is_err());
        assert!(trusted(dir.path().to_str().unwrap()).is_err());
    }
}
