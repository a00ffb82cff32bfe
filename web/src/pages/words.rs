//! Times and durations, in words.

use chrono::{DateTime, Utc};

/// A time, such as “30 November 2026 at 03:08 UTC”.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%-d %B %Y at %H:%M UTC").to_string()
}

/// How long ago something was, in words.
pub(super) fn ago(minutes: i64) -> String {
    let (number, unit) = match minutes {
        ..2 => return "just now".to_owned(),
        2..60 => (minutes, "minute"),
        60..1_440 => (minutes / 60, "hour"),
        _ => (minutes / 1_440, "day"),
    };
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{s} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_described_in_words() {
        for (minutes, words) in [
            (-3, "just now"),
            (1, "just now"),
            (2, "2 minutes ago"),
            (60, "1 hour ago"),
            (119, "1 hour ago"),
            (1_439, "23 hours ago"),
            (1_440, "1 day ago"),
            (100_000, "69 days ago"),
        ] {
            assert_eq!(ago(minutes), words);
        }
    }
}
