//! From a request to a service: by explicit routes (path, host, header), then by the
//! request's model.

pub(crate) mod head;

use crate::admit::keys::Keys;
use crate::admit::queue::Queue;
use crate::balance::{self, Policy};
use crate::within::Within;
use evenkeel_domain::settings::{Protocol, ServiceSettings, Tier};
use evenkeel_domain::{Pool, Service};
use http::request::Parts;
use std::collections::HashMap;
use std::sync::Arc;

/// One explicit route. All conditions given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteRule {
    /// Path prefix on segment borders; `/` for any.
    pub path: String,
    /// Host without port; empty for any.
    pub host: String,
    /// Header fields with exact values.
    pub headers: Vec<(String, String)>,
    /// Tier of requests on this route, where it differs from the service's.
    pub tier: Option<Tier>,
}

/// A service with what the gateway needs to serve it.
#[derive(Debug)]
pub struct Entry {
    /// The service.
    pub service: Service,
    /// Its balance policy.
    pub(crate) policy: Box<dyn Policy>,
    /// Whether this process serves it itself: then it is asked once, and never waited for.
    pub(crate) within: bool,
    /// Requests that wait for its replicas; the same across reloads.
    pub(crate) queue: Arc<Queue>,
}

/// All routes and services of one configuration. Immutable; replaced as a whole.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<Arc<Entry>>,
    /// Most specific first.
    rules: Vec<(RouteRule, usize)>,
    by_model: HashMap<String, usize>,
    any_model: Option<usize>,
    /// Services that take every path of their protocol when no rule names it.
    fallback: HashMap<Protocol, usize>,
    /// What this process serves itself; before everything else.
    within: Option<Within>,
    /// Who may ask; without it anybody may.
    keys: Option<Keys>,
}

/// Why a table cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTable {
    /// No such policy.
    #[error("unknown balance policy `{0}`; there are: {1}")]
    UnknownPolicy(String, String),
    /// Two services want the same requests.
    #[error("services `{0}` and `{1}` both serve {2}; give one of them a route of its own")]
    Ambiguous(String, String, String),
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// To this service; the tier is the route's, where it has one.
    Service(Arc<Entry>, Option<Tier>),
    /// To what this process serves itself.
    Within(Arc<Entry>),
    /// By its model, which is in the body.
    ByModel,
    /// Nowhere.
    None,
}

impl Table {
    /// Builds a table.
    ///
    /// # Errors
    /// When a policy is unknown or two services want the same requests.
    pub fn build(
        services: Vec<(ServiceSettings, Arc<Pool>, Vec<RouteRule>)>,
    ) -> Result<Self, BadTable> {
        let mut table = Self::default();
        for (settings, pool, rules) in services {
            let at = table.entries.len();
            let policy =
                balance::build(&settings.balance, &settings.balance_options).ok_or_else(|| {
                    let known: Vec<_> = balance::POLICIES.iter().map(|(name, _)| *name).collect();
                    BadTable::UnknownPolicy(settings.balance.clone(), known.join(", "))
                })?;
            let explicit = !rules.is_empty();
            table.rules.extend(rules.into_iter().map(|rule| (rule, at)));
            let queue = Queue::of(&pool);
            let service = Service { settings, pool };
            let entry = Entry { service, policy, within: false, queue };
            table.entries.push(Arc::new(entry));
            table.add_models(at, explicit)?;
        }
        table.rules.sort_by_key(|(rule, _)| {
            std::cmp::Reverse((rule.path.len(), !rule.host.is_empty(), rule.headers.len()))
        });
        Ok(table)
    }

