//! A span of time that comes again every week: `sat, sun 22:00 to 06:00`.

use evenkeel_domain::alert::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// When a window is open, as the configuration says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WindowSettings {
    /// Days on which it begins; all without it.
    pub days: Option<Vec<Day>>,
    /// When it begins, as `HH:MM`; midnight without it.
    pub from: Option<String>,
    /// When it ends, as `HH:MM`; at or before `from` means the next day. Midnight without it.
    pub to: Option<String>,
    /// How far the clock of these times is from UTC, as `+02:00`.
    pub offset: Option<String>,
}

/// The same, in minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// On which days it begins, from Monday.
    days: [bool; 7],
    from: u64,
    /// How long it is.
    length: u64,
    /// East of UTC.
    offset: i64,
}

impl WindowSettings {
    /// The window, or (key, what is wrong with it).
    ///
    /// # Errors
    /// When it cannot be read, or would never be open.
    pub fn window(&self) -> Result<Window, (&'static str, String)> {
        let from = time("from", self.from.as_deref().unwrap_or("00:00"))?;
        let to = time("to", self.to.as_deref().unwrap_or("24:00"))?;
        if from == to {
            let text = "is when it begins: it never holds; leave both out for whole days";
            return Err(("to", text.into()));
        }
        if from == DAY {
            return Err(("from", "the last minute of a day is 23:59".into()));
        }
        let length = if to > from { to - from } else { to + DAY - from };
        let mut days = [self.days.is_none(); 7];
        for day in self.days.iter().flatten() {
            days[*day as usize] = true;
        }
        if !days.contains(&true) {
            let text = "names no day: it never holds; name some, or leave it out for all";
            return Err(("days", text.into()));
        }
        let offset = self.offset.as_deref().map_or(Ok(0), offset)?;
        Ok(Window { days, from, length, offset })
    }
}

fn time(key: &'static str, text: &str) -> Result<u64, (&'static str, String)> {
    let wrong = || (key, format!("`{text}` is no time of day; try \"22:30\""));
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return Err(wrong());
    }
    let (hours, minutes): (u64, u64) =
        (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    match hours * 60 + minutes {
        at if at <= DAY && minutes < 60 => Ok(at),
        _ => Err(wrong()),
    }
}

fn offset(text: &str) -> Result<i64, (&'static str, String)> {
    let wrong = || ("offset", format!("`{text}` is no offset from UTC; try \"+02:00\""));
    let sign = match text.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => return Err(wrong()),
    };
    let minutes = time("offset", text.get(1..).unwrap_or_default()).map_err(|_| wrong())?;
    match minutes <= 14 * 60 {
        true => Ok(sign * minutes as i64),
        false => Err(wrong()),
    }
}

impl Window {
    /// Whether it is open at `now`.
    #[must_use]
    pub fn holds(&self, now: Millis) -> bool {
        let minute = (now / MINUTE) as i64 + self.offset;
        let minute = u64::try_from(minute).unwrap_or(0);
        // The first day of the epoch was a Thursday.
        let (day, at) = ((minute / DAY + 3) % 7, minute % DAY);
        let begun_on = |day: u64| self.days[(day % 7) as usize];
        let today = begun_on(day) && at >= self.from && at < self.from + self.length;
        let yesterday = begun_on(day + 6) && at + DAY < self.from + self.length;
        today || yesterday
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 2024-06-01, at `HH:MM` UTC, plus days.
    fn at(days: u64, hours: u64, minutes: u64) -> Millis {
        1_717_200_000_000 + ((days * 24 + hours) * 60 + minutes) * MINUTE
    }

    fn window(days: Option<&[Day]>, from: &str, to: &str, offset: Option<&str>) -> Window {
        let settings = WindowSettings {
            days: days.map(<[Day]>::to_vec),
            from: Some(from.into()),
            to: Some(to.into()),
            offset: offset.map(Into::into),
        };
        settings.window().unwrap()
    }

    #[test]
    fn a_night_that_begins_on_saturday_ends_on_sunday() {
        let night = window(Some(&[Day::Sat]), "22:00", "06:00", None);
        for (when, holds) in [
            (at(0, 21, 59), false),
            (at(0, 22, 0), true),
            (at(1, 5, 59), true),
            (at(1, 6, 0), false),
            (at(1, 22, 30), false),
            (at(0, 3, 0), false),
        ] {
            assert_eq!(night.holds(when), holds, "{when}");
        }
    }

    #[test]
    fn an_offset_moves_it_and_whole_days_are_whole() {
        let morning = window(None, "08:00", "09:00", Some("+02:00"));
        assert!(morning.holds(at(0, 6, 30)) && !morning.holds(at(0, 8, 30)));
        let settings = WindowSettings { days: Some(vec![Day::Sun]), ..WindowSettings::default() };
        let sunday = settings.window().unwrap();
        assert!(sunday.holds(at(1, 0, 0)) && sunday.holds(at(1, 23, 59)));
        assert!(!sunday.holds(at(0, 23, 59)) && !sunday.holds(at(2, 0, 0)));
    }

    #[test]
    fn what_never_holds_or_cannot_be_read_is_refused() {
        let wrong = |settings: WindowSettings| settings.window().unwrap_err();
        let text = |text: &str| Some(text.to_owned());
        let base = WindowSettings::default();
        let same = WindowSettings { from: text("10:00"), to: text("10:00"), ..base.clone() };
        assert!(wrong(same).1.contains("never holds"));
        let never = WindowSettings { days: Some(Vec::new()), ..base.clone() };
        assert!(wrong(never).1.contains("never holds"));
        for bad in ["25:00", "9:00", "24:01", "10", "aa:bb", "", "10:60", "+1:00"] {
            assert_eq!(
                wrong(WindowSettings { from: text(bad), ..base.clone() }).0,
                "from",
                "{bad}"
            );
        }
        for bad in ["02:00", "+15:00", "+2", "é", ""] {
            let settings = WindowSettings { offset: text(bad), ..base.clone() };
            assert_eq!(wrong(settings).0, "offset", "{bad}");
        }
    }
}
