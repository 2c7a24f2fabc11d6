//! Which programs may be run here. Pure.

use evenkeel_domain::orchestrator::OrchestratorError;

/// Checks the command of an instance or job.
pub(super) fn check(
    allow: &[String],
    name: &str,
    command: &[String],
) -> Result<(), OrchestratorError> {
    let program = command.first().map_or("", String::as_str);
    if allow.is_empty() || allow.iter().any(|allowed| allowed == program) {
        return Ok(());
    }
    Err(OrchestratorError::Spec {
        name: name.to_owned(),
        message: format!(
            "`{program}` may not be run there; start that agent with `--allow {program}`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_as_it_is_named() {
        let allow = ["vllm".to_owned()];
        let command = |program: &str| vec![program.to_owned(), "serve".to_owned()];
        assert!(check(&[], "a-0", &command("sh")).is_ok());
        assert!(check(&allow, "a-0", &command("vllm")).is_ok());
        for program in ["sh", "/tmp/vllm", "vllm2", ""] {
            let error = check(&allow, "a-0", &command(program)).unwrap_err().to_string();
            assert!(error.contains("a-0") && error.contains("--allow"), "{error}");
        }
        assert!(check(&allow, "a-0", &[]).is_err());
    }
}
