//! A wall clock that is wrong: the gateway's own, `clock:1h` ahead or `clock:-1h` behind.
//!
//! Replicas keep theirs: a process that runs cannot be given another clock from outside.

use crate::fault::asked::Asked;
use crate::fault::spec;

pub(super) fn make(value: &str) -> Result<Asked, String> {
    let (sign, text) = match value.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, value),
    };
    let ms = i64::try_from(spec::duration(text)?.as_millis()).unwrap_or(i64::MAX);
    let year = 366 * 24 * 3_600_000;
    if ms == 0 || ms > year {
        return Err(format!("`{value}`: up to a year, and not nothing"));
    }
    Ok(Asked::Clock(sign * ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_and_behind() {
        assert_eq!(make("1s"), Ok(Asked::Clock(1000)));
        assert_eq!(make("-2m"), Ok(Asked::Clock(-120_000)));
        for bad in ["", "0s", "--1s", "2years", "now"] {
            assert!(make(bad).is_err(), "{bad}");
        }
    }
}
