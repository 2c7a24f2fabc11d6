//! The API's description, made from the handlers themselves.

use super::{alerts, held, orders, probes, read, recovery};
use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};
use utoipa::{Modify, OpenApi as _};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Evenkeel admin API",
        description = "What operators see and order. Without a token it answers on loopback only.",
        version = "v1",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        read::snapshot, read::events, read::slo, read::logs, serve,
        orders::drain, orders::undrain, orders::isolate, orders::restart,
        orders::promote, orders::demote, held::detour, held::clock,
        orders::restart_service, orders::degrade, orders::scale, orders::job_restart, orders::job_stop, orders::reload, orders::upgrade, orders::stop,
        recovery::list, recovery::show, recovery::why, recovery::plan, recovery::pause,
        recovery::resume, recovery::approve, recovery::force, recovery::undo, recovery::reset_storm,
        alerts::list, alerts::history, alerts::ack, alerts::silence, alerts::unsilence, alerts::test,
        probes::livez, probes::readyz, probes::metrics,
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "read", description = "What is so"),
        (name = "orders", description = "What is to be"),
        (name = "alerts", description = "What people are told of, and what they say to it"),
        (name = "incidents", description = "What is wrong, and what is done about it"),
        (name = "probes", description = "What machines ask; never needs a token"),
    )
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The OpenAPI document of the admin API.
#[must_use]
pub fn document() -> OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "read",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn serve() -> Json<OpenApi> {
    Json(document())
}
