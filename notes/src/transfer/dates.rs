//! Parses dates and times in the formats of common programs and of people. Without a time zone, a
//! time is UTC.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde_json::Value;

/// The last second of the year 9999: not both databases can store later times.
const LAST_SECOND: i64 = 253_402_300_799;

/// The maximum length of a date, in bytes. Longer texts are prose.
const MAX_LENGTH: usize = 100;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Words in dates that have no meaning.
const FILLERS: [&str; 4] = ["at", "on", "of", "the"];

/// Abbreviations of time zones and their offsets in hours, without ambiguous ones.
const ZONES: [(&str, i32); 25] = [
    ("z", 0),
    ("utc", 0),
    ("gmt", 0),
    ("ut", 0),
    ("wet", 0),
    ("west", 1),
    ("bst", 1),
    ("cet", 1),
    ("cest", 2),
    ("eet", 2),
    ("eest", 3),
    ("msk", 3),
    ("jst", 9),
    ("kst", 9),
    ("aest", 10),
    ("aedt", 11),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("hst", -10),
];

/// The text is not a date in a supported format, or not between 1970 and 9999.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotADate;

/// Parses a date from a value of front matter or JSON. `Ok(None)`: the value is empty.
pub(super) fn read(value: &Value) -> Result<Option<DateTime<Utc>>, NotADate> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        // A list with one element, as written by some property editors.
        Value::Array(items) if items.len() == 1 => return read(&items[0]),
        Value::Array(items) if items.is_empty() => return Ok(None),
        _ => return Err(NotADate),
    };
    let text = bare(&text);
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let time = parse(text).ok_or(NotADate)?;
    if (0..=LAST_SECOND).contains(&time.timestamp()) { Ok(Some(time)) } else { Err(NotADate) }
}

/// Removes surrounding quotes and brackets, as in `[[2026-01-31]]` or `<2026-01-31 Sat>`.
fn bare(text: &str) -> &str {
    text.trim_matches(|character: char| {
        character.is_whitespace() || "\"'`[]<>@".contains(character)
    })
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    if text.starts_with(|character: char| character.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_digit() || character == '.')
        && text.matches('.').count() <= 1
    {
        return number(text);
    }
    DateTime::parse_from_rfc3339(text)
        .or_else(|_error| DateTime::parse_from_rfc2822(text))
        .map(|time| time.to_utc())
        .ok()
        .or_else(|| Parts::read(text)?.resolve())
}

/// Parses digits: a date without separators, or a Unix time in seconds to nanoseconds.
fn number(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let compact = match whole.len() {
        4 => {
            NaiveDate::parse_from_str(&format!("{whole}0101"), "%Y%m%d").ok()?.and_hms_opt(0, 0, 0)
        }
        8 => NaiveDate::parse_from_str(whole, "%Y%m%d")
            .ok()
            .and_then(|date| date.and_hms_opt(0, 0, 0)),
        12 => NaiveDateTime::parse_from_str(&format!("{whole}00"), "%Y%m%d%H%M%S").ok(),
        14 => NaiveDateTime::parse_from_str(whole, "%Y%m%d%H%M%S").ok(),
        _ => None,
    };
    if fraction.is_empty()
        && let Some(time) = compact
    {
        return Some(time.and_utc());
    }
    let count: i64 = whole.parse().ok()?;
    match whole.len() {
        9..=11 => {
            let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
            DateTime::from_timestamp_micros(count.checked_mul(1_000_000)?.checked_add(micros)?)
        }
        12..=14 => DateTime::from_timestamp_millis(count),
        15..=17 => DateTime::from_timestamp_micros(count),
        18..=19 => Some(DateTime::from_timestamp_nanos(count)),
        _ => None,
    }
}

/// The components of a date that have been recognized.
#[derive(Debug, Default)]
struct Parts {
    /// The numbers in their order, each with its number of digits.
    numbers: Vec<(u32, usize)>,
    month: Option<u32>,
    time: Option<NaiveTime>,
    /// `Some(true)`: the text has "PM". `Some(false)`: it has "AM".
    afternoon: Option<bool>,
    offset: Option<i32>,
    has_dots: bool,
}

