//! Connections and paths.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Settings;
use crate::api::{
    Answer, chat, completions, embeddings, messages, metrics, models, responses, tokenize,
};
use crate::app::App;
use crate::body::Reply;
use crate::error::{ApiError, Dialect};
use crate::fields::Fields;

/// Time to send a request's head; a connection that says nothing is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Streams per HTTP/2 connection: more than slots and queue of any sane setting.
const H2_STREAMS: u32 = 4096;
/// A pause after accept has failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the model on `listener` until `shutdown` completes; then accepts no more and
/// lets running answers end, for [`Settings::drain`] at most. HTTP/1.1 and HTTP/2
/// (prior knowledge) share the port.
///
/// Runs on any tokio runtime with I/O and time enabled; one thread is enough.
///
/// # Errors
/// When the listener cannot tell its address. Errors of single connections end only
/// those.
pub async fn serve(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let drain = settings.drain;
    let app = Arc::new(App::new(settings));
    tracing::info!(%address, model = %app.settings.model, slots = app.settings.slots, "built-in model listens");
    let server = builder();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            _ = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let app = Arc::clone(&app);
                    let service = service_fn(move |request| answer(Arc::clone(&app), request));
                    let connection = server.serve_connection(tuned(stream), service).into_owned();
                    connections.spawn(graceful.watch(connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // How a connection ended is the client's affair.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(left = connections.len(), "answers cut at the end of the drain time");
    }
    connections.shutdown().await;
    Ok(())
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(H2_STREAMS);
    server
}

fn tuned(stream: TcpStream) -> TokioIo<TcpStream> {
    // Without it a token may wait for the acknowledgement of the one before. A failure
    // means the peer has gone, which the connection will notice.
    _ = stream.set_nodelay(true);
    TokioIo::new(stream)
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    let anthropic = request.uri().path().starts_with("/v1/messages");
    let dialect = if anthropic { Dialect::Anthropic } else { Dialect::OpenAi };
    Ok(route(&app, request).await.unwrap_or_else(|error| error.response(dialect)))
}

async fn route(app: &App, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if matches!(path, "/livez" | "/ping") {
        return Ok(Reply::text(StatusCode::OK, "ok\n"));
    }
    if head.method == Method::POST && matches!(path, "/wake_up" | "/sleep") {
        return models::load(app, path == "/wake_up").await;
    }
    if !app.ready() {
        return Err(ApiError::loading());
    }
    let wanted = if is_post(path) { Method::POST } else { Method::GET };
    if head.method != wanted && !(wanted == Method::GET && head.method == Method::HEAD) {
        known(path)?;
        return Err(ApiError::wrong_method(wanted.as_str()));
    }
    if wanted == Method::POST { post(app, path, body).await } else { get(app, path) }
}

const POSTS: [&str; 10] = [
    "/wake_up",
    "/sleep",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
];
const GETS: [&str; 4] = ["/health", "/v1/models", "/metrics", "/version"];

fn is_post(path: &str) -> bool {
    POSTS.contains(&path)
}

fn known(path: &str) -> Result<(), ApiError> {
    let found = is_post(path) || GETS.contains(&path) || path.starts_with("/v1/models/");
    found.then_some(()).ok_or_else(|| ApiError::no_such_path(path))
}

fn get(app: &App, path: &str) -> Answer {
    match path {
        "/health" => models::health(),
        "/v1/models" => models::list(app),
        "/metrics" => metrics::metrics(app),
        "/version" => models::version(),
        _ => match path.strip_prefix("/v1/models/") {
            Some(name) => models::one(app, name),
            None => Err(ApiError::no_such_path(path)),
        },
    }
}

async fn post(app: &App, path: &str, body: Incoming) -> Answer {
    let fields = Fields::parse(&read(body, app.settings.body_limit).await?)?;
    match path {
        "/v1/chat/completions" => chat::chat(app, &fields).await,
        "/v1/completions" => completions::completions(app, &fields).await,
        "/v1/responses" => responses::responses(app, &fields).await,
        "/v1/embeddings" => embeddings::embeddings(app, &fields).await,
        "/v1/messages" => messages::messages(app, &fields).await,
        "/v1/messages/count_tokens" => messages::count_tokens(app, &fields),
        "/tokenize" => tokenize::tokenize(app, &fields),
        "/detokenize" => tokenize::detokenize(app, &fields),
        _ => Err(ApiError::no_such_path(path)),
    }
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit)),
        Err(error) => Err(ApiError::bad_json(error)),
    }
}
