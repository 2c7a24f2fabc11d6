//! Checks a spec and fills in its templates.

use std::collections::BTreeMap;

use evenkeel_domain::orchestrator::InstanceSpec;

/// Why a spec cannot be run, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It becomes a file name.
    #[error(
        "\"{0}\" cannot be a replica's name; use letters, digits, `-`, `_` and `.`, \
         at most 100 of them, the first not a `.`"
    )]
    Name(String),
    /// Two specs have this name.
    #[error("two supervised replicas are named \"{0}\"; give each a name of its own")]
    Duplicate(String),
    /// There is nothing to run.
    #[error("its `command` is empty; give the program and its arguments")]
    Command,
    /// The server would not learn its port, and Evenkeel would not know it.
    #[error(
        "its `command` and `env` say nowhere on which port it listens; \
         use \"{{port}}\" there, or set `port` if it is built in"
    )]
    Port,
    /// Two specs have this fixed port.
    #[error("port {0} is given to another replica too; use \"{{port}}\" or another number")]
    PortTaken(u16),
    /// Not a name that an environment can hold.
    #[error("\"{0}\" cannot be the name of an environment variable; correct `env`")]
    Variable(String),
    /// Neither arguments nor environments can hold a NUL.
    #[error("its `command` or `env` holds a NUL character; remove it")]
    Nul,
}

/// Whether a spec can be run, as far as can be told without trying.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn validate(spec: &InstanceSpec) -> Result<(), SpecError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = &spec.name;
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(legal) {
        return Err(SpecError::Name(name.clone()));
    }
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(SpecError::Command);
    }
    if let Some(key) = spec.env.keys().find(|key| key.is_empty() || key.contains(['=', '\0'])) {
        return Err(SpecError::Variable(key.clone()));
    }
    let mut texts = spec.command.iter().chain(spec.env.values());
    if texts.any(|text| text.contains('\0')) {
        return Err(SpecError::Nul);
    }
    if spec.port.is_none() && !spec.once && !mentions_port(spec) {
        return Err(SpecError::Port);
    }
    Ok(())
}

fn mentions_port(spec: &InstanceSpec) -> bool {
    spec.command.iter().chain(spec.env.values()).any(|text| text.contains("{port}"))
}

/// The command and environment of one start. Braces that are none of ours stay as
/// they are: arguments may hold JSON.
pub(crate) fn fill(spec: &InstanceSpec, port: u16) -> (Vec<String>, BTreeMap<String, String>) {
    let (port, index) = (port.to_string(), spec.index.to_string());
    let fill = |text: &String| {
        text.replace("{port}", &port).replace("{index}", &index).replace("{name}", &spec.name)
    };
    let command = spec.command.iter().map(fill).collect();
    let mut env = BTreeMap::from([
        ("EVENKEEL_REPLICA".to_owned(), spec.name.clone()),
        ("EVENKEEL_PORT".to_owned(), port.clone()),
    ]);
    env.extend(spec.env.iter().map(|(key, value)| (key.clone(), fill(value))));
    (command, env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &[&str]) -> InstanceSpec {
        InstanceSpec::new("chat-1", "chat", command)
    }

    #[test]
    fn templates_are_filled_in_and_other_braces_stay() {
        let mut spec = spec(&["serve", "--port={port}", "{\"a\":{\"port\":1}}", "{name}/{index}"]);
        spec.index = 3;
        spec.env.insert("CUDA_VISIBLE_DEVICES".into(), "{index}".into());
        let (command, env) = fill(&spec, 8123);
        assert_eq!(command, ["serve", "--port=8123", "{\"a\":{\"port\":1}}", "chat-1/3"]);
        assert_eq!(env["CUDA_VISIBLE_DEVICES"], "3");
        assert_eq!((&*env["EVENKEEL_REPLICA"], &*env["EVENKEEL_PORT"]), ("chat-1", "8123"));
    }

    #[test]
    fn what_cannot_run_is_refused() {
        assert_eq!(validate(&spec(&["serve", "{port}"])), Ok(()));
        assert_eq!(validate(&spec(&["serve"])), Err(SpecError::Port));
        assert_eq!(validate(&spec(&[])), Err(SpecError::Command));
        assert_eq!(validate(&InstanceSpec { port: Some(1), ..spec(&["serve"]) }), Ok(()));
        for name in ["", ".x", "../x", "a b", &"x".repeat(101)] {
            let spec = InstanceSpec::new(name, "chat", &["serve", "{port}"]);
            assert_eq!(validate(&spec), Err(SpecError::Name(name.into())));
        }
        let mut bad = spec(&["serve", "{port}"]);
        bad.env.insert("A=B".into(), String::new());
        assert_eq!(validate(&bad), Err(SpecError::Variable("A=B".into())));
    }
}