impl Parts {
    /// Recognizes the words of a text. `None`: a word is not part of a date.
    fn read(text: &str) -> Option<Self> {
        let mut parts = Self::default();
        let text = plain(text);
        // `GMT+0200 (Central European Summer Time)` has the zone twice.
        let (text, comment) = text.split_once('(').unwrap_or((&text, ""));
        for word in text.split_whitespace() {
            parts.word(word)?;
        }
        if parts.offset.is_none() {
            for word in comment.trim_end_matches(')').split_whitespace() {
                parts.word(word)?;
            }
        }
        Some(parts)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_name = |name: &&str| word.len() >= 3 && name.starts_with(word.trim_end_matches('.'));
        if FILLERS.contains(&word) || WEEKDAYS.iter().any(&is_name) {
            return Some(());
        }
        if let Some(month) = MONTHS.iter().position(is_name) {
            let month = u32::try_from(month + 1).ok()?;
            return self.month.replace(month).is_none().then_some(());
        }
        let digits = word.find(|character: char| !character.is_ascii_digit()).unwrap_or(word.len());
        if digits == word.len() && digits == 8 && self.numbers.is_empty() {
            // For example 20260131T120000Z.
            let part = |range: std::ops::Range<usize>| word.get(range)?.parse().ok();
            self.numbers = vec![(part(0..4)?, 4), (part(4..6)?, 2), (part(6..8)?, 2)];
            return Some(());
        }
        if matches!(digits, 4 | 6) && self.numbers.len() == 3 && self.time.is_none() {
            let (clock, rest) = word.split_at(digits);
            let format = if digits == 4 { "%H%M" } else { "%H%M%S" };
            self.time = Some(NaiveTime::parse_from_str(clock, format).ok()?);
            return if rest.is_empty() { Some(()) } else { self.word(rest) };
        }
        if word.contains(':') && word.starts_with(|character: char| character.is_ascii_digit()) {
            return self.clock(word);
        }
        if let Some(afternoon) = meridiem(word) {
            self.afternoon = Some(afternoon);
            return Some(());
        }
        if let Some(offset) = offset(word) {
            self.offset = Some(offset);
            return Some(());
        }
        self.date(word)
    }

    /// Parses a time such as `16:40:00.5+02:00` or `4:40pm`.
    fn clock(&mut self, word: &str) -> Option<()> {
        let end = word
            .find(|character: char| {
                !(character.is_ascii_digit() || character == ':' || character == '.')
            })
            .unwrap_or(word.len());
        let (clock, rest) = word.split_at(end);
        let time = ["%H:%M:%S%.f", "%H:%M"]
            .iter()
            .find_map(|format| NaiveTime::parse_from_str(clock, format).ok())?;
        if self.time.replace(time).is_some() {
            return None;
        }
        if rest.is_empty() { Some(()) } else { self.word(rest) }
    }

    /// Parses a date such as `2026-01-31`, `31.1.2026`, `31-jan-2026` or `31st`.
    fn date(&mut self, word: &str) -> Option<()> {
        self.has_dots |= word.contains('.');
        for piece in word.split(['-', '/', '.', '_']).filter(|piece| !piece.is_empty()) {
            let digits = ["st", "nd", "rd", "th"]
                .iter()
                .find_map(|suffix| piece.strip_suffix(suffix))
                .unwrap_or(piece);
            match digits.parse::<u32>() {
                Ok(number) if digits.len() <= 4 => self.numbers.push((number, digits.len())),
                Ok(_) => return None,
                Err(_) if piece == word => return None,
                Err(_) => self.word(piece)?,
            }
        }
        Some(())
    }

    fn resolve(&self) -> Option<DateTime<Utc>> {
        let (year, month, day) = self.day()?;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        let time = date.and_time(self.time_of_day()?);
        let offset = FixedOffset::east_opt(self.offset.unwrap_or_default())?;
        Some(time.and_local_timezone(offset).single()?.to_utc())
    }

