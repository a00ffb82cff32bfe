//! Writes repeated failures once a minute.
//!
//! While a dependency (Redis, the database, …) does not answer, every loop, call and retry that
//! needs it logs a warning. An event that names the dependency in the field `dependency` is written
//! once in [`WINDOW`]; equal ones in between are counted, and the next line that is written shows
//! their number as `suppressed`. Events are equal if they come from the same line of code, with the
//! same `dependency` and `schedule`. An event below WARN with that field reports that the
//! dependency answers again: it is written once after a failure that was written.
//!
//! Metrics count every event, including those that are not written.

use std::{
    collections::HashMap,
    fmt::{self, Debug},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

/// How long equal failures are suppressed after one was written.
const WINDOW: Duration = Duration::from_mins(1);

/// The maximum number of distinct lines that are tracked. There are about a hundred such lines of
/// code; failures beyond the maximum are always written.
const MAX_LINES: usize = 1_024;

/// The field that names the failed dependency.
const DEPENDENCY: &str = "dependency";

/// Adds a number to a line that is already formatted.
pub(super) trait Extend {
    /// Adds the number of suppressed lines to `line`, which ends with a line break.
    fn extend(line: &str, suppressed: u64) -> String;
}

impl<T> Extend for Format<Json, T> {
    fn extend(line: &str, suppressed: u64) -> String {
        let members = line.trim_end().strip_suffix('}').unwrap_or(line);
        format!("{members},\"suppressed\":{suppressed}}}\n")
    }
}

impl<T> Extend for Format<tracing_subscriber::fmt::format::Full, T> {
    fn extend(line: &str, suppressed: u64) -> String {
        format!("{} suppressed={suppressed}\n", line.trim_end())
    }
}

/// Formats events as `F` does, and suppresses repeated ones.
pub(super) struct WithoutRepeats<F> {
    inner: F,
    repeats: Repeats,
}

impl<F> WithoutRepeats<F> {
    pub(super) fn new(inner: F) -> Self {
        Self { inner, repeats: Repeats::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithoutRepeats<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N> + Extend,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = Line::of(event);
        let suppressed = line.map_or(Some(0), |(dependency, line)| {
            let is_failure = *event.metadata().level() <= Level::WARN;
            self.repeats.note(dependency, line, is_failure, Instant::now())
        });
        match suppressed {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, writer, event),
            Some(suppressed) => {
                let mut text = String::new();
                self.inner.format_event(context, Writer::new(&mut text), event)?;
                writer.write_str(&F::extend(&text, suppressed))
            }
        }
    }
}

/// What makes two events equal, besides their dependency.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Line {
    /// File and line of the code.
    origin: &'static str,
    schedule: Option<String>,
}

impl Line {
    /// Returns the dependency that an event names, and its line. `None`: the event names no
    /// dependency.
    fn of(event: &Event<'_>) -> Option<(String, Self)> {
        event.metadata().fields().field(DEPENDENCY)?;
        let mut names = Names::default();
        event.record(&mut names);
        let line = Self { origin: event.metadata().name(), schedule: names.schedule };
        Some((names.dependency?, line))
    }
}

#[derive(Default)]
struct Names {
    dependency: Option<String>,
    schedule: Option<String>,
}

impl Visit for Names {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            DEPENDENCY => self.dependency = Some(value.to_owned()),
            "schedule" => self.schedule = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if [DEPENDENCY, "schedule"].contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// The failures that were written recently.
#[derive(Default)]
struct Repeats(Mutex<Known>);

#[derive(Default)]
struct Known {
    lines: HashMap<(String, Line), Repeat>,
    /// Dependencies whose last written event was a failure, not a recovery.
    failing: Vec<String>,
}

struct Repeat {
    written_at: Instant,
    suppressed: u64,
}

impl Repeats {
    /// Records an event. `None`: it is suppressed. Otherwise the number of equal events that were
    /// suppressed since the last one that was written.
    fn note(&self, dependency: String, line: Line, is_failure: bool, now: Instant) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_failure { known.failure(dependency, line, now) } else { known.recovery(&dependency) }
    }
}

impl Known {
    fn failure(&mut self, dependency: String, line: Line, now: Instant) -> Option<u64> {
        let is_full = self.lines.len() >= MAX_LINES;
        let key = (dependency, line);
        let suppressed = match self.lines.get_mut(&key) {
            Some(repeat) if now.duration_since(repeat.written_at) < WINDOW => {
                repeat.suppressed += 1;
                return None;
            }
            Some(repeat) => {
                repeat.written_at = now;
                std::mem::take(&mut repeat.suppressed)
            }
            None => {
                if !is_full {
                    self.lines.insert(key.clone(), Repeat { written_at: now, suppressed: 0 });
                }
                0
            }
        };
        if !self.failing.contains(&key.0) {
            self.failing.push(key.0);
        }
        Some(suppressed)
    }

    fn recovery(&mut self, dependency: &str) -> Option<u64> {
        let index = self.failing.iter().position(|name| name == dependency)?;
        self.failing.swap_remove(index);
        let repeats = self.lines.iter_mut().filter(|((name, _), _)| name == dependency);
        Some(repeats.map(|(_, repeat)| std::mem::take(&mut repeat.suppressed)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(origin: &'static str) -> Line {
        Line { origin, schedule: None }
    }

    #[test]
    fn equal_failures_are_written_once_a_minute_with_their_number() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let fail = |origin, millis| repeats.note("redis".into(), line(origin), true, at(millis));
        assert_eq!(fail("a", 0), Some(0));
        for tick in 1..240 {
            assert_eq!(fail("a", tick * 250), None, "{tick}");
        }
        assert_eq!(fail("b", 1_000), Some(0), "another line of code");
        let other = repeats.note("database".into(), line("a"), true, at(1_000));
        assert_eq!(other, Some(0), "another dependency");
        let schedule = Line { schedule: Some("sweep".into()), ..line("a") };
        assert_eq!(repeats.note("redis".into(), schedule, true, at(1_000)), Some(0));
        assert_eq!(fail("a", 60_000), Some(239));
        assert_eq!(fail("a", 60_250), None);
    }

    #[test]
    fn a_recovery_is_written_once_after_a_written_failure() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let fail = || repeats.note("redis".into(), line("a"), true, start);
        let recover = |origin| repeats.note("redis".into(), line(origin), false, start);
        assert_eq!(recover("x"), None);
        assert_eq!(fail(), Some(0));
        assert_eq!(fail(), None);
        assert_eq!(fail(), None);
        assert_eq!(recover("x"), Some(2));
        assert_eq!(recover("y"), None);
        assert_eq!(
            fail(),
            None,
            "a dependency that fails and recovers repeatedly does not fill the log"
        );
        assert_eq!(recover("x"), None);
    }

    #[test]
    fn memory_is_bounded_and_untracked_failures_are_written() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..MAX_LINES {
            let schedule = Some(number.to_string());
            repeats.note("redis".into(), Line { origin: "a", schedule }, true, now);
        }
        for _ in 0..2 {
            assert_eq!(repeats.note("redis".into(), line("more"), true, now), Some(0));
        }
        assert_eq!(repeats.0.lock().unwrap().lines.len(), MAX_LINES);
    }

    #[test]
    fn the_number_is_appended_as_a_member_or_a_field() {
        let json = <Format<Json> as Extend>::extend("{\"level\":\"WARN\"}\n", 7);
        assert_eq!(json, "{\"level\":\"WARN\",\"suppressed\":7}\n");
        let full = <Format as Extend>::extend("WARN it failed\n", 7);
        assert_eq!(full, "WARN it failed suppressed=7\n");
    }
}