    fn add_models(&mut self, at: usize, explicit: bool) -> Result<(), BadTable> {
        let entry = self.entries[at].clone();
        let settings = &entry.service.settings;
        let mut taken = None;
        if matches!(settings.protocol, Protocol::Openai | Protocol::Kserve) {
            for model in settings.models.iter().chain(settings.aliases.keys()) {
                let before = if model == "*" {
                    self.any_model.replace(at)
                } else {
                    self.by_model.insert(model.clone(), at)
                };
                if let Some(other) = before.filter(|other| *other != at && !explicit) {
                    taken = Some((other, format!("model `{model}`")));
                }
            }
        }
        if !explicit
            && settings.protocol != Protocol::Openai
            && let Some(other) = self.fallback.insert(settings.protocol, at)
            && settings.protocol != Protocol::Kserve
        {
            taken = Some((other, "every path".to_owned()));
        }
        match taken {
            None => Ok(()),
            Some((other, what)) => Err(BadTable::Ambiguous(
                self.entries[other].service.settings.name.clone(),
                settings.name.clone(),
                what,
            )),
        }
    }

    /// The same table with a service that this process serves itself.
    #[must_use]
    pub fn with(mut self, within: Option<Within>) -> Self {
        self.within = within;
        self
    }

    /// The same table for those only who show one of these keys.
    #[must_use]
    pub fn for_keys(mut self, keys: Option<Keys>) -> Self {
        self.keys = keys;
        self
    }

    /// Who may ask; `None` for anybody.
    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Whether a POST of JSON to this path asks a model that is served here, so that it may
    /// be asked again.
    #[must_use]
    pub fn infers(&self, path: &str) -> bool {
        let Ok(request) = http::Request::post(path).body(()) else { return false };
        let (head, ()) = request.into_parts();
        is_inference(path) && matches!(self.find(&head, false), Found::Service(..) | Found::ByModel)
    }