    fn day(&self) -> Option<(u32, u32, u32)> {
        let is_year = |number: &(u32, usize)| number.1 == 4;
        match (self.month, self.numbers.as_slice()) {
            (Some(month), [year]) if is_year(year) => Some((year.0, month, 1)),
            (Some(month), [day, year]) if is_year(year) && !is_year(day) => {
                Some((year.0, month, day.0))
            }
            (Some(month), [year, day]) if is_year(year) => Some((year.0, month, day.0)),
            (None, [year, month]) if is_year(year) => Some((year.0, month.0, 1)),
            (None, [year, month, day]) if is_year(year) => Some((year.0, month.0, day.0)),
            (None, [first, second, year]) if is_year(year) => {
                let day_first = self.has_dots || first.0 > 12 || first.0 == second.0;
                match (day_first, second.0 > 12) {
                    (true, _) => Some((year.0, second.0, first.0)),
                    (false, true) => Some((year.0, first.0, second.0)),
                    // 1/2/2026 is ambiguous: January in the US, February elsewhere.
                    (false, false) => None,
                }
            }
            _ => None,
        }
    }

    fn time_of_day(&self) -> Option<NaiveTime> {
        use chrono::Timelike as _;

        let time = self.time.unwrap_or_default();
        match (self.afternoon, time.hour()) {
            (None, _) | (Some(true), 12) | (Some(false), 1..12) => Some(time),
            (Some(false), 12) => time.with_hour(0),
            (Some(true), hour @ 1..12) => time.with_hour(hour + 12),
            _ => None,
        }
    }
}

/// Normalizes a text: lowercase, plain spaces, no commas, and a space for a `T` between date and
/// time.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let after_digit = plain.ends_with(|character: char| character.is_ascii_digit());
        let before_digit = rest.peek().is_some_and(char::is_ascii_digit);
        match character {
            ',' | '日' => plain.push(' '),
            '年' | '月' => plain.push('-'),
            'T' | 't' if after_digit && before_digit => plain.push(' '),
            space if space.is_whitespace() => plain.push(' '),
            other => plain.extend(other.to_lowercase()),
        }
    }
    plain
}

fn meridiem(word: &str) -> Option<bool> {
    match word {
        "am" | "a.m." => Some(false),
        "pm" | "p.m." => Some(true),
        _ => None,
    }
}

