//! Log-probabilities belong to tokens: they can be cut only between two of them.

use serde_json::Value;

/// Cuts those of the first `cut` bytes of a choice's text; `left` bytes of it remain.
pub(super) fn cut(choice: &mut Value, cut: usize, left: usize) -> Result<(), ()> {
    let Some(logprobs) = choice.get_mut("logprobs").filter(|l| !l.is_null()) else {
        return Ok(());
    };
    if left == 0 {
        *logprobs = Value::Null;
        return Ok(());
    }
    if let Some(content) = logprobs.get_mut("content").and_then(Value::as_array_mut) {
        let lengths = content.iter().map(|c| token_length(c.get("token")));
        let gone = tokens_in(lengths, cut)?;
        content.drain(..gone);
        return Ok(());
    }
    let Some(tokens) = logprobs.get("tokens").and_then(Value::as_array) else { return Err(()) };
    let gone = tokens_in(tokens.iter().map(|t| token_length(Some(t))), cut)?;
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        if let Some(list) = logprobs.get_mut(key).and_then(Value::as_array_mut) {
            list.drain(..gone.min(list.len()));
        }
    }
    Ok(())
}

fn token_length(token: Option<&Value>) -> Option<usize> {
    token.and_then(Value::as_str).map(str::len)
}

/// How many whole tokens make up exactly `bytes`.
fn tokens_in(lengths: impl Iterator<Item = Option<usize>>, bytes: usize) -> Result<usize, ()> {
    let mut left = bytes;
    let mut count = 0;
    for length in lengths {
        if left == 0 {
            break;
        }
        left = left.checked_sub(length.ok_or(())?).ok_or(())?;
        count += 1;
    }
    if left == 0 { Ok(count) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn between_tokens_only() {
        let make = || {
            json!({"logprobs": {"content": [
                {"token": "ab", "logprob": -1.0}, {"token": "c", "logprob": -2.0}]}})
        };
        let mut choice = make();
        assert_eq!(cut(&mut choice, 2, 1), Ok(()));
        assert_eq!(choice["logprobs"]["content"], json!([{"token": "c", "logprob": -2.0}]));
        assert_eq!(cut(&mut make(), 1, 2), Err(()));
        let mut whole = make();
        assert_eq!(cut(&mut whole, 3, 0), Ok(()));
        assert!(whole["logprobs"].is_null());
        let mut text = json!({"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1, -2]}});
        assert_eq!(cut(&mut text, 1, 1), Ok(()));
        assert_eq!(text["logprobs"], json!({"tokens": ["b"], "token_logprobs": [-2]}));
    }
}