    /// The services, in the order of the configuration.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The service of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries.iter().find(|entry| entry.service.settings.name == name).cloned()
    }

    /// Who answers in a service's place, where somebody does; and in the place of that one.
    pub(crate) fn stand_in(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let mut found: Option<Arc<Entry>> = None;
        // No more turns than services: a circle ends, too.
        for _ in &self.entries {
            let at = found.as_deref().unwrap_or(entry);
            let settings = &at.service.settings;
            let next = at.service.pool.stand_in().filter(|_| settings.answers.fails_over);
            let Some(next) = next.and_then(|name| self.named(&name)) else { break };
            found = Some(next);
        }
        found
    }

    /// Where a request with this head goes.
    pub(crate) fn find(&self, head: &Parts, grpc: bool) -> Found {
        let path = head.uri.path();
        if let Some(within) = self.within.as_ref().filter(|within| within.takes(path)) {
            return Found::Within(within.entry.clone());
        }
        for (rule, at) in &self.rules {
            if rule.matches(head) {
                return Found::Service(self.entries[*at].clone(), rule.tier);
            }
        }
        if grpc {
            return self.fallback(Protocol::Grpc);
        }
        if path.starts_with("/v2/") || path == "/v2" {
            let by_name = kserve_model(path).and_then(|model| self.model(model));
            return match by_name {
                Some(entry) if entry.service.settings.protocol == Protocol::Kserve => {
                    Found::Service(entry, None)
                }
                _ => self.fallback(Protocol::Kserve),
            };
        }
        if is_openai_path(path) && self.serves_models() {
            return Found::ByModel;
        }
        self.fallback(Protocol::Http)
    }

    fn fallback(&self, protocol: Protocol) -> Found {
        let at = self.fallback.get(&protocol).or_else(|| self.fallback.get(&Protocol::Http));
        match at.map(|at| &self.entries[*at]) {
            Some(entry) => Found::Service(entry.clone(), None),
            None => Found::None,
        }
    }

    fn serves_models(&self) -> bool {
        self.any_model.is_some() || !self.by_model.is_empty()
    }

    /// The service of a model.
    pub(crate) fn model(&self, model: &str) -> Option<Arc<Entry>> {
        let at = self.by_model.get(model).copied().or(self.any_model)?;
        Some(self.entries[at].clone())
    }

    /// The one service that speaks OpenAI's API, where there is only one.
    pub(crate) fn only_openai(&self) -> Option<Arc<Entry>> {
        let mut all =
            self.entries.iter().filter(|e| e.service.settings.protocol == Protocol::Openai);
        let first = all.next()?;
        all.next().is_none().then(|| first.clone())
    }

    /// Names of the models served, sorted: what `/v1/models` lists. A service for any model
    /// lists its own name.
    pub(crate) fn model_names(&self) -> Vec<(String, String)> {
        let mut names: Vec<(String, String)> = self
            .entries
            .iter()
            .filter(|e| e.service.settings.protocol == Protocol::Openai)
            .flat_map(|entry| {
                let s = &entry.service.settings;
                let listed = s.models.iter().chain(s.aliases.keys());
                listed
                    .map(|m| if m == "*" { s.name.clone() } else { m.clone() })
                    .map(|m| (m, s.name.clone()))
                    .collect::<Vec<_>>()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

impl RouteRule {
    fn matches(&self, head: &Parts) -> bool {
        prefix_matches(&self.path, head.uri.path())
            && (self.host.is_empty() || host_of(head).eq_ignore_ascii_case(&self.host))
            && self.headers.iter().all(|(name, value)| {
                head.headers.get_all(name).iter().any(|v| v.as_bytes() == value.as_bytes())
            })
    }
}

pub(crate) fn prefix_matches(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn host_of(head: &Parts) -> &str {
    let host = head.headers.get(http::header::HOST).and_then(|v| v.to_str().ok());
    let host = head.uri.host().or(host).unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The model in `/v2/models/NAME/…`.
fn kserve_model(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/v2/models/")?;
    let name = rest.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

fn is_openai_path(path: &str) -> bool {
    path.starts_with("/v1/") || matches!(path, "/tokenize" | "/detokenize" | "/rerank" | "/score")
}

/// Whether a POST to this path only asks a model, so that asking again does no harm.
pub(crate) fn is_inference(path: &str) -> bool {
    const PATHS: [&str; 16] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/rerank",
        "/v1/score",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/audio/speech",
        "/tokenize",
        "/detokenize",
        "/rerank",
    ];
    PATHS.contains(&path) || is_kserve_inference(path)
}

fn is_kserve_inference(path: &str) -> bool {
    path.starts_with("/v2/models/")
        && [("/infer"), ("/generate"), ("/generate_stream")].iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use evenkeel_domain::settings::*;
    use http::Request;

    pub(crate) fn settings(name: &str, protocol: Protocol, models: &[&str]) -> ServiceSettings {
        ServiceSettings {
            name: name.into(),
            models: models.iter().map(|m| (*m).to_owned()).collect(),
            aliases: Default::default(),
            tier: Tier::Core,
            protocol,
            balance: "least_requests".into(),
            balance_options: BalanceOptions::default(),
            deadlines: Deadlines::default(),
            retry: Retry::default(),
            hold: Hold::default(),
            hedge: Default::default(),
            concurrency: Default::default(),
            queue: Default::default(),
            resume: Default::default(),
            probe: Probe::default(),
            ejection: Ejection::default(),
            answers: Default::default(),
            limits: Default::default(),
            slo: Default::default(),
            max_body: 1 << 30,
            max_replay: 32 << 20,
        }
    }

    fn add(
        s: ServiceSettings,
        rules: &[RouteRule],
    ) -> (ServiceSettings, Arc<Pool>, Vec<RouteRule>) {
        let pool = Arc::new(Pool::new(s.name.as_str().into()));
        (s, pool, rules.to_vec())
    }

    fn rule(path: &str) -> RouteRule {
        RouteRule { path: path.into(), ..RouteRule::default() }
    }

    fn find(table: &Table, uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let grpc = crate::headers::is_grpc(&head.headers);
        match table.find(&head, grpc) {
            Found::Service(entry, tier) => {
                let tier = tier.unwrap_or(entry.service.settings.tier);
                format!("{} {tier:?}", entry.service.settings.name)
            }
            Found::Within(entry) => format!("within {}", entry.service.settings.name),
            Found::ByModel => "by model".into(),
            Found::None => "none".into(),
        }
    }

    #[test]
    fn requests_find_their_service() {
        let mut special = rule("/chat");
        special.host = "api.example.com".into();
        special.headers = vec![("x-team".into(), "a".into())];
        special.tier = Some(Tier::BestEffort);
        let table = Table::build(vec![
            add(settings("llm", Protocol::Openai, &["m"]), &[]),
            add(settings("any", Protocol::Openai, &["*"]), &[]),
            add(settings("echo", Protocol::Kserve, &["echo"]), &[]),
            add(settings("rpc", Protocol::Grpc, &[]), &[]),
            add(settings("web", Protocol::Http, &[]), &[rule("/chat"), special]),
        ])
        .unwrap();
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        let cases: [Case; 9] = [
            ("/v1/chat/completions", &[], "by model"),
            ("/v2/models/echo/infer", &[], "echo Core"),
            ("/v2/health/ready", &[], "echo Core"),
            ("/a.B/C", &[("content-type", "application/grpc")], "rpc Core"),
            ("/chat", &[], "web Core"),
            ("/chat/x", &[], "web Core"),
            ("/chatter", &[], "none"),
            ("/chat", &[("host", "API.example.com:80"), ("x-team", "a")], "web BestEffort"),
            ("/elsewhere", &[], "none"),
        ];
        for (uri, headers, expected) in cases {
            assert_eq!(find(&table, uri, headers), expected, "{uri} {headers:?}");
        }
        assert_eq!(table.model("m").unwrap().service.settings.name, "llm");
        assert_eq!(table.model("other").unwrap().service.settings.name, "any");
        assert_eq!(
            table.model_names(),
            [("any".to_owned(), "any".to_owned()), ("m".to_owned(), "llm".to_owned())]
        );
    }

    #[test]
    fn what_this_process_serves_comes_first_and_is_no_service() {
        let (dialer, _listener) = evenkeel_wire::within::pair(1);
        let within = Within::new("files", &["/v1/files"], 9, std::sync::Arc::new(dialer));
        let all = add(settings("web", Protocol::Http, &[]), &[rule("/")]);
        let llm = add(settings("llm", Protocol::Openai, &["m"]), &[]);
        let table = Table::build(vec![llm, all]).unwrap().with(Some(within));
        for (uri, expected) in [
            ("/v1/files", "within files"),
            ("/v1/files/file-1/content?x=1", "within files"),
            ("/v1/filesystem", "web Core"),
        ] {
            assert_eq!(find(&table, uri, &[]), expected, "{uri}");
        }
        assert_eq!(table.entries().len(), 2);
        assert_eq!(table.model_names(), [("m".to_owned(), "llm".to_owned())]);
    }

    #[test]
    fn only_questions_to_a_model_are_batched() {
        let table = Table::build(vec![add(settings("llm", Protocol::Openai, &["m"]), &[])]);
        let table = table.unwrap();
        assert!(table.infers("/v1/chat/completions") && table.infers("/v1/embeddings"));
        for path in ["/v1/files", "/v1/nowhere", "/v2/models/m/infer", "", "no path"] {
            assert!(!table.infers(path), "{path}");
        }
        assert!(!Table::default().infers("/v1/chat/completions"));
    }

    #[test]
    fn two_services_may_not_want_the_same() {
        let twice = vec![
            add(settings("a", Protocol::Openai, &["m"]), &[]),
            add(settings("b", Protocol::Openai, &["m"]), &[]),
        ];
        let error = Table::build(twice).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("`b`") && error.contains("`m`"), "{error}");
        let mut unknown = settings("a", Protocol::Openai, &["m"]);
        unknown.balance = "best".into();
        let error = Table::build(vec![add(unknown, &[])]).unwrap_err().to_string();
        assert!(error.contains("`best`") && error.contains("least_requests"), "{error}");
    }
}
