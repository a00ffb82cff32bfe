//! Numbers in sentences.

/// A number with its noun: “1 note”, “2 notes”, “0 notes”.
pub fn counted(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(counted(0_usize, "note", "notes"), "0 notes");
        assert_eq!(counted(1_u64, "note", "notes"), "1 note");
        assert_eq!(counted(2_i32, "reply", "replies"), "2 replies");
    }
}
