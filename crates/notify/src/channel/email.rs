//! E-mail over SMTP. `smtps://` is TLS from the start, `smtp://` must offer STARTTLS,
//! `smtp+plain://` is for a mail server on this machine only.

use super::{Channel, Sending, retry};
use crate::settings::{ChannelSettings, Wrong};
use crate::stage::Answer;
use crate::text;
use evenkeel_domain::alert::{Kind, Message, Severity};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    shown: String,
}

/// Which way to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tls,
    StartTls,
    Plain,
}

pub(super) fn make(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Wrong> {
    let url = settings.place()?;
    let url = url.ok_or(("url", "is needed: the mail server, as smtp://HOST:587".to_owned()))?;
    let (way, host, port) = place(url.expose())?;
    let from = settings.from.as_deref().ok_or(("from", "is needed: the sender".to_owned()))?;
    let from = mailbox("from", from)?;
    if settings.to.is_empty() {
        return Err(("to", "is needed: who gets it, as a list".into()));
    }
    let to = settings.to.iter().map(|one| mailbox("to", one)).collect::<Result<Vec<_>, _>>()?;
    let tls = match way {
        Way::Plain => Tls::None,
        Way::Tls => Tls::Wrapper(parameters(&host, settings.ca.as_deref())?),
        Way::StartTls => Tls::Required(parameters(&host, settings.ca.as_deref())?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
        .port(port)
        .tls(tls)
        .timeout(Some(settings.timeout));
    match (&settings.user, settings.key()?) {
        (Some(user), Some(password)) => {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        (None, None) => {}
        (Some(_), None) => return Err(("user", "has no password; set `secret_file`".into())),
        (None, Some(_)) => return Err(("secret", "is nobody's; set `user`".into())),
    }
    let shown = format!("{host}:{port}");
    Ok(Arc::new(Email { transport: builder.build(), from, to, shown }))
}

fn place(url: &str) -> Result<(Way, String, u16), Wrong> {
    let wrong = |text: &str| ("url", text.to_owned());
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| wrong("is no URL; try smtp://HOST:587"))?;
    let (way, usual) = match scheme {
        "smtps" => (Way::Tls, 465),
        "smtp" => (Way::StartTls, 587),
        "smtp+plain" => (Way::Plain, 25),
        _ => return Err(wrong("begins with smtp://, smtps:// or smtp+plain://")),
    };
    let rest = rest.trim_end_matches('/');
    if rest.contains('@') {
        return Err(wrong("has no user in it: use `user` and `secret_file`"));
    }
    let v6 = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match v6 {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port =
        port.map_or(Ok(usual), |port| port.parse::<u16>().map_err(|_| wrong("has no valid port")))?;
    if host.is_empty() || host.contains('/') || port == 0 {
        return Err(wrong("names no host; try smtp://HOST:587"));
    }
    let near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if way == Way::Plain && !near {
        return Err(wrong(
            "mail leaves this machine encrypted only: use smtp:// (STARTTLS) or smtps://",
        ));
    }
    Ok((way, host.to_owned(), port))
}

fn parameters(host: &str, ca: Option<&Path>) -> Result<TlsParameters, Wrong> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        let told = |e: &dyn std::fmt::Display| ("ca", format!("{}: {e}", path.display()));
        let pem = std::fs::read(path).map_err(|e| told(&e))?;
        let certificate = Certificate::from_pem(&pem).map_err(|e| told(&e))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|e| ("url", format!("TLS cannot be set up: {e}")))
}

fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, Wrong> {
    text.parse().map_err(|e| (key, format!("`{text}` is no mail address: {e}")))
}

impl Email {
    fn mail(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let host = self.from.email.domain();
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(text::title(message))
            // The same each time that it is sent: mailboxes drop copies.
            .message_id(Some(format!("<{}@{host}>", message.id)))
            .header(ContentType::TEXT_PLAIN);
        let thread = format!("<{}.episode@{host}>", message.episode);
        if !message.alerts.is_empty() {
            mail = mail.references(thread.clone()).in_reply_to(thread);
        }
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let urgent = message.kind != Kind::Resolved
            && message.alerts.iter().any(|a| a.finding.severity == Severity::Page);
        let note = if urgent { "This is a page.\n\n" } else { "" };
        mail.body(format!("{note}{}-- \nEvenkeel, message {}\n", text::body(message), message.id))
    }
}

impl Channel for Email {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async move {
            let mail = match self.mail(message) {
                Ok(mail) => mail,
                Err(error) => {
                    return Answer::Permanent(format!("no mail can be made of it: {error}"));
                }
            };
            match self.transport.send(mail).await {
                Ok(said) => {
                    Answer::Delivered(format!("{} accepted it ({})", self.shown, said.code()))
                }
                Err(error) => self.judge(&error),
            }
        })
    }

    fn place(&self) -> String {
        self.shown.clone()
    }
}

impl Email {
    fn judge(&self, error: &lettre::transport::smtp::Error) -> Answer {
        let why = format!("{}: {error}", self.shown);
        if error.is_permanent() {
            return Answer::Permanent(format!("{why}; check `user`, `from` and `to`"));
        }
        if error.is_client() {
            return Answer::Permanent(format!(
                "{why}; check `url`: does it offer STARTTLS and a way to sign in?"
            ));
        }
        if error.is_response() {
            return retry(format!("{why}: what is there does not speak SMTP; check `url`"));
        }
        retry(why)
    }
}
