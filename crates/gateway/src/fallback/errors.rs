//! What an error answer says of the way out. Pure.

use serde_json::Value;

/// How servers say that a prompt is too long for the model: OpenAI and most that follow it
/// by code, vLLM, SGLang, llama.cpp, TGI and Anthropic's API by text or type.
const TOO_LONG: [&str; 8] = [
    "maximum context length",
    "exceeds the available context size",
    "longer than the model's context length",
    "exceeds the model's maximum context",
    "exceed_context_size_error",
    "exceeds the context window",
    "prompt is too long",
    "`inputs` tokens + `max_new_tokens` must be",
];

/// Whether an error says that the request is too long for this model: a larger one may
/// answer it, another copy of the same never.
pub(crate) fn is_too_long(status: u16, body: &[u8]) -> bool {
    if !matches!(status, 400 | 413 | 422) {
        return false;
    }
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = if value["error"].is_object() { &value["error"] } else { &value };
    if error["code"] == "context_length_exceeded" || error["type"] == "context_length_exceeded" {
        return true;
    }
    let texts = [&error["message"], &error["type"], &value["error"], &value["detail"]];
    texts.into_iter().filter_map(Value::as_str).any(|text| {
        let text = text.to_ascii_lowercase();
        TOO_LONG.iter().any(|known| text.contains(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_understood() {
        let table = [
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, true),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}"#,
                true,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_ctx":4096}}"#,
                true,
            ),
            (
                400,
                r#"{"object":"error","message":"The input (9000 tokens) is longer than the model's context length (8192 tokens)."}"#,
                true,
            ),
            (
                422,
                r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048"}"#,
                true,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                true,
            ),
            (400, r#"{"error":{"message":"no","code":"content_policy_violation"}}"#, false),
            (400, r#"{"error":{"message":"max_tokens must be positive"}}"#, false),
            (500, r#"{"error":{"code":"context_length_exceeded"}}"#, false),
            (400, "maximum context length", false),
        ];
        for (status, body, expected) in table {
            assert_eq!(is_too_long(status, body.as_bytes()), expected, "{body}");
        }
    }
}
