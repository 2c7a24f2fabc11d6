//! placeholder
use crate::report::DrillReport;
pub(super) fn render(_report: &DrillReport) -> String {
    String::new()
}
