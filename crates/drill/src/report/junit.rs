//! A report as JUnit XML: each expectation is a test.

use crate::plan::Verdict;
use crate::report::{DrillReport, escaped};
use std::fmt::Write;

pub(super) fn render(report: &DrillReport) -> String {
    let failures = report.checked.iter().filter(|checked| !checked.holds).count();
    let aborted = report.verdict == Verdict::Aborted;
    let name = escaped(&report.name);
    let (tests, errors) = (report.checked.len() + usize::from(aborted), usize::from(aborted));
    let time = report.load.totals.elapsed_s;
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite \
         name=\"{name}\" {counts} time=\"{time:.3}\">\n"
    );
    for checked in &report.checked {
        let _ =
            write!(out, "    <testcase classname=\"{name}\" name=\"{}\"", escaped(&checked.what));
        let (expected, seen) = (escaped(&checked.expected), escaped(&checked.seen));
        let _ = match checked.holds {
            true => writeln!(out, "/>"),
            false => {
                writeln!(out, "><failure message=\"expected {expected}, seen {seen}\"/></testcase>")
            }
        };
    }
    if let Some(why) = &report.aborted {
        let why = escaped(why);
        let _ = writeln!(
            out,
            "    <testcase classname=\"{name}\" name=\"runs to its end\"><error message=\"{why}\"/></testcase>"
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}
