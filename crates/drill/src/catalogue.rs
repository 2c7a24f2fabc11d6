//! Drills that are ready: `evenkeel drill run NAME`.

/// Name and file of each.
pub const ALL: &[(&str, &str)] = &[
    ("all-gone", include_str!("../catalogue/all-gone.toml")),
    ("all-stopped", include_str!("../catalogue/all-stopped.toml")),
    ("bandwidth", include_str!("../catalogue/bandwidth.toml")),
    ("busy-429", include_str!("../catalogue/busy-429.toml")),
    ("busy-host", include_str!("../catalogue/busy-host.toml")),
    ("cut-streams", include_str!("../catalogue/cut-streams.toml")),
    ("disk-full", include_str!("../catalogue/disk-full.toml")),
    ("disk-slow", include_str!("../catalogue/disk-slow.toml")),
    ("empty-answers", include_str!("../catalogue/empty-answers.toml")),
    ("empty-tokens", include_str!("../catalogue/empty-tokens.toml")),
    ("errors-500", include_str!("../catalogue/errors-500.toml")),
    ("flapping", include_str!("../catalogue/flapping.toml")),
    ("garbage", include_str!("../catalogue/garbage.toml")),
    ("gateway-kill", include_str!("../catalogue/gateway-kill.toml")),
    ("gateway-stop", include_str!("../catalogue/gateway-stop.toml")),
    ("half-open", include_str!("../catalogue/half-open.toml")),
    ("hang", include_str!("../catalogue/hang.toml")),
    ("kill-one", include_str!("../catalogue/kill-one.toml")),
    ("kill-two", include_str!("../catalogue/kill-two.toml")),
    ("latency", include_str!("../catalogue/latency.toml")),
    ("loss", include_str!("../catalogue/loss.toml")),
    ("memory", include_str!("../catalogue/memory.toml")),
    ("other-model", include_str!("../catalogue/other-model.toml")),
    ("refused", include_str!("../catalogue/refused.toml")),
    ("reload", include_str!("../catalogue/reload.toml")),
    ("resets", include_str!("../catalogue/resets.toml")),
    ("rising-latency", include_str!("../catalogue/rising-latency.toml")),
    ("rolling-kills", include_str!("../catalogue/rolling-kills.toml")),
    ("slow-one", include_str!("../catalogue/slow-one.toml")),
    ("some-errors", include_str!("../catalogue/some-errors.toml")),
    ("some-hang", include_str!("../catalogue/some-hang.toml")),
    ("some-resets", include_str!("../catalogue/some-resets.toml")),
    ("stalled-streams", include_str!("../catalogue/stalled-streams.toml")),
    ("stop-one", include_str!("../catalogue/stop-one.toml")),
    ("truncated-answers", include_str!("../catalogue/truncated-answers.toml")),
    ("truncated-json", include_str!("../catalogue/truncated-json.toml")),
    ("upgrade", include_str!("../catalogue/upgrade.toml")),
    ("wrong-clock", include_str!("../catalogue/wrong-clock.toml")),
];

/// The file of this name.
#[must_use]
pub fn file(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_catalogue_once() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort();
        let named: Vec<_> = ALL.iter().map(|(name, _)| format!("{name}.toml")).collect();
        assert_eq!(named, files);
        assert!(file("kill-one").is_some() && file("none").is_none());
    }
}
