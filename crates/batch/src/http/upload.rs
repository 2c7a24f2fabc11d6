//! Uploads: read as they come, written as they come, seen once they are whole.

use super::caller::Caller;
use super::{Api, Parts, view};
use crate::content::Writer;
use crate::error::ApiError;
use crate::multipart::{Event, Form, FormError};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use evenkeel_domain::durable::{BatchStore, FileAbout, FileId, Millis, Owner};
use http::header;
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a field that is not the file.
const FIELD: usize = 1024;
/// Bytes of a file's name that are kept.
const NAME: usize = 255;
/// Fields and boundaries that a form may add to its file, in bytes.
const AROUND: u64 = 64 << 10;
/// How long an upload may stand still: a minute spans what a mobile client loses its
/// network for.
const STILL: Duration = Duration::from_secs(60);
/// How long an upload may take in all: 200 MiB at half a megabit per second.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a file may be kept that says so itself, in seconds: OpenAI's bounds.
pub(crate) const EXPIRES_AFTER: std::ops::RangeInclusive<u64> = 3600..=2_592_000;
/// What a file may be for.
const PURPOSES: [&str; 6] = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];

pub(crate) async fn upload(
    State(api): State<Api>,
    Caller(owner): Caller,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let form = Form::new(kind.unwrap_or_default())?;
    let _room = api
        .uploads
        .try_acquire()
        .map_err(|_| ApiError::busy("Too many files are being uploaded. Try again in a second."))?;
    let parts = &api.parts;
    let mut upload = Upload { parts, owner: &owner, fields: Fields::default(), file: None };
    upload.read(form, request.into_body()).await?;
    let file = upload.finish().await?;
    Ok(Json(file))
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        Self::invalid("invalid_form", format!("The form cannot be read: {error}."))
    }
}

/// A file that is given up unless it becomes whole, also when the client leaves.
struct Begun {
    store: Arc<dyn BatchStore>,
    id: FileId,
    whole: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.whole {
            let (store, id) = (self.store.clone(), self.id.clone());
            tokio::spawn(async move {
                // What fails here is swept up later.
                let _ = store.abandon_file(&id).await;
            });
        }
    }
}

/// What a form says beside the file.
#[derive(Default)]
struct Fields {
    filename: String,
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
}

