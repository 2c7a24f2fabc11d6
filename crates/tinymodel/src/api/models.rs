//! `GET /v1/models`, `/health` and `/version`; `POST /wake_up` and `/sleep`.

use http::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use crate::app::App;
use crate::body::Reply;
use crate::error::ApiError;

fn card(app: &App) -> Value {
    json!({
        "id": app.settings.model, "object": "model", "created": app.created,
        "owned_by": "evenkeel", "root": app.settings.model, "parent": null,
        "max_model_len": app.settings.context,
    })
}

/// The one model there is.
pub(crate) fn list(app: &App) -> Answer {
    let answer = json!({"object": "list", "data": [card(app)]});
    Ok(Reply::json(StatusCode::OK, answer.to_string()))
}

/// One model by name.
pub(crate) fn one(app: &App, name: &str) -> Answer {
    if name != app.settings.model {
        return Err(ApiError::no_such_model(name));
    }
    Ok(Reply::json(StatusCode::OK, card(app).to_string()))
}

/// Ready to answer.
pub(crate) fn health() -> Answer {
    Ok(Reply::json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

/// Loads the model, or frees it: vLLM's paths. Doing it twice does nothing more.
pub(crate) async fn load(app: &App, wake: bool) -> Answer {
    match wake {
        true => app.wake().await,
        false => app.sleep(),
    }
    Ok(Reply::text(StatusCode::OK, ""))
}

/// The server's version.
pub(crate) fn version() -> Answer {
    let answer = json!({"version": env!("CARGO_PKG_VERSION")});
    Ok(Reply::json(StatusCode::OK, answer.to_string()))
}
