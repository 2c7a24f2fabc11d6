//! What a fault may know of one connection.

use evenkeel_domain::rng;
use std::time::Instant;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// One connection's answers as they pass, counted since the fault was set.
#[derive(Debug)]
pub struct Flow {
    /// The time of this step.
    pub now: Instant,
    /// Seeded from the proxy's seed and the connection's number.
    pub rng: fastrand::Rng,
    /// Bytes passed to the client.
    pub passed: u64,
    /// When the last piece is due at the client.
    pub due: Instant,
    /// A fault's own decision about this connection.
    pub chosen: Option<bool>,
    place: Place,
    /// Bytes of the present answer's body before this piece.
    body: u64,
}

/// Where in an HTTP/1 answer the flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Somewhere before the first head that is seen whole.
    Unknown,
    /// In a head, with so many bytes of its end matched.
    Head(usize),
    Body,
}

impl Flow {
    /// Of connection `number` at a proxy seeded so.
    #[must_use]
    pub fn new(seed: u64, number: u64, now: Instant) -> Self {
        Self {
            now,
            rng: rng::seeded(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            passed: 0,
            due: now,
            chosen: None,
            place: Place::Unknown,
            body: 0,
        }
    }

    /// Another fault was set: its counts begin.
    pub(crate) fn begin(&mut self) {
        self.passed = 0;
        self.chosen = None;
        self.place = Place::Unknown;
    }

    /// Follows the piece through an HTTP/1 answer: how many of its bytes belong to the head,
    /// and how many bytes of body came before it. `None` while no answer's start was seen.
    ///
    /// An answer starts with a piece that starts with `HTTP/1.`; clients that pipeline are
    /// beyond it.
    pub fn follow(&mut self, piece: &[u8]) -> Option<(usize, u64)> {
        if piece.starts_with(b"HTTP/1.") && !matches!(self.place, Place::Head(_)) {
            self.place = Place::Head(0);
            self.body = 0;
        }
        let head = match self.place {
            Place::Unknown => return None,
            Place::Body => 0,
            Place::Head(matched) => self.follow_head(matched, piece),
        };
        let before = self.body;
        self.body += (piece.len() - head) as u64;
        Some((head, before))
    }

    fn follow_head(&mut self, mut matched: usize, piece: &[u8]) -> usize {
        for (at, byte) in piece.iter().enumerate() {
            matched = match *byte == HEAD_END[matched] {
                true => matched + 1,
                false => usize::from(*byte == b'\r'),
            };
            if matched == HEAD_END.len() {
                self.place = Place::Body;
                return at + 1;
            }
        }
        self.place = Place::Head(matched);
        piece.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::clock::now;

    #[test]
    fn heads_and_bodies_are_told_apart_wherever_they_are_cut() {
        let answer = b"HTTP/1.1 200 OK\r\nx: \r\r\n\r\nbody";
        for cut in 7..answer.len() {
            let mut flow = Flow::new(1, 1, now());
            let (first, second) = answer.split_at(cut);
            let (head, _) = flow.follow(first).unwrap();
            let (more, before) = flow.follow(second).unwrap();
            assert_eq!(head + more, answer.len() - 4, "cut at {cut}");
            assert_eq!(before as usize, cut.saturating_sub(answer.len() - 4));
            assert_eq!(flow.follow(answer), Some((answer.len() - 4, 0)));
        }
        assert_eq!(Flow::new(1, 1, now()).follow(b"in the middle"), None);
    }
}
