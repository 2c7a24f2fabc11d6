use super::*;

const GOOD: &str = r#"
[gateway]
listen = "127.0.0.1:0"

[[service]]
name = "chat"
models = ["m"]

  [[service.replica]]
  url = "http://127.0.0.1:9"

  [[service.replica]]
  command = ["sh", "-c", "exit", "{port}"]
  copies = 2
"#;

fn errors(text: &str) -> String {
    parse(Path::new("e.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_good_file_gives_replicas_with_stable_names() {
    let config = parse(Path::new("e.toml"), GOOD).unwrap();
    let names: Vec<_> =
        replicas::instances(&config.service[0]).into_iter().map(|i| i.name).collect();
    assert_eq!(names, ["chat-1", "chat-2"]);
}

#[test]
fn each_error_names_file_line_key_and_remedy() {
    let table = [
        (
            GOOD.replace("models", "modles"),
            "e.toml:7:1: modles: unknown key; did you mean `models`?",
        ),
        (GOOD.replace("\"m\"", "m"), "e.toml:7:"),
        (GOOD.replace("copies = 2", "copies = \"two\""), "e.toml:14:"),
        (
            GOOD.replace("http://127.0.0.1:9", "127.0.0.1:9"),
            "e.toml:10:3: service[0].replica[0].url: `127.0.0.1:9` is no replica URL: it must \
             start with http:// or https://",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\nbalance = \"best\""),
            "e.toml:8:1: service[0].balance: there is no policy `best`; use one of least_requests",
        ),
        (
            GOOD.replace("[gateway]", "[admin]\nlisten = \"0.0.0.0:1\"\n[gateway]"),
            "e.toml:3:1: admin.listen: anything but loopback needs `token_file` and `tls`",
        ),
        (GOOD.replace(", \"{port}\"", ""), "service[0].replica[1].command"),
        (
            GOOD.replace(
                "[gateway]",
                "[gateway]\ntls = { cert = \"/no/cert\", key = \"/no/key\" }",
            ),
            "/no/cert: certificate cannot be read",
        ),
        (String::new(), "service: no service is configured"),
        (
            GOOD.replace("[gateway]", "[trace]\notlp = \"collector:4318\"\n[gateway]"),
            "e.toml:3:1: trace.otlp: `collector:4318` is no collector's URL; try",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\nquorum = { of = 4, agree = 2 }"),
            "service[0].quorum.agree: more than half of `of`",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\nfallback = [\"service:x\"]"),
            "service[0].fallback[0]: there is no service `x`",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\nfallback = [\"cache\"]"),
            "service[0].fallback[0]: there is no cache; add [service.cache]",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\nfallback = [{ file = \"/no\" }]"),
            "service[0].fallback[0]: /no: cannot be read",
        ),
        (
            GOOD.replace(
                "models = [\"m\"]",
                "models = [\"m\"]\ncache = { bytes = 1000000, ttl = \"1h\", per = \"me\" }",
            ),
            "service[0].cache.per: is none of `key`",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\ndegrade = { relief = 1.5 }"),
            "service[0].degrade.relief: a share",
        ),
        (
            GOOD.replace("models = [\"m\"]", "models = [\"m\"]\ngolden = [{ expect = 4 }]"),
            "service[0].golden[0].prompt: give either",
        ),
        (
            GOOD.replace("[gateway]", "[trace]\nsample = 2.0\n[gateway]"),
            "e.toml:3:1: trace.sample: a share is from 0 to 1",
        ),
        (
            GOOD.replace("[gateway]", "[trace]\nheaders = { a = \"/no/file\" }\n[gateway]"),
            "trace.headers: /no/file: cannot be read",
        ),
        (
            GOOD.replace("[gateway]", "[batch]\nkey_file = \"/no/key\"\n[gateway]"),
            "e.toml:3:1: batch.key_file: key file /no/key: No such file",
        ),
        (
            GOOD.replace("[gateway]", "[batch]\nmax_bytes = 5\n[gateway]"),
            "e.toml:2:2: batch.max_file_bytes: one file must fit into `max_bytes`",
        ),
        (
            GOOD.replace("[gateway]", "[batch]\nwindwo = \"1h\"\n[gateway]"),
            "e.toml:3:1: windwo: unknown key; did you mean `window`?",
        ),
    ];
    for (text, expected) in table {
        let got = errors(&text);
        assert!(got.contains(expected), "expected {expected:?} in {got:?}");
    }
}

#[test]
fn all_contradictions_are_told_at_once() {
    let text = GOOD.replace("http://127.0.0.1:9", "ftp://x").replace("127.0.0.1:0", "here");
    assert_eq!(errors(&text).lines().count(), 2, "{}", errors(&text));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = load(Path::new("/no/such/evenkeel.toml")).unwrap_err().to_string();
    assert!(error.contains("evenkeel init") && error.contains("evenkeel demo"), "{error}");
}
