//! Charts as SVG inside the page: no script, no font, nothing to load.
//!
//! All share one axis of time, so that they can be read one below the other.

use crate::plan::Lane;
use crate::report::{FaultSpan, escaped};
use std::fmt::Write;

/// Units of the drawing; the page scales it.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 112.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Letters that fit before a row, also on a phone.
const LONGEST_NAME: usize = 11;
/// The most bars or points in a chart: a page stays small, and a screen has no more columns.
pub(super) const MOST_POINTS: usize = 600;

/// One chart being drawn.
pub(super) struct Chart {
    out: String,
    height: f64,
    /// Milliseconds from left to right.
    span_ms: f64,
    /// The value at the top.
    most: f64,
}

/// A line or the outline of a stack.
pub(super) struct Line {
    pub(super) class: &'static str,
    /// (milliseconds, value).
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart {
    /// With axes; `unit` is written at the top value.
    pub(super) fn new(height: f64, span_ms: u64, most: f64, unit: &str, title: &str) -> Self {
        let mut chart = Self {
            out: String::new(),
            height,
            span_ms: (span_ms as f64).max(1.0),
            most: round_up(most),
        };
        let _ = write!(
            chart.out,
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
            escaped(title)
        );
        if most > 0.0 {
            chart.value_axis(unit);
        }
        chart
    }

    fn x(&self, ms: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (ms / self.span_ms).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - (bottom - TOP) * (value / self.most).clamp(0.0, 1.0)
    }

    fn value_axis(&mut self, unit: &str) {
        for share in [0.0, 0.5, 1.0] {
            let (value, y) = (self.most * share, self.y(self.most * share));
            let unit = if share == 1.0 { unit } else { "" };
            let _ = write!(
                self.out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}{unit}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(value)
            );
        }
    }

    /// When faults were there, behind everything else.
    pub(super) fn faults(&mut self, faults: &[FaultSpan]) {
        for fault in faults.iter().take(MOST_POINTS) {
            let (from, to) = (self.x(fault.from_ms as f64), self.x(fault.to_ms as f64));
            let _ = write!(
                self.out,
                "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" \
                 height=\"{:.1}\"><title>{} on {}</title></rect>",
                (to - from).max(2.0),
                self.height - BOTTOM - TOP,
                escaped(&fault.what),
                escaped(&fault.on)
            );
        }
    }

    /// A bar from value `from` to `to`.
    pub(super) fn bar(&mut self, class: &str, (at_ms, width_ms): (f64, f64), from: f64, to: f64) {
        if to <= from {
            return;
        }
        let (x, right) = (self.x(at_ms), self.x(at_ms + width_ms));
        let (top, bottom) = (self.y(to), self.y(from));
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x + 0.5,
            (right - x - 1.0).max(0.5),
            (bottom - top).max(if class == "bad" { 2.0 } else { 0.0 })
        );
    }

    pub(super) fn line(&mut self, line: &Line) {
        let points: String = line
            .points
            .iter()
            .map(|(ms, value)| format!("{:.1},{:.1} ", self.x(*ms), self.y(*value)))
            .collect();
        let _ = write!(self.out, "<polyline class=\"{}\" points=\"{points}\"/>", line.class);
    }

    /// The states of one replica, in row `row` of `rows`.
    pub(super) fn lane(&mut self, lane: &Lane, row: usize, rows: usize) {
        let step = (self.height - BOTTOM - TOP) / rows.max(1) as f64;
        let y = TOP + step * row as f64;
        let name = tail(&lane.name);
        let _ = write!(
            self.out,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + step / 2.0 + 4.0,
            escaped(&name)
        );
        for (at, (from, state)) in lane.states.iter().enumerate().take(MOST_POINTS) {
            let to = lane.states.get(at + 1).map_or(self.span_ms, |(to, _)| *to as f64);
            let (x, right) = (self.x(*from as f64), self.x(to));
            let state = escaped(state);
            let _ = write!(
                self.out,
                "<rect class=\"s-{state}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\"><title>{}: {state}</title></rect>",
                y + 2.0,
                (right - x).max(1.5),
                (step - 4.0).max(1.0),
                escaped(&lane.name)
            );
        }
    }

    /// Ends it with the axis of time.
    pub(super) fn end(mut self) -> String {
        let seconds = self.span_ms / 1e3;
        let step = round_up(seconds / 6.0).max(1.0);
        let mut at = 0.0;
        while at <= seconds {
            let (x, y) = (self.x(at * 1e3), self.height - BOTTOM);
            let _ = write!(
                self.out,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                y + 4.0,
                y + 19.0,
                number(at)
            );
            at += step;
        }
        self.out.push_str("</svg>");
        self.out
    }
}

/// The end of a long name: that is where names of a kind differ.
fn tail(name: &str) -> String {
    let length = name.chars().count();
    match length > LONGEST_NAME {
        true => format!("…{}", name.chars().skip(length + 1 - LONGEST_NAME).collect::<String>()),
        false => name.to_owned(),
    }
}

/// The next of 1, 2, 5, 10, 20, …
fn round_up(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|next| *next >= value * 0.999).unwrap_or(value)
}

fn number(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, next) in [(0.7, 1.0), (1.0, 1.0), (3.0, 5.0), (51.0, 100.0), (1900.0, 2000.0)] {
            assert_eq!(round_up(value), next);
        }
        assert_eq!(round_up(f64::NAN), 1.0);
    }
}
