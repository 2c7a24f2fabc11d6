use super::*;
use evenkeel_domain::replica::{Identity, name_hash};
use evenkeel_domain::transport::{Dial, Dialing};
use evenkeel_domain::{Endpoint, Replica, clock, rng};

#[derive(Debug)]
struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(std::future::pending())
    }
}

fn replica(key: u64) -> Replica {
    let name = format!("chat-{key}");
    Replica::new(Identity {
        key,
        name_hash: name_hash(&name),
        name: name.into(),
        service: "chat".into(),
        endpoint: Endpoint::loopback(9),
        revision: "".into(),
        weight: 1.0,
        max_in_flight: 0,
        headers: Vec::new(),
        h2: false,
        model: None,
        supervised: false,
        startup_deadline: None,
        standby: None,
        dial: Arc::new(Nowhere),
    })
}

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn request(traceparent: Option<&str>) -> Request<()> {
    let mut request = Request::post("/v1/chat/completions?key=secret");
    if let Some(value) = traceparent {
        request = request.header(TRACEPARENT, value).header(TRACESTATE, "a=1");
    }
    request.header("host", "api.example.com:8080").body(()).unwrap()
}

fn tracer(share: f64) -> (Arc<Tracer>, mpsc::Receiver<Span>) {
    let (tx, rx) = mpsc::channel(16);
    (Arc::new(Tracer::new(tx, share)), rx)
}

fn begin(tracer: &Arc<Tracer>, request: &mut Request<()>) -> Option<Rc<RequestTrace>> {
    tracer.begin(request, &mut rng::seeded(7), clock::now())
}

