//! The house rules of the workspace: who may use whom.
//!
//! ```text
//! domain ← wire ← {gateway, health, supervisor, agent, drill, admin, tinymodel, store, batch,
//!                 recovery, slo, notify} ← app
//! ```

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// A crate's dependencies of the house: (name, whether only for its tests).
type House = BTreeMap<String, Vec<(String, bool)>>;

fn house(metadata: &Value) -> House {
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let short = |name: String| name.trim_start_matches("evenkeel-").to_owned();
    let ours: Vec<String> = packages.iter().map(name).collect();
    let used = |package: &Value| {
        let all = package["dependencies"].as_array().cloned().unwrap_or_default();
        let of_house = all.iter().filter(|d| ours.contains(&name(d)));
        of_house.map(|d| (short(name(d)), d["kind"] == "dev")).collect()
    };
    packages.iter().map(|package| (short(name(package)), used(package))).collect()
}

/// Whether `user` may use `used`, in its tests only if `dev`.
fn allowed(user: &str, used: &str, dev: bool) -> bool {
    match (user, used) {
        (_, "testkit") => dev,
        ("evenkeel" | "testkit", _) => true,
        ("domain", _) => false,
        (_, "domain") => true,
        ("wire", _) => false,
        (_, "wire") => true,
        _ => false,
    }
}

fn faults(house: &House) -> Vec<String> {
    let all = house.iter().flat_map(|(user, all)| all.iter().map(move |used| (user, used)));
    all.filter(|(user, (used, dev))| !allowed(user, used, *dev))
        .map(|(user, (used, _))| format!("{user} uses {used}"))
        .collect()
}

#[test]
fn no_sibling_uses_a_sibling() {
    let ran = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let metadata = serde_json::from_slice(&ran.stdout).expect("cargo prints JSON");
    let house = house(&metadata);
    assert!(house.len() >= 9 && house.contains_key("wire"), "this is not the house: {house:?}");
    assert_eq!(faults(&house), Vec::<String>::new());
}

#[test]
fn the_rule_finds_what_it_forbids() {
    for (user, used, dev, good) in [
        ("gateway", "wire", false, true),
        ("gateway", "domain", false, true),
        ("gateway", "health", false, false),
        ("gateway", "health", true, false),
        ("wire", "domain", false, true),
        ("wire", "gateway", false, false),
        ("domain", "wire", false, false),
        ("evenkeel", "gateway", false, true),
        ("evenkeel", "testkit", false, false),
        ("admin", "testkit", true, true),
        ("testkit", "drill", false, true),
    ] {
        assert_eq!(allowed(user, used, dev), good, "{user} uses {used}");
    }
}
