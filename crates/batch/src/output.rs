//! Writing a batch's output and error files: in the order of its lines, as a stream.
//!
//! Good answers (2xx) go to the one, everything else to the other, as OpenAI does it.

use crate::content::{Now, READ, Writer};
use crate::lines::{Found, Lines};
use crate::validate::parse;
use evenkeel_domain::durable::{
    Answer, Batch, BatchStore, End, Fence, FileAbout, FileId, Finish, LineResult, StoreError,
};
use serde_json::json;
use std::collections::VecDeque;

/// Bytes of answers that are held at once.
const ANSWERS: usize = 4 << 20;

/// Writes what there is of `batch` and says how it ends. With `end` `Expired`, a batch
/// that turns out to be whole is completed.
pub(crate) async fn write(
    store: &dyn BatchStore,
    now: &Now,
    fence: &Fence,
    batch: &Batch,
    end: End,
) -> Result<Finish, StoreError> {
    let mut outputs = Outputs { store, now, fence, batch, good: None, bad: None, unanswered: 0 };
    let mut answers = Answers { store, batch, waiting: VecDeque::new(), from: 0 };
    let mut ids = Ids::new(store, &batch.order.input);
    // A batch that was cancelled before its file was read has no lines to speak of.
    if batch.times.in_progress.is_some() {
        let mut index = 0;
        while let Some(id) = ids.next().await? {
            let answer = answers.of(index).await?;
            outputs.line(index, &id, answer, end).await?;
            index += 1;
        }
    }
    outputs.finish(end).await
}

/// The `custom_id`s of a file that was found good, as JSON.
struct Ids<'a> {
    store: &'a dyn BatchStore,
    input: &'a FileId,
    lines: Option<Lines>,
    offset: u64,
    found: VecDeque<String>,
}

impl<'a> Ids<'a> {
    fn new(store: &'a dyn BatchStore, input: &'a FileId) -> Self {
        Self { store, input, lines: Some(Lines::unbounded()), offset: 0, found: VecDeque::new() }
    }

    async fn next(&mut self) -> Result<Option<String>, StoreError> {
        while self.found.is_empty() {
            let Some(mut lines) = self.lines.take() else { return Ok(None) };
            let piece = self.store.read_file(self.input, self.offset, READ).await?;
            self.offset += piece.len() as u64;
            let found = &mut self.found;
            let collect = |line: Found<'_>| found.extend(custom_id(line));
            if piece.is_empty() {
                lines.end(collect);
            } else {
                lines.push(&piece, collect);
                self.lines = Some(lines);
            }
        }
        Ok(self.found.pop_front())
    }
}

/// A request's `custom_id` as JSON; `None` for a blank line. The file was found good, and
/// never changes: every other line has one.
fn custom_id(found: Found<'_>) -> Option<String> {
    let Found::Line { bytes, .. } = found else { return Some("null".into()) };
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    let id = parse(bytes).and_then(|line| line.custom_id.map(|id| id.get().to_owned()));
    Some(id.unwrap_or_else(|| "null".into()))
}

/// A batch's answers in order, some at a time.
struct Answers<'a> {
    store: &'a dyn BatchStore,
    batch: &'a Batch,
    waiting: VecDeque<Answer>,
    from: u32,
}

impl Answers<'_> {
    async fn of(&mut self, index: u32) -> Result<Option<Answer>, StoreError> {
        if self.waiting.is_empty() && self.from <= index {
            let more = self.store.answers(&self.batch.id, index, ANSWERS).await?;
            self.from = more.last().map_or(u32::MAX, |last| last.index + 1);
            self.waiting = more.into();
        }
        let here = self.waiting.front().is_some_and(|answer| answer.index == index);
        Ok(if here { self.waiting.pop_front() } else { None })
    }
}

struct Outputs<'a> {
    store: &'a dyn BatchStore,
    now: &'a Now,
    fence: &'a Fence,
    batch: &'a Batch,
    good: Option<Writer<'a>>,
    bad: Option<Writer<'a>>,
    unanswered: u32,
}