/// Parses a time zone such as `z`, `+02:00`, `-0500`, `gmt+2` or `cest` into seconds east of
/// Greenwich.
fn offset(word: &str) -> Option<i32> {
    if let Some((_, hours)) = ZONES.iter().find(|zone| zone.0 == word) {
        return Some(hours * 3600);
    }
    let word = word.strip_prefix("gmt").or_else(|| word.strip_prefix("utc")).unwrap_or(word);
    let (sign, digits) = match word.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-" | "−", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = match digits.len() {
        1 | 2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn common_formats_are_parsed() {
        for (text, time) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
            ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500+00:00"),
            ("2026-01-31T12:00:01", "2026-01-31T12:00:01+00:00"),
            ("2026-01-31T12:00+0200", "2026-01-31T10:00:00+00:00"),
            ("2026-01-31 12:00", "2026-01-31T12:00:00+00:00"),
            (" 2026-01-31 ", "2026-01-31T00:00:00+00:00"),
            // Joplin, Jekyll, Hexo, Go
            ("2021-05-01 16:40:00Z", "2021-05-01T16:40:00+00:00"),
            ("1970-01-01 00:00Z", "1970-01-01T00:00:00+00:00"),
            ("2012-12-02 11:22:33 +0000", "2012-12-02T11:22:33+00:00"),
            ("2012-12-02 11:22:33 -0530", "2012-12-02T16:52:33+00:00"),
            ("2021/05/01 16:40:00", "2021-05-01T16:40:00+00:00"),
            ("2021-5-1", "2021-05-01T00:00:00+00:00"),
            ("2021-05-01 16:40:00.123 +0000 UTC", "2021-05-01T16:40:00.123+00:00"),
            ("2021-05-01 16:40 CEST", "2021-05-01T14:40:00+00:00"),
            // Evernote, Zettelkasten, epochs
            ("20210501T164000Z", "2021-05-01T16:40:00+00:00"),
            ("20210501", "2021-05-01T00:00:00+00:00"),
            ("202105011640", "2021-05-01T16:40:00+00:00"),
            ("20210501164001", "2021-05-01T16:40:01+00:00"),
            ("1619887200", "2021-05-01T16:40:00+00:00"),
            ("1619887200.25", "2021-05-01T16:40:00.250+00:00"),
            ("1619887200000", "2021-05-01T16:40:00+00:00"),
            ("1619887200000000", "2021-05-01T16:40:00+00:00"),
            // Notion, Apple Notes, mail, JavaScript, Unix
            ("May 1, 2021", "2021-05-01T00:00:00+00:00"),
            ("January 5, 2024 3:04 PM", "2024-01-05T15:04:00+00:00"),
            ("May 1, 2021 12:30 AM (GMT+2)", "2021-04-30T22:30:00+00:00"),
            ("2021年5月1日 16:40", "2021-05-01T16:40:00+00:00"),
            ("Saturday, March 5, 2022 at 10:11:12\u{202f}PM", "2022-03-05T22:11:12+00:00"),
            ("Saturday, 5 March 2022 at 10:11:12", "2022-03-05T10:11:12+00:00"),
            ("December 01 2025", "2025-12-01T00:00:00+00:00"),
            ("Sat, 01 May 2021 16:40:00 +0200", "2021-05-01T14:40:00+00:00"),
            (
                "Sat May 01 2021 16:40:00 GMT+0200 (Central European Summer Time)",
                "2021-05-01T14:40:00+00:00",
            ),
            ("Sat May  1 16:40:00 UTC 2021", "2021-05-01T16:40:00+00:00"),
            ("1st of May 2021", "2021-05-01T00:00:00+00:00"),
            ("01-May-2021 4:40pm", "2021-05-01T16:40:00+00:00"),
            ("2021 Sept. 1", "2021-09-01T00:00:00+00:00"),
            // Obsidian, Org mode, others
            ("[[2021-05-01]]", "2021-05-01T00:00:00+00:00"),
            ("<2021-05-01 Sat 16:40>", "2021-05-01T16:40:00+00:00"),
            ("31.1.2026", "2026-01-31T00:00:00+00:00"),
            ("1.2.2026, 10:00", "2026-02-01T10:00:00+00:00"),
            ("31/01/2026", "2026-01-31T00:00:00+00:00"),
            ("01/31/2026", "2026-01-31T00:00:00+00:00"),
            ("2026-01", "2026-01-01T00:00:00+00:00"),
            ("2026", "2026-01-01T00:00:00+00:00"),
        ] {
            let found = read(&json!(text));
            let expected = DateTime::parse_from_rfc3339(time).unwrap().to_utc();
            assert_eq!(found, Ok(Some(expected)), "{text}");
        }
        let expected = DateTime::from_timestamp_secs(1_619_887_200);
        for number in [json!(1_619_887_200), json!(1_619_887_200.0), json!(1_619_887_200_000_u64)] {
            assert_eq!(read(&number), Ok(expected), "{number}");
        }
    }

    #[test]
    fn empty_and_ambiguous_values_are_not_dates() {
        for empty in [json!(null), json!(""), json!(" "), json!("\"\""), json!(0), json!([])] {
            assert_eq!(read(&empty), Ok(None), "{empty}");
        }
        for bad in [
            json!("now"),
            json!("yesterday"),
            json!("a fruit of palm trees"),
            json!("1969-12-31"),
            json!("+10000-01-01T00:00:00Z"),
            json!("2026-02-30"),
            json!("1/2/2026"),
            json!("May 1, 2021 → May 3, 2021"),
            json!("13:00 PM 2021-05-01"),
            json!("25:00 2021-05-01"),
            json!("{{date}}"),
            json!(12),
            json!(-1_619_887_200),
            json!(true),
            json!({ "start": "2026-01-31" }),
        ] {
            assert_eq!(read(&bad), Err(NotADate), "{bad}");
        }
    }

    #[test]
    fn an_offset_consists_of_digits() {
        for text in ["+\u{16b5b}", "+ab", "++5", "+-500", "+02:é"] {
            assert_eq!(offset(text), None, "{text}");
        }
        assert_eq!(offset("+02:30"), Some(9_000));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(
            text in "(\\PC|[0-9]{1,4}|[-/.:+TZ ]|may|pm|gmt){0,12}",
        ) {
            drop(read(&json!(text)));
        }

        #[test]
        fn times_formatted_by_chrono_are_parsed(micros in 0_i64..253_402_300_799_000_000) {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            for text in [time.to_rfc3339(), time.format("%Y-%m-%d %H:%M:%S%.6f %z").to_string()] {
                prop_assert_eq!(read(&json!(text)), Ok(Some(time)), "{}", text);
            }
        }
    }
}
