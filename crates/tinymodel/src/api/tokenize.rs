//! vLLM's `POST /tokenize` and `/detokenize`.

use http::StatusCode;
use serde_json::json;

use super::{Answer, chat, completions};
use crate::app::App;
use crate::body::Reply;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::prompt::{Turn, render};

/// Text or messages to token ids.
pub(crate) fn tokenize(app: &App, fields: &Fields) -> Answer {
    app.check_model(fields)?;
    let tokenizer = &app.model.tokenizer;
    let tokens = match fields.get("messages") {
        Some(messages) => {
            let turns = Turn::read_all(messages, "messages")?;
            render(tokenizer, &turns, chat::ending(fields, &turns)?)
        }
        None => {
            fields.need("prompt")?;
            tokenizer.encode(fields.text("prompt")?.unwrap_or_default())
        }
    };
    let pieces = fields
        .flag("return_token_strs", false)?
        .then(|| tokens.iter().map(|&id| tokenizer.decode(&[id])).collect::<Vec<_>>());
    let answer = json!({
        "count": tokens.len(), "max_model_len": app.settings.context,
        "tokens": tokens, "token_strs": pieces,
    });
    Ok(Reply::json(StatusCode::OK, answer.to_string()))
}

/// Token ids to text.
pub(crate) fn detokenize(app: &App, fields: &Fields) -> Answer {
    app.check_model(fields)?;
    let list = fields.need("tokens")?.as_array();
    let list = list.ok_or_else(|| ApiError::param("tokens", "must be a list of token ids"))?;
    let ids = completions::token_ids(&app.model.tokenizer, list, "tokens")?;
    let answer = json!({"prompt": app.model.tokenizer.decode(&ids)});
    Ok(Reply::json(StatusCode::OK, answer.to_string()))
}
