//! Tokens with nothing in them.

use crate::fault::{Fault, Flow, SharedFault, spec, text};
use std::fmt;
use std::sync::Arc;

/// Texts are empty; blanks behind them keep the length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hollow;

impl Fault for Hollow {
    fn change(&self, flow: &mut Flow, piece: &mut [u8]) {
        // Answers begun before go on as they were: no server changes in the middle of one.
        if flow.follow(piece).is_none() {
            return;
        }
        for key in ["content", "text"] {
            text::strings(piece, key, |string| {
                string[1..].fill(b' ');
                string[1] = b'"';
            });
        }
    }
}

impl fmt::Display for Hollow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hollow")
    }
}

pub(crate) fn make(value: &str) -> Result<SharedFault, String> {
    spec::nothing(value)?;
    Ok(Arc::new(Hollow))
}

#[cfg(test)]
mod tests {
    use crate::fault::{Flow, parse};
    use evenkeel_domain::clock::now;

    fn changed(fault: &str, text: &str) -> String {
        let mut piece = text.as_bytes().to_vec();
        let (fault, mut flow) = (parse(fault).unwrap(), Flow::new(1, 1, now()));
        fault.change(&mut flow, &mut piece);
        assert_eq!(piece, text.as_bytes(), "an answer begun before the fault goes on");
        fault.change(&mut flow, &mut b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
        fault.change(&mut flow, &mut piece);
        String::from_utf8(piece).unwrap()
    }

    #[test]
    fn texts_are_changed_where_they_stand() {
        let text = r#"{"model":"demo","content": "a \"zoo\"\n"}"#;
        assert_eq!(changed("hollow", text), r#"{"model":"demo","content": ""           }"#);
        assert_eq!(changed("wrong", text), r#"{"model":"demo","content": "b \"app\"\n"}"#);
        assert_eq!(changed("rename", text), r#"{"model":"xemo","content": "a \"zoo\"\n"}"#);
        for cut in [r#"{"content":"never en"#, r#"{"content":"#, r#""content":null"#] {
            assert_eq!(changed("hollow", cut), cut);
        }
    }
}
