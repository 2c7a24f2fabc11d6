//! The text of a new key: `ek_<id>_` and 256 random bits.

use evenkeel_gateway::keys::PREFIX;
use ring::rand::{SecureRandom, SystemRandom};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits that 256 bits take.
const LENGTH: usize = 43;

/// A key of this name.
///
/// # Errors
/// When the system has no randomness to give.
pub(super) fn new(id: &str) -> Result<String, String> {
    let mut random = [0; 32];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| "the system gives no random bytes; try again".to_owned())?;
    Ok(format!("{PREFIX}{id}_{}", base62(random)))
}

/// A number of 256 bits, most significant digit first: no character that a shell, a URL or a
/// double click would stop at.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = [0; LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0u16;
        for byte in &mut number {
            let part = rest << 8 | u16::from(*byte);
            // Below 256, as `rest` is below 62.
            *byte = (part / 62) as u8;
            rest = part % 62;
        }
        *digit = DIGITS[usize::from(rest)];
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        let mut number = [0; 32];
        assert_eq!(base62(number), "0".repeat(43));
        number[31] = 61;
        assert_eq!(base62(number), format!("{}z", "0".repeat(42)));
        number[30] = 1;
        assert_eq!(base62(number), format!("{}57", "0".repeat(41)));
        // 2^256 - 1, which takes all 43 digits.
        let most = base62([255; 32]);
        assert_eq!((most.len(), &most[..1]), (43, "y"));
        let number = most.bytes().fold(0u8, |low, digit| {
            let digit = DIGITS.iter().position(|d| *d == digit).unwrap() as u8;
            low.wrapping_mul(62).wrapping_add(digit)
        });
        assert_eq!(number, 255);
    }

    #[test]
    fn no_two_are_the_same() {
        let (a, b) = (new("x").unwrap(), new("x").unwrap());
        assert!(a != b && a.starts_with("ek_x_") && a.len() == 48);
    }
}
