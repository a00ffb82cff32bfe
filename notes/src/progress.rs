//! Progress notifications.

/// Converts a count to the number type of progress notifications.
pub(crate) fn to_f64(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::MAX, f64::from)
}
