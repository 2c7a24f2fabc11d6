//! The ordinary event, recognised without reading it as JSON.
//!
//! A replica's events differ in their text and little else:
//! ```text
//! {"id":"…","choices":[{"delta":{"content":" sea"},"token_ids":[71],"finish_reason":null}]}
//! └─────────── before ───────────────────┘    └ between ────────┘  └──── after ───────────┘
//! ```
//! One that is the same but for these two is the same JSON. Anything else is read in full.

use super::{Channel, Notes};
use std::borrow::Cow;
use std::ops::Range;

/// Longest event that is worth remembering.
const REMEMBERED_MAX: usize = 1024;

/// What the last ordinary event looked like.
#[derive(Debug, Default)]
pub(crate) struct Pattern {
    known: Option<Known>,
    /// Events that did not fit in a row: some streams never repeat.
    misses: u8,
}

/// Misfits in a row after which nothing more is remembered.
const MISSES_MAX: u8 = 16;

#[derive(Debug)]
struct Known {
    channel: Channel,
    before: Box<str>,
    between: Box<str>,
    /// Behind the token ids; without ids, empty.
    after: Box<str>,
    has_ids: bool,
    /// Where the ids' field begins, counted from the end of `between`, and how much of
    /// `after` belongs to it.
    field: (usize, usize),
}

impl Pattern {
    /// The event's notes, if it is like the last one.
    pub(crate) fn read<'a>(&mut self, data: &'a str) -> Option<Notes<'a>> {
        let known = self.known.as_ref()?;
        let found = known.read(data);
        self.misses = if found.is_some() { 0 } else { self.misses.saturating_add(1) };
        found
    }

    /// Remembers what an ordinary event looks like.
    pub(crate) fn learn(&mut self, data: &str, notes: &Notes<'_>) {
        if self.misses < MISSES_MAX {
            self.known = Known::of(data, notes).or(self.known.take());
        }
    }
}

fn offset(data: &str, part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    data.get(start..start + part.len())?;
    Some(start..start + part.len())
}

impl Known {
    fn of(data: &str, notes: &Notes<'_>) -> Option<Self> {
        let ordinary = notes.texts.len() == 1
            && notes.finished.is_empty()
            && notes.mark.is_none()
            && !notes.usage
            && !notes.last
            && notes.sequence.is_none()
            && notes.prompt_ids.is_none()
            && data.len() <= REMEMBERED_MAX;
        let (channel, Cow::Borrowed(text)) = notes.texts.first().filter(|_| ordinary)? else {
            return None;
        };
        let text = offset(data, text)?;
        let (before, rest) = (&data[..text.start], &data[text.end..]);
        let Some(ids) = &notes.ids_at else {
            return Some(Self {
                channel: *channel,
                before: before.into(),
                between: rest.into(),
                after: "".into(),
                has_ids: false,
                field: (0, 0),
            });
        };
        let field = notes.extra.first().filter(|_| notes.extra.len() == 1)?;
        // Only behind the text.
        let from = ids.start.checked_sub(text.end)?;
        Some(Self {
            channel: *channel,
            before: before.into(),
            between: rest.get(..from)?.into(),
            after: data.get(ids.end..)?.into(),
            has_ids: true,
            field: (ids.start.checked_sub(field.start)?, field.end.checked_sub(ids.end)?),
        })
    }

    fn read<'a>(&self, data: &'a str) -> Option<Notes<'a>> {
        let rest = data.strip_prefix(&*self.before)?;
        let length = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20)?;
        if rest.as_bytes()[length] != b'"' {
            return None;
        }
        let (text, rest) = rest.split_at(length);
        let mut notes = Notes::default();
        if self.has_ids {
            let rest = rest.strip_prefix(&*self.between)?;
            let list = rest.strip_suffix(&*self.after)?;
            let start = data.len() - rest.len();
            read_ids(list, &mut notes)?;
            notes.extra.push(start - self.field.0..start + list.len() + self.field.1);
        } else if rest != &*self.between {
            return None;
        }
        if !text.is_empty() {
            notes.texts.push((self.channel, Cow::Borrowed(text)));
        }
        Some(notes)
    }
}

/// `[1,2]`, as servers write it.
fn read_ids(list: &str, notes: &mut Notes<'_>) -> Option<()> {
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    let ids = notes.ids.get_or_insert_default();
    for id in inner.split(',') {
        // JSON knows neither `+1` nor `01`.
        let plain = id == "0" || id.starts_with(|c: char| ('1'..='9').contains(&c));
        ids.push(id.parse().ok().filter(|_| plain)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::{Api, notes};
    use proptest::prelude::*;

    const IDS: &str = r#"{"id":"x","choices":[{"index":0,"delta":{"content":"T"},"token_ids":[7],"finish_reason":null}]}"#;
    const PLAIN: &str =
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":"T"}}],"usage":null}"#;

    fn learnt(data: &str) -> Pattern {
        let mut pattern = Pattern::default();
        pattern.learn(data, &notes::read(Api::Chat, "", data).unwrap());
        pattern
    }

    fn same<'n>(a: &Notes<'n>, b: &Notes<'n>) -> bool {
        a.texts == b.texts
            && a.ids == b.ids
            && a.extra == b.extra
            && a.finished == b.finished
            && a.usage == b.usage
    }

    #[test]
    fn what_is_alike_is_read_alike() {
        for (like, data) in [
            (IDS, IDS.replace('T', " ñandú").replace("[7]", "[12,13]")),
            (PLAIN, PLAIN.replace('T', " 🐚")),
            (IDS, IDS.replace('T', "")),
        ] {
            let fast = learnt(like).read(&data).expect(&data);
            assert!(same(&fast, &notes::read(Api::Chat, "", &data).unwrap()), "{data}");
        }
    }

    #[test]
    fn what_is_not_alike_is_left_to_the_reader() {
        for data in [
            IDS.replace('T', "a\\n"),
            IDS.replace('T', "a\nb"),
            IDS.replace("[7]", "[]"),
            IDS.replace("[7]", "null"),
            IDS.replace("null", "\"stop\""),
            IDS.replace("\"x\"", "\"y\""),
            PLAIN.to_owned(),
        ] {
            assert!(learnt(IDS).read(&data).is_none(), "{data}");
        }
    }

    proptest! {
        #[test]
        fn never_another_reading(text in "\\PC{0,6}|.{0,4}", ids in "\\[[0-9, \\]\\[-]{0,5}\\]|[0-9]{0,2}") {
            for like in [IDS, PLAIN] {
                let data = like.replace('T', &text).replace("[7]", &ids);
                if let Some(fast) = learnt(like).read(&data) {
                    let slow = notes::read(Api::Chat, "", &data);
                    prop_assert!(slow.is_ok(), "{data}");
                    prop_assert!(same(&fast, &slow.unwrap()), "{data}");
                }
            }
        }
    }
}
