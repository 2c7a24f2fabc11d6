//! The standard gRPC health service (`grpc.health.v1.Health/Check`), encoded by hand: one
//! string field out, one enum field in.

use super::{Asking, Probe, connect, failure};
use bytes::{BufMut, Bytes, BytesMut};
use evenkeel_domain::Replica;
use evenkeel_domain::health::ProbeFailure;
use evenkeel_wire::client;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u8 = 1;
/// gRPC status code UNIMPLEMENTED.
const UNIMPLEMENTED: &str = "12";

#[derive(Debug)]
pub(super) struct Grpc {
    message: Bytes,
    /// A server without the health service passes by answering at all.
    lenient: bool,
}

impl Grpc {
    pub(super) fn new(service: &str) -> Self {
        Self { message: request_message(service), lenient: false }
    }

    pub(super) fn or_tcp(service: &str) -> Self {
        Self { lenient: true, ..Self::new(service) }
    }
}

/// A length-prefixed `HealthCheckRequest { service }`.
fn request_message(service: &str) -> Bytes {
    // Field 1, wire type 2. One length byte holds up to 127; longer names are cut, which
    // the server answers as unknown.
    let name = &service.as_bytes()[..service.len().min(127)];
    let mut message = BytesMut::new();
    let length = if name.is_empty() { 0 } else { name.len() + 2 };
    message.put_u8(0);
    message.put_u32(u32::try_from(length).unwrap_or(0));
    if !name.is_empty() {
        message.put_u8(0x0a);
        message.put_u8(u8::try_from(name.len()).unwrap_or(0));
        message.put_slice(name);
    }
    message.freeze()
}

/// The status in a length-prefixed `HealthCheckResponse`; 0 (UNKNOWN) when it is left out.
fn status_of(body: &[u8]) -> Option<u8> {
    let message = body.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

impl Probe for Grpc {
    fn ask<'a>(&'a self, replica: &'a Replica) -> Asking<'a> {
        Box::pin(self.check(replica))
    }
}

impl Grpc {
    async fn check(&self, replica: &Replica) -> Result<(), ProbeFailure> {
        let connection = connect(replica).await?;
        let endpoint = &replica.id.endpoint;
        let scheme = if endpoint.tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}/grpc.health.v1.Health/Check", endpoint.authority);
        let mut request = Request::new(Full::new(self.message.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.parse().map_err(|e| failure(format!("{uri}: {e}")))?;
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let (response, _guard) =
            client::open(connection, true, request).await.map_err(|e| failure(e.to_string()))?;
        let in_head = response.headers().get("grpc-status").cloned();
        let body =
            response.into_body().collect().await.map_err(|e| failure(format!("health: {e}")))?;
        let trailers = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
        let status = in_head.or(trailers);
        let status = status.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("none");
        if status == UNIMPLEMENTED && self.lenient {
            return Ok(());
        }
        if status != "0" {
            return Err(failure(format!("gRPC health check ended with status {status}")));
        }
        match status_of(&body.to_bytes()) {
            Some(SERVING) => Ok(()),
            other => Err(ProbeFailure {
                refused: false,
                not_ready: true,
                silent: false,
                text: format!("gRPC health says {other:?}, not SERVING").into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protobuf_has_them() {
        assert_eq!(&request_message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request_message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status_of(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(status_of(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status_of(&[0, 0]), None);
        assert_eq!(request_message(&"x".repeat(500)).len(), 5 + 129);
    }
}
