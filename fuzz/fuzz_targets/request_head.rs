//! What a client decides: the JSON that routing reads, and header values.

#![no_main]

use evenkeel_gateway::fuzzing::{header_values, request_body};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    request_body(data);
    header_values(data);
});
