//! A service uses its error budget up too fast.

use super::{Source, World, finding};
use evenkeel_domain::alert::{Finding, Severity};

pub(super) struct Burn;

impl Source for Burn {
    fn name(&self) -> &'static str {
        "burn_rate"
    }

    fn about(&self) -> &'static str {
        "a burn-rate rule of a service's error budget speaks (page or ticket by the rule)"
    }

    fn severity(&self) -> Severity {
        Severity::Page
    }

    fn look(&self, world: &World) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for budget in world.budgets.iter() {
            // The most urgent rule of each measure: the others say the same, slower.
            for rule in &budget.firing {
                let about = format!("{}:{}", budget.service, rule.sli.label());
                let what = format!(
                    "{}: the error budget burns {:.0} times too fast (by {})",
                    budget.service,
                    rule.long,
                    rule.sli.label()
                );
                let left =
                    budget.left.map_or("unknown".into(), |left| format!("{:.1} %", left * 100.0));
                let used =
                    budget.exhausted.as_ref().map_or_else(String::new, |e| format!("; {}", e.text));
                let why = format!(
                    "rule {}: {:.1} times over the long window, {:.1} over the short one; \
                     budget left {left}{used}",
                    rule.rule, rule.long, rule.short
                );
                let mut one = finding(self, &about, &budget.service, what, why);
                one.labels.insert("rule".into(), rule.rule.into());
                one.labels.insert("sli".into(), rule.sli.label().into());
                let one = Finding {
                    severity: rule.severity,
                    affected: world.affected(&budget.service),
                    done: world.done(&budget.service),
                    next: format!("evenkeel slo {}", budget.service),
                    since: Some(rule.since_unix_ms),
                    ..one
                };
                match all.iter_mut().find(|known| known.key == one.key) {
                    Some(known) if known.severity >= one.severity => {}
                    Some(known) => *known = one,
                    None => all.push(one),
                }
            }
        }
        all
    }
}
