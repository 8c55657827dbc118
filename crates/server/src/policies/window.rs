//! Maintenance windows: when machines may be changed by themselves.

use chrono::{
    DateTime, Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Utc,
    Weekday,
};
use chrono_tz::Tz;
use serde_json::Value;

/// Weekdays and a time of day, in the time zone of the place it is meant for.
///
/// `{"days": ["sat", "sun"], "from": "22:00", "to": "05:00", "time_zone": "Europe/Berlin"}`: where `to` is not after
/// `from`, the window ends the day after. Without a time zone it is in UTC, as the server's clock is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    days: Vec<Weekday>,
    from: NaiveTime,
    to: NaiveTime,
    zone: Tz,
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];

impl MaintenanceWindow {
    /// Reads it, or says what is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, &'static str> {
        let object = value.as_object().ok_or("must have days, from and to")?;
        if object.keys().any(|key| !matches!(key.as_str(), "days" | "from" | "to" | "time_zone")) {
            return Err("has days, from, to and time_zone, and nothing else");
        }
        let named = object.get("days").and_then(Value::as_array).ok_or("must name its days")?;
        let day =
            |word: &Value| WEEKDAYS.iter().find(|(name, _)| word.as_str() == Some(name)).map(|(_, day)| *day);
        let days: Option<Vec<Weekday>> = named.iter().map(day).collect();
        let days = days
            .filter(|days| (1..=7).contains(&days.len()))
            .ok_or("must name one to seven days: mon, tue, wed, thu, fri, sat, sun")?;
        let time = |name: &str| {
            let text = object.get(name).and_then(Value::as_str).filter(|text| text.len() == 5);
            text.and_then(|text| NaiveTime::parse_from_str(text, "%H:%M").ok())
        };
        let (from, to) =
            time("from").zip(time("to")).ok_or("must have from and to as HH:MM, 00:00 to 23:59")?;
        if from == to {
            return Err("must end at another time than it begins");
        }
        let zone = match object.get("time_zone") {
            None | Some(Value::Null) => Tz::UTC,
            Some(name) => name
                .as_str()
                .and_then(|name| name.parse().ok())
                .ok_or("must name a time zone such as Europe/Berlin")?,
        };
        Ok(Self { days, from, to, zone })
    }

    /// When the window that is open now closes; `None` while none is.
    pub fn open_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = now.with_timezone(&self.zone).date_naive();
        // One that began yesterday may last until today.
        let begun = [today.checked_sub_days(Days::new(1))?, today];
        begun
            .into_iter()
            .filter_map(|day| self.of_day(day))
            .filter(|(opens, closes)| *opens <= now && now < *closes)
            .map(|(_, closes)| closes)
            .max()
    }

    /// The window that opens on a day.
    fn of_day(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let last = if self.to > self.from { day } else { day.checked_add_days(Days::new(1))? };
        Some((self.instant(day.and_time(self.from))?, self.instant(last.and_time(self.to))?))
    }

    /// When clocks show this. Shown twice, the first time counts; skipped, the moment they jump past it.
    fn instant(&self, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        let quarters = (0..=12).map(|quarter| shown + TimeDelta::minutes(15 * quarter));
        quarters
            .into_iter()
            .find_map(|shown| self.zone.from_local_datetime(&shown).earliest())
            .map(|local| local.to_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(value: Value) -> MaintenanceWindow {
        MaintenanceWindow::parse(&value).unwrap()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens() {
        let window = window(json!({ "days": ["sat"], "from": "22:00", "to": "05:00" }));
        // 2026-06-06 is a Saturday.
        assert_eq!(window.open_until(at("2026-06-06T21:59:59Z")), None);
        assert_eq!(window.open_until(at("2026-06-06T22:00:00Z")), Some(at("2026-06-07T05:00:00Z")));
        assert_eq!(window.open_until(at("2026-06-07T04:59:59Z")), Some(at("2026-06-07T05:00:00Z")));
        assert_eq!(window.open_until(at("2026-06-07T05:00:00Z")), None);
        assert_eq!(window.open_until(at("2026-06-07T22:30:00Z")), None);
    }

    #[test]
    fn a_window_goes_by_the_clocks_of_its_place_in_summer_and_winter() {
        let value = json!({ "days": ["sun"], "from": "02:30", "to": "04:00", "time_zone": "Europe/Berlin" });
        let window = window(value);
        // Clocks jump from 2 to 3 on 2026-03-29, and back from 3 to 2 on 2026-10-25.
        assert_eq!(window.open_until(at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T02:00:00Z")));
        assert_eq!(window.open_until(at("2026-03-29T00:59:00Z")), None);
        assert_eq!(window.open_until(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T03:00:00Z")));
        assert_eq!(window.open_until(at("2026-06-07T00:30:00Z")), Some(at("2026-06-07T02:00:00Z")));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for value in [
            json!("weekend"),
            json!({ "days": [], "from": "22:00", "to": "05:00" }),
            json!({ "days": ["someday"], "from": "22:00", "to": "05:00" }),
            json!({ "days": ["mon"], "from": "22:00", "to": "22:00" }),
            json!({ "days": ["mon"], "from": "24:00", "to": "05:00" }),
            json!({ "days": ["mon"], "from": "22:00" }),
            json!({ "days": ["mon"], "from": "22:00", "to": "05:00", "time_zone": "Mars/Olympus" }),
            json!({ "days": ["mon"], "from": "22:00", "to": "05:00", "until": "never" }),
        ] {
            assert!(MaintenanceWindow::parse(&value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn an_open_window_closes_within_a_day_and_not_before_now(
            minute in 0_i64..2_000_000, from in 0_u32..1_440, to in 0_u32..1_440, zone in 0_usize..4, day in 0_usize..7
        ) {
            prop_assume!(from != to);
            let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            let zone = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"][zone];
            let window = window(json!({
                "days": [WEEKDAYS[day].0], "from": clock(from), "to": clock(to), "time_zone": zone
            }));
            let now = at("2024-01-01T00:00:00Z") + TimeDelta::minutes(minute);
            if let Some(closes) = window.open_until(now) {
                prop_assert!(closes > now && closes - now <= TimeDelta::hours(26));
                prop_assert_eq!(window.open_until(closes - TimeDelta::seconds(1)), Some(closes));
            }
        }
    }
}
