//! Server-sent events mean the same however the stream is cut.

#![no_main]

use evenkeel_gateway::fuzzing::pieces;
use evenkeel_wire::sse::{Event, Reader, SseError};
use libfuzzer_sys::fuzz_target;

/// Small, so that the bound is reached.
const LIMIT: usize = 64;

fn read(pieces: &[&[u8]]) -> (Vec<Event>, Result<(), SseError>, bool) {
    let mut reader = Reader::new(LIMIT);
    let mut events = Vec::new();
    let end = pieces.iter().try_for_each(|piece| reader.feed(piece, |e| events.push(e)));
    let inside = end.is_ok() && reader.is_inside_event();
    (events, end, inside)
}

fuzz_target!(|data: &[u8]| {
    let (whole, pieces) = pieces(data);
    assert_eq!(read(&[whole]), read(&pieces), "cut as {pieces:?}");
});
