//! The body of a replica's answer, cut anywhere.

#![no_main]

use evenkeel_gateway::fuzzing::answer_body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| answer_body(data));
