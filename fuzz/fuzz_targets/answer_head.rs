//! The head of a replica's answer.

#![no_main]

use evenkeel_gateway::fuzzing::answer_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| answer_head(data));
