//! Hashes that draw the model's "randomness" from what it has read.
//!
//! There is no generator with a state of its own: a draw is a function of the whole
//! context (and a seed). Whoever holds the same tokens draws the same next one, which
//! is what lets another replica go on with an answer.

use crate::token::Id;

/// Mixes well enough for draws: the finaliser of SplitMix64.
pub(crate) const fn mix(value: u64) -> u64 {
    let a = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

/// The hash of a context and one token more.
pub(crate) const fn roll(context: u64, id: Id) -> u64 {
    mix(context.rotate_left(5) ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Maps a hash to [0, 1).
pub(crate) fn unit(hash: u64) -> f32 {
    // 24 bits: all that an f32 holds.
    (hash >> 40) as f32 / (1_u32 << 24) as f32
}

/// FNV-1a over bytes, for names and fingerprints.
pub(crate) fn bytes(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
