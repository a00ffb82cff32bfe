//! The growth of a measured value, by linear regression.

use std::{fmt, time::Duration};

/// The largest growth that is no leak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Per hour, in the unit of the value.
    pub(super) per_hour: f64,
    /// A smaller increase during the judged time is noise, whatever the slope: short runs have few samples.
    pub(super) noise: f64,
    /// Why it is this large, and what a larger growth means.
    pub(super) why: &'static str,
}

/// How a value has grown.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) name: String,
    /// The first and the last value of the line through the samples.
    line: (f64, f64),
    /// The largest sample.
    highest: f64,
    per_hour: f64,
    /// `None`: the run is too short to judge it.
    bound: Option<Bound>,
    pub(super) why: &'static str,
}

impl Growth {
    pub(super) const HEADING: &str = "| value | from | to | highest | growth per hour | bound | |\n\
                                      |---|---|---|---|---|---|---|";

    /// Fits a line through samples: times and values. `judged`: whether the bound holds.
    pub(super) fn of(name: &str, samples: &[(Duration, f64)], bound: Bound, judged: bool) -> Self {
        let (offset, slope) = line(samples);
        let at = |sample: Option<&(Duration, f64)>| {
            sample.map_or(0.0, |(time, _)| offset + slope * time.as_secs_f64())
        };
        Self {
            name: name.to_owned(),
            line: (at(samples.first()), at(samples.last())),
            highest: samples.iter().map(|(_, value)| *value).fold(0.0, f64::max),
            per_hour: slope * 3_600.0,
            bound: judged.then_some(bound),
            why: bound.why,
        }
    }

    /// Whether it has grown by no more than its bound.
    pub(super) fn is_good(&self) -> bool {
        let increase = self.line.1 - self.line.0;
        self.bound.is_none_or(|bound| self.per_hour <= bound.per_hour || increase <= bound.noise)
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.line;
        write!(f, "| {} | {from:.2} | {to:.2} | {:.2} ", self.name, self.highest)?;
        write!(f, "| {:+.2} ", self.per_hour)?;
        match self.bound {
            Some(Bound { per_hour, .. }) => {
                write!(f, "| {per_hour} | {} |", if self.is_good() { "" } else { "GROWS" })
            }
            None => write!(f, "| – | not judged |"),
        }
    }
}

/// The least-squares line through samples: its value at time zero, and its slope per second.
fn line(samples: &[(Duration, f64)]) -> (f64, f64) {
    let count = f64::from(u32::try_from(samples.len().max(1)).unwrap_or(u32::MAX));
    let (mut times, mut values) = (0.0, 0.0);
    for (time, value) in samples {
        times += time.as_secs_f64() / count;
        values += value / count;
    }
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (time, value) in samples {
        let distance = time.as_secs_f64() - times;
        covariance += distance * (value - values);
        variance += distance * distance;
    }
    let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
    (values - slope * times, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { per_hour: 60.0, noise: 5.0, why: "a test" };

    /// One sample a minute.
    fn samples(value: impl Fn(u32) -> f64) -> Vec<(Duration, f64)> {
        (0..20).map(|minute| (Duration::from_mins(minute.into()), value(minute))).collect()
    }

    #[test]
    fn a_constant_value_with_noise_does_not_grow() {
        let noisy = samples(|minute| 100.0 + f64::from(minute % 3));
        let growth = Growth::of("noise", &noisy, BOUND, true);
        assert!(growth.is_good(), "{growth}");
        assert!(growth.per_hour.abs() < 5.0, "{growth}");
    }

    #[test]
    fn a_leak_grows_and_is_judged_only_if_the_run_was_long_enough() {
        let leak = samples(|minute| 100.0 + 2.0 * f64::from(minute));
        let growth = Growth::of("leak", &leak, BOUND, true);
        assert!((growth.per_hour - 120.0).abs() < 0.001, "{growth}");
        assert!(!growth.is_good());
        assert!(growth.to_string().contains("GROWS"), "{growth}");
        assert!(Growth::of("leak", &leak, BOUND, false).is_good());
        assert!(Growth::of("noise", &leak[..3], BOUND, true).is_good(), "too little in total");
    }
}
