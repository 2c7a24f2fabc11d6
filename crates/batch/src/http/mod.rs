//! The routes.
//!
//! | | |
//! |---|---|
//! | `POST /v1/files` | upload, as `multipart/form-data` |
//! | `GET /v1/files`, `GET /v1/files/{id}`, `DELETE …` | list, look, delete |
//! | `GET /v1/files/{id}/content` | download |
//! | `POST /v1/batches` | order |
//! | `GET /v1/batches`, `GET /v1/batches/{id}` | list, look |
//! | `POST /v1/batches/{id}/cancel` | cancel |

mod batches;
mod caller;
mod files;
mod order;
mod upload;
mod view;

use crate::content::Now;
use crate::error::ApiError;
use crate::execute::Execute;
use crate::settings::BatchSettings;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use evenkeel_domain::durable::BatchStore;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};

pub use caller::KEY_HEADER;

/// What the API needs, and shares with the [`Runner`](crate::Runner).
#[derive(Clone)]
pub struct Parts {
    /// What keeps files and batches.
    pub store: Arc<dyn BatchStore>,
    /// What answers lines, and knows which paths lead anywhere.
    pub execute: Arc<dyn Execute>,
    /// Settings.
    pub settings: Arc<BatchSettings>,
    /// Where the time comes from, such as `evenkeel_domain::clock::unix_millis`.
    pub now: Now,
    /// Tells the runner that there is something to do.
    pub wake: Arc<Notify>,
}

impl Parts {
    /// Parts that belong together, with the time of this machine.
    #[must_use]
    pub fn new(
        store: Arc<dyn BatchStore>,
        execute: Arc<dyn Execute>,
        settings: BatchSettings,
    ) -> Self {
        Self {
            store,
            execute,
            settings: Arc::new(settings),
            now: Arc::new(evenkeel_domain::clock::unix_millis),
            wake: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        (self.now)()
    }
}

/// What handlers share.
#[derive(Clone)]
struct Api {
    parts: Parts,
    uploads: Arc<Semaphore>,
}

/// The API under `/v1/files` and `/v1/batches`.
///
/// **Who calls.** Each request must carry its [`Owner`](evenkeel_domain::durable::Owner): as
/// an extension, or else in the header [`KEY_HEADER`]. The router believes either, so nobody
/// but the gateway may reach it, and the gateway must remove that header from what clients
/// send. A request with neither is refused with 401.
///
/// **What 200 means.** What was uploaded, ordered, cancelled or deleted is on disk.
pub fn router(parts: Parts) -> Router {
    let uploads = Arc::new(Semaphore::new(parts.settings.max_uploads.max(1)));
    Router::new()
        .route("/v1/files", post(upload::upload).get(files::list))
        .route("/v1/files/{id}", get(files::look).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::look))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .fallback(async || ApiError::no_path())
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        // Each handler has a bound of its own.
        .layer(DefaultBodyLimit::disable())
        .with_state(Api { parts, uploads })
}
