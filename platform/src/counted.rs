//! Numbers and lists in sentences.

/// The number of bytes in a megabyte.
pub const MEGABYTE: u64 = 1_000_000;

/// Formats a number with its noun: “1 note”, “2 notes”, “0 notes”.
pub fn counted(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// Formats a number with a comma between groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Joins names with commas, and `or` before the last.
pub fn one_of(names: &[impl AsRef<str>]) -> String {
    let [first @ .., last] = names else { return String::new() };
    let last = last.as_ref();
    if first.is_empty() {
        return last.to_owned();
    }
    let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
    format!("{} or {last}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_joined_with_or() {
        assert_eq!(one_of(&["a"; 0]), "");
        assert_eq!(one_of(&["a"]), "a");
        assert_eq!(one_of(&["a", "b"]), "a or b");
        assert_eq!(one_of(&["a", "b", "c"]), "a, b or c");
    }

    #[test]
    fn only_one_is_singular() {
        assert_eq!(counted(0_usize, "note", "notes"), "0 notes");
        assert_eq!(counted(1_u64, "note", "notes"), "1 note");
        assert_eq!(counted(2_i32, "reply", "replies"), "2 replies");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
