//! Servers that are no replicas, asked as replicas are: a connection, a path, the gRPC health
//! service, an inference with a known answer. See [`crate::probe`].

use super::place::{self, Schemes};
use super::{Asking, Kind, Measure, Members, Reading, Source, Trouble, Wrong, above, value};
use crate::probe;
use evenkeel_domain::check::{CheckSettings, CheckState, Unit};
use evenkeel_domain::replica::{Identity, Secret};
use evenkeel_domain::settings::{Probe, Protocol};
use evenkeel_domain::{Replica, clock};
use std::sync::Arc;

const MEASURES: &[Measure] = &[above("latency", Unit::Seconds)];

const fn kind(name: &'static str, keys: &'static [&'static str], build: super::Build) -> Kind {
    // What does not answer is not there for those who need it.
    Kind { name, keys, measures: MEASURES, silence: CheckState::Critical, build }
}

pub(super) const TCP: Kind = kind("tcp", &["url"], tcp);
pub(super) const HTTP: Kind = kind("http", &["url", "path", "expect", "bearer_file", "ca"], http);
pub(super) const GRPC: Kind = kind("grpc", &["url", "grpc_service", "ca"], grpc);
pub(super) const INFERENCE: Kind =
    kind("inference", &["url", "path", "expect", "bearer_file", "ca", "model", "body"], inference);

const WEB: Schemes = &[("http", 80, false), ("https", 443, true)];
type Built = Result<Box<dyn Source>, Wrong>;

fn tcp(settings: &CheckSettings, _: &Arc<dyn Members>) -> Built {
    build(settings, &[("tcp", 0, false)], Probe::default())
}

fn http(settings: &CheckSettings, _: &Arc<dyn Members>) -> Built {
    let path = settings.path.as_ref().map(|path| path.display().to_string());
    let below = settings.url.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
    let bare = below.is_none_or(|uri| matches!(uri.path(), "" | "/"));
    let path = path.unwrap_or_else(|| if bare { "/".into() } else { String::new() });
    build(settings, WEB, Probe { path, ..Probe::default() })
}

fn grpc(settings: &CheckSettings, _: &Arc<dyn Members>) -> Built {
    let schemes: Schemes =
        &[("grpc", 50051, false), ("grpcs", 443, true), ("http", 80, false), ("https", 443, true)];
    let grpc_service = settings.grpc_service.clone().unwrap_or_default();
    build(settings, schemes, Probe { grpc_service, ..Probe::default() })
}

fn inference(settings: &CheckSettings, _: &Arc<dyn Members>) -> Built {
    if settings.model.is_none() && settings.body.is_none() {
        return Err(("model".into(), "is missing: the model to ask, or a whole `body`".into()));
    }
    let mut probe =
        Probe { inference_body: settings.body.clone().unwrap_or_default(), ..Probe::default() };
    if let Some(path) = &settings.path {
        probe.inference_path = path.display().to_string();
    }
    build(settings, WEB, probe)
}

fn build(settings: &CheckSettings, schemes: Schemes, probe: Probe) -> Built {
    let expect = settings.expect.clone().unwrap_or_default();
    let probe = Probe { kind: settings.kind.clone(), expect, ..probe };
    for (key, path) in [("path", &probe.path), ("path", &probe.inference_path)] {
        if !path.is_empty() && !path.starts_with('/') {
            return Err((key.into(), "a path begins with `/`".into()));
        }
    }
    let endpoint = place::read(settings, schemes)?.endpoint;
    let h2 = settings.kind == "grpc";
    let dial = place::dialer(settings, &endpoint, h2)?;
    let bearer = place::secret("bearer_file", settings.bearer_file.as_deref())?;
    let headers = bearer.map(|token| {
        ("authorization".to_owned(), Secret::new(format!("Bearer {}", token.expose())))
    });
    let model = settings.model.clone().unwrap_or_default();
    let (name, service): (Arc<str>, Arc<str>) = (settings.name.as_str().into(), "".into());
    let server = Replica::new(Identity {
        key: 0,
        name_hash: 0,
        name,
        service,
        endpoint,
        revision: "".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: headers.into_iter().collect(),
        h2,
        model: None,
        supervised: false,
        startup_deadline: None,
        standby: None,
        dial,
    });
    let probe = probe::build(&probe, Protocol::Openai, &model);
    Ok(Box::new(Asked { server, probe }))
}

#[derive(Debug)]
struct Asked {
    server: Replica,
    probe: Box<dyn probe::Probe>,
}

impl Source for Asked {
    fn ask(&mut self) -> Asking<'_> {
        Box::pin(async move {
            let began = clock::now();
            self.probe.ask(&self.server).await.map_err(|failure| {
                // A replica's name goes without saying; a server's place does not.
                let at = &*self.server.id.endpoint.authority;
                Trouble::Failed(match failure.text.contains(at) {
                    true => failure.text.to_string(),
                    false => format!("{at}: {}", failure.text),
                })
            })?;
            let took = clock::now().saturating_duration_since(began);
            Ok(Reading::of([value("latency", took.as_secs_f64(), Unit::Seconds)]))
        })
    }
}
