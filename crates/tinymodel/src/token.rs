//! Text to token ids and back.
//!
//! ```text
//! "She kept an even keel."  ->  "She" " kept" " an" " even" " keel" "."
//! "naïve ⚓"                 ->  one token per byte wherever the corpus has no such word
//! ```
//!
//! Text is cut by one rule (a run of ASCII letters, with the space before it; every
//! other byte alone), and a piece the corpus does not know becomes its bytes. So any
//! bytes survive the round trip, and a text cut where a token ends has the tokens of
//! the whole up to there: an answer can be continued from its text as exactly as from
//! its ids.

use std::collections::HashMap;

/// A token's number. The first 256 are the bytes themselves.
pub(crate) type Id = u32;

/// End of text: what a model draws when it has nothing more to say.
pub(crate) const EOT: Id = 256;
/// Opens a system turn.
pub(crate) const SYSTEM: Id = 257;
/// Opens a user's turn.
pub(crate) const USER: Id = 258;
/// Opens the assistant's turn.
pub(crate) const ASSISTANT: Id = 259;
/// Opens a tool's turn.
pub(crate) const TOOL: Id = 260;
/// Closes any turn.
pub(crate) const END: Id = 261;
/// The first id of a word; the gap leaves room for further marks without moving words.
const FIRST_WORD: Id = 272;

/// The vocabulary: bytes, marks, and the corpus's words in order of first appearance.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    words: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, Id>,
}

impl Tokenizer {
    /// Learns the words of `corpus`. A capitalised word is known with and without the
    /// space before it, so that an answer may open with any sentence.
    pub(crate) fn new(corpus: &str) -> Self {
        let mut this = Self { words: Vec::new(), ids: HashMap::new() };
        for piece in Pieces(corpus.as_bytes()) {
            this.learn(piece);
            if let [b' ', rest @ ..] = piece
                && rest.first().is_some_and(u8::is_ascii_uppercase)
            {
                this.learn(rest);
            }
        }
        this
    }

    fn learn(&mut self, piece: &[u8]) {
        if piece.len() > 1 && !self.ids.contains_key(piece) {
            let id = FIRST_WORD + u32::try_from(self.words.len()).unwrap_or(u32::MAX - FIRST_WORD);
            self.words.push(piece.into());
            self.ids.insert(piece.into(), id);
        }
    }

    /// Appends the ids of `text` to `out`.
    pub(crate) fn encode_into(&self, text: &str, out: &mut Vec<Id>) {
        for piece in Pieces(text.as_bytes()) {
            match self.ids.get(piece) {
                Some(&id) => out.push(id),
                None => out.extend(piece.iter().map(|&byte| Id::from(byte))),
            }
        }
    }

    /// The ids of `text`.
    pub(crate) fn encode(&self, text: &str) -> Vec<Id> {
        let mut out = Vec::with_capacity(text.len() / 3 + 8);
        self.encode_into(text, &mut out);
        out
    }

    /// The bytes a token stands for; none for marks and for ids outside the vocabulary.
    pub(crate) fn bytes(&self, id: Id) -> &[u8] {
        if let Ok(byte) = u8::try_from(id) {
            return &BYTES[usize::from(byte)..=usize::from(byte)];
        }
        let word = id.checked_sub(FIRST_WORD).and_then(|index| self.words.get(index as usize));
        word.map_or(&[], |word| word)
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD.
    pub(crate) fn decode(&self, ids: &[Id]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The id of an exact piece.
    pub(crate) fn id_of(&self, piece: &[u8]) -> Option<Id> {
        match piece {
            [byte] => Some(Id::from(*byte)),
            _ => self.ids.get(piece).copied(),
        }
    }

    /// One more than the largest id.
    pub(crate) fn len(&self) -> usize {
        FIRST_WORD as usize + self.words.len()
    }
}

const BYTES: [u8; 256] = {
    let mut all = [0; 256];
    let mut at = 0;
    while at < 256 {
        all[at] = at as u8;
        at += 1;
    }
    all
};

/// Cuts text into pieces by the one rule.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let word_at = usize::from(*self.0.first()? == b' ');
        let letters =
            self.0[word_at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let end = if letters == 0 { 1 } else { word_at + letters };
        let (piece, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::new("The ship sails. It's on an even keel—so they say in the café.")
    }

    #[test]
    fn words_carry_their_space() {
        let known = tokenizer();
        let ids = known.encode("The ship sails");
        assert_eq!(ids.len(), 3);
        assert_eq!(known.bytes(ids[1]), b" ship");
        assert_eq!(known.encode("It").len(), 1, "capitals are known without their space");
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(tokenizer().encode("The ship"), [272, 273]);
        assert_eq!(tokenizer().encode("é"), [0xc3, 0xa9]);
    }

    #[test]
    fn marks_and_unknown_ids_have_no_text() {
        assert_eq!(tokenizer().decode(&[ASSISTANT, 272, END, 99_999_999, EOT]), "The");
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC*|[ a-zA-Z.\n⚓漢é🚢]*") {
            let known = tokenizer();
            prop_assert_eq!(known.decode(&known.encode(&text)), text);
        }

        #[test]
        fn a_cut_between_tokens_changes_no_id(text in "[ a-zA-Z.\n⚓漢é🚢]{0,60}", cut in 0_usize..60) {
            let known = tokenizer();
            let ids = known.encode(&text);
            let head = &ids[..cut.min(ids.len())];
            let bytes: Vec<u8> = head.iter().flat_map(|&id| known.bytes(id)).copied().collect();
            if let Ok(prefix) = std::str::from_utf8(&bytes)
                // A word spelt in bytes may be cut in its middle.
                && !prefix.ends_with(|c: char| c.is_ascii_alphabetic() || c == ' ')
            {
                prop_assert_eq!(known.encode(prefix), head);
            }
        }
    }
}
