//! Where the API may listen.

use std::net::SocketAddr;

/// Whether the API may listen at `address`: on loopback always, anywhere else only with a
/// token and TLS, since whoever reaches it can stop services and read their output.
///
/// # Errors
/// The text says what is missing and what to do.
pub fn check_exposure(address: SocketAddr, token: bool, tls: bool) -> Result<(), String> {
    let missing = match (address.ip().to_canonical().is_loopback(), token, tls) {
        (true, _, _) | (_, true, true) => return Ok(()),
        (_, false, false) => "a token and TLS",
        (_, false, true) => "a token",
        (_, true, false) => "TLS",
    };
    Err(format!(
        "the admin API may not listen at {address} without {missing}: \
         set them, or listen on 127.0.0.1"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_free() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check_exposure(at(loopback), false, false).is_ok(), "{loopback}");
        }
        for open in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1"] {
            assert!(check_exposure(at(open), true, true).is_ok(), "{open}");
            for (token, tls) in [(false, false), (true, false), (false, true)] {
                assert!(check_exposure(at(open), token, tls).is_err(), "{open} {token} {tls}");
            }
        }
    }
}
