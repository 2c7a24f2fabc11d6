//! Whom an agent obeys: the keeper with the highest epoch it has seen, and no earlier one.
//!
//! What is obeyed is written down before it is: an agent that is started again does not
//! obey one that was replaced.

use crate::words::Term;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The fence of one agent.
#[derive(Debug)]
pub(super) struct Fence {
    path: PathBuf,
    authority: String,
    obeyed: Mutex<Option<Term>>,
    /// Rises with each session: the newest alone may command.
    session: watch::Sender<u64>,
}

/// The right to command, until the next one has it.
#[derive(Debug)]
pub(super) struct Right {
    number: u64,
    newest: watch::Receiver<u64>,
}

/// Why somebody may not command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    /// Epochs of another authority do not count.
    authority: String,
    term: Term,
}

impl Fence {
    /// Reads what was obeyed last.
    pub(super) fn open(dir: &Path, authority: &str) -> io::Result<Self> {
        let path = dir.join("fence.json");
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        fs::create_dir_all(dir).map_err(named)?;
        let obeyed = match fs::read(&path) {
            Ok(text) => {
                let written: Written = serde_json::from_slice(&text).map_err(|e| {
                    named(io::Error::other(format!("{e}; remove it if no other keeper is left")))
                })?;
                Some(written).filter(|w| w.authority == authority).map(|w| w.term)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(named(error)),
        };
        Ok(Self {
            path,
            authority: authority.to_owned(),
            obeyed: Mutex::new(obeyed),
            session: watch::Sender::new(0),
        })
    }

    /// Lets a keeper command from now on, or says why not.
    pub(super) fn admit(&self, term: Term) -> Result<Right, Refused> {
        let mut obeyed = self.obeyed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *obeyed {
            let later = term.epoch > known.epoch || term == known;
            if !later {
                let why = format!(
                    "another start of the keeper, of epoch {}, commands this agent (this one is of \
                     epoch {}); stop one of them, or restart the one that is to take over",
                    known.epoch, term.epoch
                );
                return Err(Refused { why, epoch: known.epoch });
            }
        }
        if *obeyed != Some(term) {
            self.write(term).map_err(|error| Refused {
                why: format!("the agent cannot write {}: {error}", self.path.display()),
                epoch: 0,
            })?;
            *obeyed = Some(term);
        }
        self.session.send_modify(|number| *number += 1);
        let newest = self.session.subscribe();
        let number = *newest.borrow();
        Ok(Right { number, newest })
    }

    fn write(&self, term: Term) -> io::Result<()> {
        let written = Written { authority: self.authority.clone(), term };
        let text = serde_json::to_vec(&written)?;
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

impl Right {
    /// Whether it still holds.
    pub(super) fn holds(&self) -> bool {
        *self.newest.borrow() == self.number
    }

    /// Waits until it is another's.
    pub(super) async fn lost(&mut self) {
        let number = self.number;
        // The fence lives as long as the agent.
        let _ = self.newest.wait_for(|newest| *newest != number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(epoch: u64, nonce: u64) -> Term {
        Term { epoch, nonce }
    }

    #[test]
    fn the_highest_epoch_commands_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let fence = Fence::open(dir.path(), "a").unwrap();
        let first = fence.admit(term(3, 1)).unwrap();
        let again = fence.admit(term(3, 1)).unwrap();
        assert!(!first.holds() && again.holds(), "the newest connection of the same start");
        for older in [term(2, 9), term(3, 2)] {
            let refused = fence.admit(older).unwrap_err();
            assert_eq!(refused.epoch, 3);
            assert!(refused.why.contains("stop one of them") && again.holds());
        }
        fence.admit(term(5, 1)).unwrap();
        assert!(!again.holds());
        let fence = Fence::open(dir.path(), "a").unwrap();
        assert!(fence.admit(term(4, 1)).is_err());
        assert!(Fence::open(dir.path(), "another").unwrap().admit(term(1, 1)).is_ok());
    }

    #[test]
    fn a_broken_file_is_no_licence() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("fence.json"), "{").unwrap();
        let error = Fence::open(dir.path(), "a").unwrap_err().to_string();
        assert!(error.contains("fence.json") && error.contains("remove it"), "{error}");
    }
}