#[test]
fn spans_of_a_request_hang_together() {
    let (tracer, mut spans) = tracer(0.0);
    let mut request = request(Some(SAMPLED));
    let trace = begin(&tracer, &mut request).unwrap();
    assert!(!request.headers().contains_key(TRACEPARENT));
    assert_eq!(request.headers()[TRACESTATE], "a=1");
    trace.model(br#""tiny""#);
    trace.service(&"chat".into());
    let (a, b) = (replica(1), replica(2));
    let first = trace.attempt(&a, clock::now());
    let told = trace.parent_for(1);
    first.settle(Outcome::Backpressure);
    drop(trace.attempt(&b, clock::now()));
    assert_ne!(trace.parent_for(2), told);
    trace.answered(200);
    trace.settle(Outcome::Ok);
    trace.settle(Outcome::Cancelled);
    drop(trace);
    let attempt = spans.try_recv().unwrap();
    let told = TraceParent::parse(&told).unwrap();
    assert_eq!((attempt.trace_id, attempt.span_id), (told.trace_id, told.parent_id));
    let whole = spans.try_recv().unwrap();
    assert_eq!(attempt.parent_id, Some(whole.span_id));
    assert_eq!(whole.parent_id, Some(0xb7ad6b7169203331));
    assert_eq!(whole.trace_id, 0x0af7651916cd43dd8448eb211c80319c);
    assert!(attempt.start_unix_nanos >= whole.start_unix_nanos);
    assert!(whole.end_unix_nanos >= attempt.end_unix_nanos);
    let Work::Request(span) = whole.work else { panic!("the request comes last") };
    assert_eq!(
        *span,
        RequestSpan {
            method: Method::POST,
            path: "/v1/chat/completions".into(),
            operation: Some("chat"),
            model: Some("tiny".into()),
            server: Some("api.example.com".into()),
            service: Some("chat".into()),
            status: Some(200),
            outcome: Outcome::Ok,
            attempts: 2,
        }
    );
}

#[test]
fn who_is_recorded() {
    let table = [
        (0.0, None, false),
        (1.0, None, true),
        (0.0, Some(SAMPLED), true),
        (0.0, Some(NOT_SAMPLED), false),
        (1.0, Some(NOT_SAMPLED), true),
        (0.0, Some("nonsense"), false),
        (f64::NAN, None, false),
    ];
    for (share, given, recorded) in table {
        let (tracer, _spans) = tracer(share);
        let mut request = request(given);
        let trace = begin(&tracer, &mut request);
        assert_eq!(trace.is_some(), recorded, "{share} {given:?}");
        // What is not recorded and valid goes on untouched; nonsense never does.
        let passed = given.filter(|g| !recorded && *g != "nonsense");
        let left = request.headers().get(TRACEPARENT).map(|v| v.to_str().unwrap());
        assert_eq!(left, passed, "{share} {given:?}");
        let told = trace.map(|t| TraceParent::parse(&t.parent_for(1)).unwrap());
        assert!(told.is_none_or(TraceParent::is_sampled));
    }
}

#[test]
fn a_share_is_a_share() {
    let (tracer, _spans) = tracer(0.25);
    let mut rng = rng::seeded(1);
    let recorded = (0..4000)
        .filter(|_| tracer.begin(&mut request(None), &mut rng, clock::now()).is_some())
        .count();
    assert!((900..1100).contains(&recorded), "{recorded}");
}

#[test]
fn a_full_channel_loses_spans_and_counts_them() {
    let (tracer, mut spans) = tracer(1.0);
    for _ in 0..20 {
        drop(begin(&tracer, &mut request(None)));
    }
    assert_eq!(tracer.lost(), 4);
    let Work::Request(span) = spans.try_recv().unwrap().work else { panic!("a request") };
    assert_eq!((span.status, span.outcome), (None, Outcome::Cancelled));
}

#[test]
fn a_client_cannot_fill_a_span() {
    let (tracer, mut spans) = tracer(1.0);
    let mut long = Request::get(format!("/{}", "x".repeat(10_000))).body(()).unwrap();
    let trace = begin(&tracer, &mut long).unwrap();
    trace.model(format!("\"{}\"", "é".repeat(10_000)).as_bytes());
    drop(trace);
    let Work::Request(span) = spans.try_recv().unwrap().work else { panic!("a request") };
    assert_eq!((span.path.len(), span.model.map(|m| m.len())), (512, Some(512)));
}

#[test]
fn each_replica_is_told_its_own_attempt_in_either_protocol() {
    use crate::body::UpBody;
    use crate::template::{Template, TemplateBody};
    let (tracer, _spans) = tracer(0.0);
    let mut request = request(Some(SAMPLED));
    let trace = begin(&tracer, &mut request).unwrap();
    let (a, b) = (replica(1), replica(2));
    let _attempts = [trace.attempt(&a, clock::now()), trace.attempt(&b, clock::now())];
    let template = Template {
        method: Method::POST,
        uri: "/v1/embeddings".parse().unwrap(),
        headers: request.headers().clone(),
        body: TemplateBody::Whole(bytes::Bytes::new(), None),
        model: None,
        repeatable: true,
        grpc: false,
        needs_h2: false,
        head_only: false,
        expects_content: false,
        commits_at_head: false,
        shape: crate::error::Shape::OpenAi,
        connect: std::time::Duration::ZERO,
        idle: std::time::Duration::ZERO,
        deadline: clock::now(),
        watch: None,
        trace: Some(trace.clone()),
    };
    for replica in [&a, &b] {
        let told = trace.parent_for(replica.id.key);
        let h1 = template.encode_h1(&replica.id, &UpBody::Full(None));
        let h1 = String::from_utf8(h1).unwrap();
        let line = format!("traceparent: {}\r\n", std::str::from_utf8(&told).unwrap());
        assert_eq!(h1.matches("traceparent").count(), 1, "{h1}");
        assert!(h1.contains(&line), "{h1}");
        let h2 = template.build_h2(replica).unwrap();
        assert_eq!(h2.headers()[TRACEPARENT].as_bytes(), told);
        assert_eq!(h2.headers().get_all(TRACEPARENT).iter().count(), 1);
    }
    assert_ne!(trace.parent_for(1), trace.parent_for(2));
}