/// Which field is being read.
enum Field {
    File,
    Text(&'static str, Vec<u8>),
}

struct Upload<'a> {
    parts: &'a Parts,
    owner: &'a Owner,
    fields: Fields,
    file: Option<(Begun, Writer<'a>)>,
}

impl Upload<'_> {
    async fn read(&mut self, mut form: Form, mut body: Body) -> Result<(), ApiError> {
        let most = self.parts.settings.max_file_bytes.saturating_add(AROUND);
        let (mut read, mut field) = (0, None);
        let end = Instant::now() + LONGEST;
        while !form.is_over() {
            let still = end.min(Instant::now() + STILL);
            let frame = tokio::time::timeout_at(still, body.frame()).await;
            let frame = frame.map_err(|_| ApiError::slow())?;
            let Some(frame) = frame else { return Err(FormError::Incomplete.into()) };
            let frame = frame.map_err(|_| ApiError::from(FormError::Incomplete))?;
            let Ok(data) = frame.into_data() else { continue };
            read += data.len() as u64;
            if read > most {
                return Err(ApiError::too_large(self.parts.settings.max_file_bytes));
            }
            form.push(&data);
            while let Some(event) = form.next()? {
                field = self.take(event, field).await?;
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        event: Event,
        field: Option<Field>,
    ) -> Result<Option<Field>, ApiError> {
        match (event, field) {
            (Event::Begin { name, filename }, _) => self.begin(&name, filename).await.map(Some),
            (Event::Data(data), Some(Field::File)) => {
                self.write(&data).await?;
                Ok(Some(Field::File))
            }
            (Event::Data(data), Some(Field::Text(name, mut text))) => {
                if text.len() + data.len() > FIELD {
                    let message = format!("'{name}' is longer than {FIELD} bytes.");
                    return Err(ApiError::invalid("invalid_value", message).about(name));
                }
                text.extend_from_slice(&data);
                Ok(Some(Field::Text(name, text)))
            }
            (Event::End, Some(Field::Text(name, text))) => {
                self.note(name, text)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    async fn begin(&mut self, name: &str, filename: Option<String>) -> Result<Field, ApiError> {
        match name {
            "file" if self.file.is_some() => {
                Err(ApiError::invalid("invalid_value", "One upload holds one file.").about("file"))
            }
            "file" => {
                self.fields.filename = tidy(filename.as_deref().unwrap_or("upload"));
                let Parts { store, now, .. } = self.parts;
                let id = store.begin_file(self.owner, None, now()).await?;
                let begun = Begun { store: store.clone(), id: id.clone(), whole: false };
                self.file = Some((begun, Writer::new(&**store, now, id)));
                Ok(Field::File)
            }
            "purpose" => Ok(Field::Text("purpose", Vec::new())),
            "expires_after[anchor]" => Ok(Field::Text("expires_after[anchor]", Vec::new())),
            "expires_after[seconds]" => Ok(Field::Text("expires_after[seconds]", Vec::new())),
            other => Err(ApiError::unknown(&other.chars().take(100).collect::<String>())),
        }
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), ApiError> {
        let Some((_, writer)) = &mut self.file else { return Ok(()) };
        let max = self.parts.settings.max_file_bytes;
        if writer.bytes() + data.len() as u64 > max {
            return Err(ApiError::too_large(max));
        }
        Ok(writer.write(data).await?)
    }

    fn note(&mut self, name: &'static str, text: Vec<u8>) -> Result<(), ApiError> {
        let text = String::from_utf8(text).map_err(|_| ApiError::wrong_type(name, "text"))?;
        let slot = match name {
            "purpose" => &mut self.fields.purpose,
            "expires_after[anchor]" => &mut self.fields.anchor,
            _ => &mut self.fields.seconds,
        };
        *slot = Some(text);
        Ok(())
    }

    async fn finish(self) -> Result<Value, ApiError> {
        let Self { parts, fields, file, .. } = self;
        let (mut begun, writer) = file.ok_or_else(|| ApiError::missing("file"))?;
        let now = parts.now();
        let expiry = u64::try_from(parts.settings.file_expiry.as_millis()).unwrap_or(u64::MAX);
        let about = fields.about(now, expiry)?;
        let id = writer.finish().await?;
        let file = parts.store.commit_file(&id, &about, now).await?;
        begun.whole = true;
        Ok(view::file(&file))
    }
}

impl Fields {
    fn about(self, now: Millis, batch_expiry: Millis) -> Result<FileAbout, ApiError> {
        let expires_after = self.expires_after()?;
        let purpose = self.purpose.ok_or_else(|| ApiError::missing("purpose"))?;
        if !PURPOSES.contains(&purpose.as_str()) {
            let supported = format!("Supported values are: '{}'.", PURPOSES.join("', '"));
            return Err(ApiError::wrong_value("purpose", &purpose, &supported));
        }
        let usual = (purpose == "batch").then_some(batch_expiry);
        let expires_at = expires_after.or(usual).map(|span| now.saturating_add(span));
        Ok(FileAbout { filename: self.filename, purpose, expires_at })
    }

    fn expires_after(&self) -> Result<Option<Millis>, ApiError> {
        match (self.anchor.as_deref(), self.seconds.as_deref()) {
            (None, None) => Ok(None),
            (Some("created_at"), Some(seconds)) => {
                let param = "expires_after[seconds]";
                let given = seconds.parse().ok().filter(|s| EXPIRES_AFTER.contains(s));
                let supported = "Expected seconds from 3600 to 2592000.";
                let seconds: u64 =
                    given.ok_or_else(|| ApiError::wrong_value(param, seconds, supported))?;
                Ok(Some(seconds * 1000))
            }
            (Some("created_at"), None) => Err(ApiError::missing("expires_after[seconds]")),
            (Some(other), _) => {
                let supported = "Supported values are: 'created_at'.";
                Err(ApiError::wrong_value("expires_after[anchor]", other, supported))
            }
            (None, Some(_)) => Err(ApiError::missing("expires_after[anchor]")),
        }
    }
}

/// A file's name without what steers terminals, and not too long.
fn tidy(name: &str) -> String {
    let mut tidy = String::new();
    for character in name.chars().filter(|c| !c.is_control()) {
        if tidy.len() + character.len_utf8() > NAME {
            break;
        }
        tidy.push(character);
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_tidied() {
        assert_eq!(tidy("a\x1b[2J\r\n.jsonl"), "a[2J.jsonl");
        assert_eq!(tidy(&"ü".repeat(500)).len(), 254);
    }

    #[test]
    fn what_is_said_of_a_file_is_checked() {
        let fields = |purpose: &str, anchor: Option<&str>, seconds: Option<&str>| Fields {
            filename: "f".into(),
            purpose: Some(purpose.into()),
            anchor: anchor.map(Into::into),
            seconds: seconds.map(Into::into),
        };
        let expires = |fields: Fields| fields.about(1000, 7).map(|about| about.expires_at);
        assert_eq!(expires(fields("batch", None, None)), Ok(Some(1007)));
        assert_eq!(expires(fields("vision", None, None)), Ok(None));
        let said = fields("batch", Some("created_at"), Some("3600"));
        assert_eq!(expires(said), Ok(Some(3_601_000)));
        for wrong in [
            fields("nonsense", None, None),
            fields("batch", Some("created_at"), None),
            fields("batch", None, Some("3600")),
            fields("batch", Some("birth"), Some("3600")),
            fields("batch", Some("created_at"), Some("3599")),
            fields("batch", Some("created_at"), Some("2592001")),
            fields("batch", Some("created_at"), Some("soon")),
            Fields::default(),
        ] {
            assert!(expires(wrong).is_err());
        }
    }
}
