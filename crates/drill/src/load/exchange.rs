//! One request and its answer, judged.

use crate::load::connection::Connection;
use crate::load::job::Job;
use crate::load::judge::{self, StreamJudge};
use crate::load::prompt::Shot;
use crate::load::target::Target;
use crate::load::{Api, Expect, Flaw};
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The largest answer that is read.
const MOST_ANSWER: usize = 64 << 20;
/// What a buffer may keep from one request to the next: thousands of slots have two each.
const KEPT: usize = 64 << 10;

/// A connection with buffers that live from request to request.
#[derive(Default)]
pub(crate) struct Slot {
    connection: Option<Connection>,
    body: Vec<u8>,
    text: String,
    /// Bytes of body that came in for the last request.
    pub(crate) received: u64,
}

impl Slot {
    /// Sends one request on the kept connection, or on a new one, and judges the answer.
    /// `on_tokens` hears of each piece with content, and how many events it held.
    pub(crate) async fn exchange(
        &mut self,
        job: &Job,
        target: &Target,
        shot: &Shot,
        on_tokens: impl FnMut(u64) + Send,
    ) -> Result<(), Flaw> {
        self.received = 0;
        self.body.clear();
        self.body.shrink_to(KEPT);
        self.text.clear();
        self.text.shrink_to(KEPT);
        let mut connection = self.checkout(job, target).await?;
        let request = job.request(target, shot.body.clone(), connection.is_h2());
        let answer = connection.send(request).await.map_err(|e| Flaw::broken(&e, false))?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            self.read(&mut connection, body).await?;
            self.connection = Some(connection);
            return Err(Flaw::status(head.status, &head.headers, &self.body));
        }
        if job.settings.stream {
            check_type(&head.headers)?;
            self.stream(&mut connection, body, job.settings.api, on_tokens).await?;
        } else {
            self.read(&mut connection, body).await?;
        }
        self.connection = Some(connection);
        self.judge(job, shot.key)
    }

    /// What was answered.
    pub(crate) fn answer(&self, api: Api) -> &[u8] {
        if api == Api::Plain { &self.body } else { self.text.as_bytes() }
    }

    async fn checkout(&mut self, job: &Job, target: &Target) -> Result<Connection, Flaw> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_ready().await
        {
            return Ok(kept);
        }
        Connection::open(target, job.settings.h2).await
    }

    fn judge(&mut self, job: &Job, key: u64) -> Result<(), Flaw> {
        let api = job.settings.api;
        if !job.settings.stream {
            judge::unary(api, &self.body, &mut self.text)?;
        }
        let learn = match job.settings.expect {
            Expect::Nothing => return Ok(()),
            Expect::First => true,
            Expect::Reference(_) => false,
        };
        job.expected.judge(key, self.answer(api), learn).map_err(Flaw::wrong)
    }

    async fn read(&mut self, connection: &mut Connection, mut body: Incoming) -> Result<(), Flaw> {
        while let Some(piece) = next_piece(connection, &mut body).await? {
            self.count(&piece)?;
            self.body.extend_from_slice(&piece);
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        connection: &mut Connection,
        mut body: Incoming,
        api: Api,
        mut on_tokens: impl FnMut(u64) + Send,
    ) -> Result<(), Flaw> {
        let mut judge = StreamJudge::new(api);
        loop {
            let piece = match next_piece(connection, &mut body).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(flaw) => {
                    let after = judge.contents();
                    let text = format!("after {after} content events: {}", flaw.text);
                    return Err(Flaw::new(flaw.outcome, text));
                }
            };
            self.count(&piece)?;
            let tokens = judge.feed(&piece)?;
            if tokens > 0 {
                on_tokens(tokens);
            }
        }
        judge.end()?;
        self.text.push_str(judge.text());
        Ok(())
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), Flaw> {
        self.received += piece.len() as u64;
        if self.received > MOST_ANSWER as u64 {
            return Err(Flaw::wrong(format!("answer larger than {MOST_ANSWER} bytes")));
        }
        Ok(())
    }
}

/// A server that ignores `stream` answers in one piece. No type at all is let pass.
fn check_type(headers: &HeaderMap) -> Result<(), Flaw> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    if given.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream") {
        return Ok(());
    }
    Err(Flaw::wrong(format!("a stream was asked for, {given:?} was sent")))
}

async fn next_piece(
    connection: &mut Connection,
    body: &mut Incoming,
) -> Result<Option<Bytes>, Flaw> {
    loop {
        match connection.drive(body.frame()).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Flaw::broken(&error, true)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
