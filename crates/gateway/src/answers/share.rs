//! Making an attempt for all who ask the same.

use super::counted::By;
use super::errand::Errand;
use super::{Given, Got};
use crate::attempt::guard::RequestGuard;
use crate::body::OutBody;
use crate::cache::flight::{Flight, Reader};
use crate::cache::{Lead, Part, mark};
use crate::error::Refusal;
use crate::shared::Reserved;
use evenkeel_domain::{Outcome, ReplicaFault};
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What only who leads is told: an answer that is not shared.
type Own = Result<Response<OutBody>, Refusal>;

impl Errand {
    /// Makes the attempt or follows it; `None` when another's has failed.
    pub(super) async fn shared(
        self: &Rc<Self>,
        part: Part,
        request: &Rc<RequestGuard>,
    ) -> Option<Got> {
        match part {
            Part::Leads(lead) => self.lead(lead, request).await,
            Part::Follows(reader) => follow(reader).await,
        }
    }

    async fn lead(self: &Rc<Self>, lead: Lead, request: &Rc<RequestGuard>) -> Option<Got> {
        let reader = lead.flight().join()?;
        let part = Rc::new(RequestGuard::part_of(request));
        let (own, told) = oneshot::channel();
        let work = make(self.clone(), lead, part.clone(), own);
        self.worker.background.run(work);
        match told.await {
            Ok(Ok(response)) => Some(Ok(Given { response, by: By::Part(part) })),
            Ok(Err(refusal)) => Some(Err(refusal)),
            Err(_) => follow(reader).await,
        }
    }
}

async fn follow(mut reader: Reader) -> Option<Got> {
    let (status, headers) = poll_fn(|cx| reader.poll_head(cx)).await?;
    let by = By::Flight(reader.flight().clone());
    let mut response = Response::new(OutBody::Shared(Box::new(reader)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    mark(response.headers_mut(), "miss");
    Some(Ok(Given { response, by }))
}

/// Belongs to all who wait for it: ends when the last of them has left.
async fn make(errand: Rc<Errand>, lead: Lead, part: Rc<RequestGuard>, own: oneshot::Sender<Own>) {
    let flight = lead.flight().clone();
    let got = tokio::select! {
        biased;
        () = poll_fn(|cx| flight.poll_deserted(cx)) => return,
        got = Box::pin(errand.run(&part)) => got,
    };
    match got {
        Ok(response) if response.status() == StatusCode::OK => {
            let (head, body) = response.into_parts();
            flight.begin(head.status, head.headers.clone());
            drop(own);
            let memory = Reserved::none(&errand.worker);
            if drive(&flight, body, memory, &lead, &part).await {
                lead.keep_whole(head.headers.get(CONTENT_TYPE).cloned());
            }
        }
        // Nothing to share: each of the others tries by itself.
        other => {
            let _ = own.send(other);
        }
    }
}

/// Hands the answer on; gives whether it came whole and good.
async fn drive(
    flight: &Arc<Flight>,
    mut body: OutBody,
    mut memory: Reserved,
    lead: &Lead,
    part: &RequestGuard,
) -> bool {
    let mut total = 0;
    while !body.is_end_stream() && poll_fn(|cx| flight.poll_wanted(cx)).await {
        let frame = tokio::select! {
            biased;
            () = poll_fn(|cx| flight.poll_deserted(cx)) => return false,
            frame = body.frame() => frame,
        };
        match frame {
            None => break,
            Some(Err(_)) => {
                flight.end(Outcome::ReplicaFault(ReplicaFault::Truncated));
                return false;
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                total += data.len() as u64;
                let keep = if memory.grow_to(total) { lead.keep() } else { 0 };
                flight.push(data, keep);
            }
        }
    }
    let outcome = part.ended().unwrap_or(Outcome::Cancelled);
    flight.end(outcome);
    outcome == Outcome::Ok
}
