//! From tokens to text that may be shown: characters are never split, and text that may
//! turn out to be the beginning of a stop string waits.
//!
//! ```text
//! tokens    " keel" 0xE2 0x9A 0x93 " over"          stop: "over."
//! released  " keel" ──── " ⚓" ───  (waits: " over" may become "over.")
//! ```
//!
//! Text is released at token boundaries, so that at every moment the ids handed out are
//! exactly those of the text handed out.

use crate::token::Id;

/// What a token released: text, the ids it is made of, and the stop string found.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// Text to show.
    pub(crate) text: String,
    /// The ids whose text this completes.
    pub(crate) ids: Vec<Id>,
}

/// Turns tokens into text for one sequence.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Bytes of an unfinished character, three at most.
    raw: Vec<u8>,
    /// Whole characters not yet released.
    held: String,
    held_ids: Vec<Id>,
    /// Places in `held` where a token ends: (ids, bytes).
    ends: Vec<(usize, usize)>,
}

impl Decoder {
    /// A decoder for what follows `tail`, the bytes that a prompt of token ids ends in:
    /// a character begun there is shown once it is whole.
    pub(crate) fn after(tail: &[u8]) -> Self {
        let begun = (1..=tail.len().min(3)).map(|back| &tail[tail.len() - back..]).find(|end| {
            end[0] >= 0xc0
                && std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none())
        });
        Self { raw: begun.unwrap_or_default().to_vec(), ..Self::default() }
    }

    /// Takes a token; what may be shown is put into `out`. Returns the index of the stop
    /// string that ended the text, if one did.
    pub(crate) fn push(
        &mut self,
        id: Id,
        bytes: &[u8],
        stops: &Stops,
        out: &mut Released,
    ) -> Option<usize> {
        self.held_ids.push(id);
        self.take(bytes);
        if self.raw.is_empty() {
            self.ends.push((self.held_ids.len(), self.held.len()));
        }
        if let Some((number, end)) = stops.find(&self.held) {
            self.held.truncate(end);
            self.finish(out);
            return Some(number);
        }
        let limit = self.held.len() - stops.waiting(&self.held);
        if let Some(&(ids, end)) = self.ends.iter().rev().find(|&&(_, end)| end <= limit) {
            out.ids.extend(self.held_ids.drain(..ids));
            out.text.push_str(&self.held[..end]);
            self.held.drain(..end);
            self.ends.retain(|&(count, _)| count > ids);
            self.ends.iter_mut().for_each(|place| *place = (place.0 - ids, place.1 - end));
        }
        None
    }

    /// Releases all that waits; an unfinished character is dropped.
    pub(crate) fn finish(&mut self, out: &mut Released) {
        out.text.push_str(&self.held);
        out.ids.append(&mut self.held_ids);
        self.held.clear();
        self.ends.clear();
        self.raw.clear();
    }

    /// Moves whole characters from the bytes to the text.
    fn take(&mut self, bytes: &[u8]) {
        if self.raw.is_empty()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return self.held.push_str(text);
        }
        self.raw.extend_from_slice(bytes);
        while !self.raw.is_empty() {
            let (valid, skip) = match std::str::from_utf8(&self.raw) {
                Ok(_) => (self.raw.len(), 0),
                Err(error) => (error.valid_up_to(), error.error_len().unwrap_or(0)),
            };
            self.held.push_str(&String::from_utf8_lossy(&self.raw[..valid]));
            self.raw.drain(..valid);
            if skip == 0 {
                return;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            self.raw.drain(..skip);
        }
    }
}

/// Strings that end a text.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    /// The strings, none of them empty.
    pub(crate) strings: Vec<String>,
    /// Whether the string itself is shown.
    pub(crate) shown: bool,
}

impl Stops {
    /// The stop string that comes first in `text`, and where the text then ends.
    fn find(&self, text: &str) -> Option<(usize, usize)> {
        let found = self.strings.iter().enumerate();
        let found = found.filter_map(|(number, stop)| Some((text.find(stop.as_str())?, number)));
        let (start, number) = found.min()?;
        let length = if self.shown { self.strings[number].len() } else { 0 };
        Some((number, start + length))
    }

    /// Bytes at the end of `text` that may be the beginning of a stop string.
    fn waiting(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            (1..stop.len().min(text.len() + 1))
                .rev()
                .find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length]))
        };
        self.strings.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&[u8]], stops: &[&str], shown: bool) -> (Vec<String>, Option<usize>) {
        let stops = Stops { strings: stops.iter().map(ToString::to_string).collect(), shown };
        let mut decoder = Decoder::default();
        let mut shown = Vec::new();
        for (id, piece) in pieces.iter().enumerate() {
            let mut out = Released::default();
            let found = decoder.push(id as Id, piece, &stops, &mut out);
            if !out.ids.is_empty() || !out.text.is_empty() {
                shown.push(out.text);
            }
            if found.is_some() {
                return (shown, found);
            }
        }
        let mut out = Released::default();
        decoder.finish(&mut out);
        shown.push(out.text);
        (shown, None)
    }

    #[test]
    fn a_character_waits_until_it_is_whole() {
        let (shown, _) = run(&[b"a", &[0xe2], &[0x9a], &[0x93], b"b"], &[], false);
        assert_eq!(shown, ["a", "⚓", "b", ""]);
        assert_eq!(run(&[&[0xe2], b"b", &[0xff]], &[], false).0, ["\u{fffd}b", "\u{fffd}", ""]);
    }

    #[test]
    fn a_stop_is_found_across_tokens() {
        let (shown, found) = run(&[b"the", b" even", b" keel", b" rolls"], &["x", "en ke"], false);
        assert_eq!((shown.concat().as_str(), found), ("the ev", Some(1)));
        assert_eq!(run(&[b"ab", b"cd"], &["bc"], true).0.concat(), "abc");
    }

    #[test]
    fn a_stop_that_does_not_come_is_released_at_a_token_boundary() {
        let (shown, found) = run(&[b"the", b" even", b" bow"], &["en ke"], false);
        assert_eq!((shown, found), (vec!["the".into(), " even bow".into(), String::new()], None));
    }

    #[test]
    fn the_first_of_two_stops_wins() {
        assert_eq!(run(&[b"one two three"], &["three", "two"], false).1, Some(1));
    }

    #[test]
    fn a_character_begun_in_the_prompt_is_shown_whole() {
        let mut decoder = Decoder::after(b"a \xe2\x9a");
        let mut out = Released::default();
        decoder.push(0x93, &[0x93], &Stops::default(), &mut out);
        assert_eq!((out.text.as_str(), out.ids), ("⚓", vec![0x93]));
        assert!(Decoder::after("⚓".as_bytes()).raw.is_empty());
    }

    proptest! {
        #[test]
        fn any_cut_of_a_text_shows_the_text(text in "[ab⚓é ]{0,30}", cuts in proptest::collection::vec(1_usize..4, 0..40), stop in "[ab⚓]{1,4}") {
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(head);
                rest = tail;
            }
            pieces.push(rest);
            prop_assert_eq!(run(&pieces, &[], false).0.concat(), text.clone());
            let want = text.split(&stop).next().unwrap_or_default();
            prop_assert_eq!(run(&pieces, &[&stop], false).0.concat(), want);
        }
    }
}
