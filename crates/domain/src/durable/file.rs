//! Files.

use super::Millis;
use std::fmt;
use std::sync::Arc;

/// Content is added in multiples of this many bytes, the last part excepted: what a store
/// keeps (and seals) as one piece. 64 KiB costs one row per piece and bounds what reading a
/// single line has to open.
pub const PIECE: usize = 64 << 10;

/// The header in which a gateway tells what it trusts who calls: the id of the caller's key,
/// never the key. What clients send under this name is removed.
pub const OWNER_HEADER: &str = "x-evenkeel-key-id";

/// Whose files and batches these are: the id of the caller's key, never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// Characters of an owner.
    const LONGEST: usize = 128;

    /// An owner; `None` when the name is empty, too long (128 bytes) or not printable ASCII.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::LONGEST;
        (fits && name.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A file's id, such as `file-3f…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(String);

impl FileId {
    /// The id that `text` is. Any text will do: one that no file has is found out by asking.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is said of a file once it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAbout {
    /// What its owner calls it.
    pub filename: String,
    /// What it is for: `batch`, `batch_output` …
    pub purpose: String,
    /// When it is deleted; never if absent.
    pub expires_at: Option<Millis>,
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// Whose it is.
    pub owner: Owner,
    /// What is said of it.
    pub about: FileAbout,
    /// Bytes of its content.
    pub bytes: u64,
    /// When it became whole.
    pub created_at: Millis,
}

/// Which files are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileQuery {
    /// Only this purpose.
    pub purpose: Option<String>,
    /// Only what comes after this one, in the order asked for.
    pub after: Option<FileId>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The part.
    pub data: Vec<T>,
    /// Whether more follows.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// The first `limit` of `data`, which was asked for one more than that.
    #[must_use]
    pub fn cut(mut data: Vec<T>, limit: usize) -> Self {
        let has_more = data.len() > limit;
        data.truncate(limit);
        Self { data, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_name() {
        assert_eq!(Owner::new("key-1").unwrap().as_str(), "key-1");
        for not in ["", "a b", "a\nb", "ü", &"x".repeat(129)] {
            assert!(Owner::new(not).is_none(), "{not}");
        }
    }

    #[test]
    fn a_page_knows_whether_more_follows() {
        assert_eq!(Page::cut(vec![1, 2, 3], 2), Page { data: vec![1, 2], has_more: true });
        assert_eq!(Page::cut(vec![1, 2], 2), Page { data: vec![1, 2], has_more: false });
    }
}
