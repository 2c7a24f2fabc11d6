//! Values of JSON strings, changed in place: no length may change on the wire.

/// Calls `change` with the inside of each string that follows `"key":` and with the bytes of
/// the string and its quotes; what is cut by the piece's end is left as it is.
pub(crate) fn strings(piece: &mut [u8], key: &str, mut change: impl FnMut(&mut [u8])) {
    let needle = format!("\"{key}\":");
    let needle = needle.as_bytes();
    let mut at = 0;
    while let Some(found) = find(&piece[at..], needle) {
        let mut from = at + found + needle.len();
        while piece.get(from) == Some(&b' ') {
            from += 1;
        }
        at = from;
        if piece.get(from) != Some(&b'"') {
            continue;
        }
        let Some(end) = end(&piece[from + 1..]) else { return };
        change(&mut piece[from..=from + 1 + end]);
        at = from + end + 2;
    }
}

/// Where a string ends.
fn end(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    rest.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
