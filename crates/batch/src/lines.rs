//! Cutting content into lines as it comes.

use memchr::memchr;

/// A line that was found. Without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole one.
    Line {
        /// Where it begins in the content.
        offset: u64,
        /// What it says.
        bytes: &'a [u8],
    },
    /// One that is longer than it may be.
    TooLong,
}

/// Cuts content into lines of at most `max` bytes, and holds no more than one of them.
#[derive(Debug)]
pub(crate) struct Lines {
    max: usize,
    /// What there is of the line under way.
    carry: Vec<u8>,
    /// Where that line begins.
    start: u64,
    /// How much content there was.
    taken: u64,
    too_long: bool,
}

impl Lines {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, carry: Vec::new(), start: 0, taken: 0, too_long: false }
    }

    /// For a file whose lines were found good, and so to be bounded, before.
    pub(crate) fn unbounded() -> Self {
        Self::new(usize::MAX / 2)
    }

    /// Takes the next piece of content and calls `each` for every line that ends in it.
    pub(crate) fn push(&mut self, piece: &[u8], mut each: impl FnMut(Found<'_>)) {
        let begins = self.taken;
        self.taken += piece.len() as u64;
        let mut from = 0;
        while let Some(length) = memchr(b'\n', &piece[from..]) {
            let rest = &piece[from..from + length];
            if self.carry.is_empty() {
                self.tell(rest, &mut each);
            } else {
                self.add(rest);
                let line = std::mem::take(&mut self.carry);
                self.tell(&line, &mut each);
            }
            from += length + 1;
            self.start = begins + from as u64;
            self.too_long = false;
        }
        self.add(&piece[from..]);
    }

    /// The content is over: what is left is a line too.
    pub(crate) fn end(mut self, mut each: impl FnMut(Found<'_>)) {
        let line = std::mem::take(&mut self.carry);
        if !line.is_empty() || self.too_long {
            self.tell(&line, &mut each);
        }
    }

    fn tell(&self, line: &[u8], each: &mut impl FnMut(Found<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.too_long || line.len() > self.max {
            each(Found::TooLong);
        } else {
            each(Found::Line { offset: self.start, bytes: line });
        }
    }

    fn add(&mut self, part: &[u8]) {
        // One more than a line may have: it may be the first half of its end.
        self.too_long |= self.carry.len() + part.len() > self.max + 1;
        if self.too_long {
            self.carry.clear();
        } else {
            self.carry.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines with their places; `None` for one that is too long.
    fn cut(content: &[u8], size: usize, max: usize) -> Vec<Option<(u64, Vec<u8>)>> {
        let mut found = Vec::new();
        let mut each = |line: Found<'_>| {
            found.push(match line {
                Found::Line { offset, bytes } => Some((offset, bytes.to_vec())),
                Found::TooLong => None,
            });
        };
        let mut lines = Lines::new(max);
        for piece in content.chunks(size) {
            lines.push(piece, &mut each);
            assert!(lines.carry.len() <= max + 1);
        }
        lines.end(&mut each);
        found
    }

    #[test]
    fn lines_are_found_whatever_the_pieces() {
        let content = b"one\r\n\n12345\n123456\r\n1234567890\nlast";
        let line = |offset, text: &str| Some((offset, text.as_bytes().to_vec()));
        let expected =
            vec![line(0, "one"), line(5, ""), line(6, "12345"), None, None, line(31, "last")];
        for size in 1..content.len() + 1 {
            assert_eq!(cut(content, size, 5), expected, "pieces of {size}");
        }
        assert_eq!(cut(b"", 1, 5), []);
        assert_eq!(cut(b"123456789", 2, 5), [None]);
        assert_eq!(cut(b"x\n", 9, 5), [line(0, "x")]);
    }

    proptest! {
        #[test]
        fn a_line_lies_where_it_says(content: Vec<u8>, size in 1_usize..9, max in 1_usize..9) {
            for (offset, line) in cut(&content, size, max).into_iter().flatten() {
                let at = offset as usize;
                prop_assert_eq!(&content[at..at + line.len()], &line[..]);
                prop_assert!(line.len() <= max);
            }
        }
    }
}