impl<'a> Outputs<'a> {
    async fn line(
        &mut self,
        index: u32,
        custom_id: &str,
        answer: Option<Answer>,
        end: End,
    ) -> Result<(), StoreError> {
        self.unanswered += u32::from(answer.is_none());
        let good = answer.as_ref().is_some_and(|answer| answer.result.is_good());
        let id = self.batch.id.as_str().trim_start_matches("batch_");
        let line = render(&format!("batch_req_{id}_{index}"), custom_id, answer, end);
        let writer = if good { &mut self.good } else { &mut self.bad };
        if writer.is_none() {
            let owner = &self.batch.order.owner;
            let file = self.store.begin_file(owner, Some(self.fence), (self.now)()).await?;
            *writer = Some(Writer::new(self.store, self.now, file));
        }
        match writer {
            Some(writer) => writer.write(&line).await,
            None => Ok(()),
        }
    }

    async fn finish(self, end: End) -> Result<Finish, StoreError> {
        let about = |kind: &str| FileAbout {
            filename: format!("{}_{kind}.jsonl", self.batch.id),
            purpose: "batch_output".into(),
            expires_at: self.batch.order.output_expires_after.map(|span| (self.now)() + span),
        };
        let (output, errors) = (about("output"), about("error"));
        let end = match end {
            End::Expired if self.unanswered == 0 => End::Completed,
            end => end,
        };
        Ok(Finish {
            end,
            output: named(self.good, output).await?,
            errors: named(self.bad, errors).await?,
            unanswered: self.unanswered,
        })
    }
}

async fn named(
    writer: Option<Writer<'_>>,
    about: FileAbout,
) -> Result<Option<(FileId, FileAbout)>, StoreError> {
    match writer {
        None => Ok(None),
        Some(writer) => Ok(Some((writer.finish().await?, about))),
    }
}

/// One line of an output file.
fn render(id: &str, custom_id: &str, answer: Option<Answer>, end: End) -> Vec<u8> {
    let mut line = format!("{{\"id\":{},\"custom_id\":{custom_id},", json!(id)).into_bytes();
    let (request_id, result) = match answer {
        Some(answer) => (answer.request_id, answer.result),
        None => (String::new(), unanswered(end)),
    };
    match result {
        LineResult::Response { status, body } => {
            let head = format!(
                "\"response\":{{\"status_code\":{status},\"request_id\":{},\"body\":",
                json!(request_id)
            );
            line.extend_from_slice(head.as_bytes());
            line.extend_from_slice(&body);
            line.extend_from_slice(b"},\"error\":null}\n");
        }
        LineResult::Error { code, message } => {
            let error = json!({ "code": code, "message": message });
            line.extend_from_slice(format!("\"response\":null,\"error\":{error}}}\n").as_bytes());
        }
    }
    line
}

fn unanswered(end: End) -> LineResult {
    let (code, message) = match end {
        End::Cancelled => {
            ("batch_cancelled", "This request was not executed because the batch was cancelled.")
        }
        End::Expired | End::Completed => (
            "batch_expired",
            "This request could not be executed before the completion window expired.",
        ),
    };
    LineResult::Error { code: code.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_domain::durable::Tokens;
    use serde_json::Value;

    fn answer(result: LineResult) -> Answer {
        Answer { index: 0, request_id: "req".into(), result, tokens: Tokens::default() }
    }

    fn line(answer: Option<Answer>, end: End) -> Value {
        let line = render("batch_req_1", r#""a\nb""#, answer, end);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn lines_are_as_openai_writes_them() {
        let body = br#"{"ok":true}"#.to_vec();
        let good = line(Some(answer(LineResult::Response { status: 200, body })), End::Completed);
        let expected = json!({
            "id": "batch_req_1",
            "custom_id": "a\nb",
            "response": { "status_code": 200, "request_id": "req", "body": { "ok": true } },
            "error": null,
        });
        assert_eq!(good, expected);
        let lost = LineResult::Error { code: "c".into(), message: "m \"x\"".into() };
        let lost = line(Some(answer(lost)), End::Completed);
        assert_eq!(lost["response"], Value::Null);
        assert_eq!(lost["error"], json!({ "code": "c", "message": "m \"x\"" }));
        assert_eq!(line(None, End::Expired)["error"]["code"], "batch_expired");
        assert_eq!(line(None, End::Cancelled)["error"]["code"], "batch_cancelled");
    }
}
