//! The syntax of `ALLOWED_GITHUB_LOGINS` and `ALLOWED_GITHUB_ORG`.

use crate::login::policy::Allowed;

/// The maximum length of a GitHub login.
const MAX_LOGIN: usize = 39;

/// The value of `ALLOWED_GITHUB_LOGINS` that admits all users.
pub const EVERYONE: &str = "*";

/// The prefix of an entry that is the number of an account.
const BY_NUMBER: &str = "id";

/// Returns the error message for a list of logins without an entry.
pub fn empty_list_error() -> String {
    format!(
        "is set but empty: write {EVERYONE} to allow all GitHub accounts, or list the logins that may \
         sign in"
    )
}

/// Parses a comma-separated list of users; blanks are ignored.
pub fn parse_logins(text: &str) -> Result<Vec<Allowed>, String> {
    if text == EVERYONE {
        return Ok(Vec::new());
    }
    let mut entries = text.split(',').map(str::trim).filter(|it| !it.is_empty()).peekable();
    if entries.peek().is_none() {
        return Err(empty_list_error());
    }
    entries
        .map(|entry| {
            let allowed = match entry.split_once(':') {
                Some((kind, id)) if kind.trim().eq_ignore_ascii_case(BY_NUMBER) => {
                    let id: Option<i64> = id.trim().parse().ok().filter(|it| *it > 0);
                    id.map(|id| Allowed::Subject(id.to_string()))
                }
                _ => is_login(entry).then(|| Allowed::Login(entry.to_ascii_lowercase())),
            };
            allowed.ok_or_else(|| {
                format!(
                    "must be GitHub logins or numeric ids, such as octocat,id:583231; \
                     “{entry}” is neither"
                )
            })
        })
        .collect()
}

/// Parses the name of an organization.
pub fn parse_org(text: &str) -> Result<String, String> {
    if is_login(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be the name of a GitHub organization; “{text}” is not one"))
    }
}

fn is_login(text: &str) -> bool {
    (1..=MAX_LOGIN).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_logins_are_parsed() {
        let login = |it: &str| Allowed::Login(it.to_owned());
        let id = |it: i64| Allowed::Subject(it.to_string());
        for (text, expected) in [
            ("octocat", vec![login("octocat")]),
            (" Octocat , hubot ", vec![login("octocat"), login("hubot")]),
            ("octocat,,", vec![login("octocat")]),
            ("id:583231", vec![id(583_231)]),
            ("ID: 583231, a-b_c", vec![id(583_231), login("a-b_c")]),
            ("id", vec![login("id")]),
        ] {
            assert_eq!(parse_logins(text), Ok(expected), "{text}");
        }
        let long = "a".repeat(40);
        for bad in ["octo cat", "id:", "id:0", "id:-1", "id:x", "@octocat", "a/b", "x:1", &long] {
            assert!(parse_logins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_organization_is_a_single_name() {
        assert_eq!(parse_org("Octo-Org"), Ok("Octo-Org".to_owned()));
        for bad in ["a,b", "a/b", "..", "a b", "https://github.com/a"] {
            assert!(parse_org(bad).is_err(), "{bad}");
        }
    }
}
