//! Detects misspelled variables: unknown names that resemble the name of a variable.

use strsim::damerau_levenshtein;

use super::variables::{
    ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, ALLOWED_ORIGINS, HTTP_PROXY, HTTPS_PROXY, LOG,
    NO_PROXY, VARIABLES, Variable,
};

/// Names that other programs use for one of the variables.
const OTHER_NAMES: &[(&str, Variable)] =
    &[("RUST_LOG", LOG), ("LOG_LEVEL", LOG), ("LOGLEVEL", LOG), ("LOGGING", LOG)];

/// Variables that limit access. A misspelled one must not silently leave the server open to
/// everyone.
const LIMIT_ACCESS: [Variable; 3] = [ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, ALLOWED_ORIGINS];

/// The minimum length of a name to compare. Shorter names resemble too many others, such as `HOME`
/// and `HOST`.
const MIN_LENGTH: usize = 8;

/// The maximum number of letters that may be replaced, swapped, missing or extra.
const MAX_TYPOS: usize = 2;

/// A variable that is set but unknown, and the one that was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misspelled {
    name: String,
    meant: &'static str,
    /// Whether the server must refuse to start.
    pub(super) limits_access: bool,
}

impl Misspelled {
    /// Describes the problem in one line.
    pub(super) fn line(&self) -> String {
        format!("{} is not a known variable: did you mean {}?", self.name, self.meant)
    }
}

/// Finds variables that are set and unknown, but resemble a known one. Sorted by name.
pub(super) fn misspelled(
    product: &[Variable],
    names: impl Iterator<Item = String>,
) -> Vec<Misspelled> {
    let known: Vec<Variable> = VARIABLES.iter().chain(product).copied().collect();
    let mut found: Vec<_> = names.filter_map(|name| check(&known, name)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn check(known: &[Variable], name: String) -> Option<Misspelled> {
    let upper = name.to_ascii_uppercase();
    let proxies = [HTTPS_PROXY, HTTP_PROXY, NO_PROXY];
    // The names of the proxy variables are also read in lower case.
    if known.iter().any(|variable| variable.name == name)
        || proxies.iter().any(|variable| variable.name == upper)
    {
        return None;
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == upper).map(|(_, meant)| *meant);
    let meant = other.or_else(|| limiter(&upper)).or_else(|| nearest(known, &upper))?;
    let limits_access = LIMIT_ACCESS.iter().any(|variable| variable.name == meant.name);
    Some(Misspelled { name, meant: meant.name, limits_access })
}

/// Returns the variable whose name differs by the fewest letters, if these are at most
/// [`MAX_TYPOS`].
fn nearest(known: &[Variable], name: &str) -> Option<Variable> {
    known
        .iter()
        .filter(|variable| variable.name.len() >= MIN_LENGTH && !variable.name.ends_with("_PROXY"))
        .map(|variable| (damerau_levenshtein(name, variable.name), *variable))
        .filter(|(typos, _)| *typos <= MAX_TYPOS)
        .min_by_key(|(typos, _)| *typos)
        .map(|(_, variable)| variable)
}

/// Returns the variable that limits access, if the words of the name indicate that it was meant.
fn limiter(name: &str) -> Option<Variable> {
    let words: Vec<&str> = name.split('_').collect();
    let has = |some: &[&str]| words.iter().any(|word| some.contains(word));
    if !has(&["ALLOW", "ALLOWED", "ALLOWLIST", "WHITELIST"]) {
        return None;
    }
    if has(&["ORIGIN", "ORIGINS"]) {
        Some(ALLOWED_ORIGINS)
    } else if has(&["ORG", "ORGS", "ORGANIZATION", "ORGANISATION", "ORGANIZATIONS"]) {
        Some(ALLOWED_GITHUB_ORG)
    } else if has(&["LOGIN", "LOGINS", "GITHUB", "USER", "USERS", "ACCOUNT", "ACCOUNTS"]) {
        Some(ALLOWED_GITHUB_LOGINS)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(name: &str) -> Option<(&'static str, bool)> {
        let found = misspelled(&[], [name.to_owned()].into_iter());
        found.first().map(|variable| (variable.meant, variable.limits_access))
    }

    #[test]
    fn names_that_resemble_a_variable_are_found() {
        for (name, expected, limits_access) in [
            ("ALLOWED_GITHUB_LOGIN", "ALLOWED_GITHUB_LOGINS", true),
            ("ALOWED_GITHUB_LOGINS", "ALLOWED_GITHUB_LOGINS", true),
            ("allowed_github_logins", "ALLOWED_GITHUB_LOGINS", true),
            ("ALLOWED_LOGINS", "ALLOWED_GITHUB_LOGINS", true),
            ("GITHUB_ALLOWED_USERS", "ALLOWED_GITHUB_LOGINS", true),
            ("ALLOWED_GITHUB_ORGS", "ALLOWED_GITHUB_ORG", true),
            ("ALLOWED_GITHUB_ORGANIZATION", "ALLOWED_GITHUB_ORG", true),
            ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS", true),
            ("DATABASE_URI", "DATABASE_URL", false),
            ("REDIS_URLS", "REDIS_URL", false),
            ("JWT_SINGING_SECRET", "JWT_SIGNING_SECRET", false),
            ("UNLIMITED_NETWORK", "UNLIMITED_NETWORKS", false),
            ("RUST_LOG", "LOG", false),
            ("LOG_LEVEL", "LOG", false),
        ] {
            assert_eq!(meant(name), Some((expected, limits_access)), "{name}");
        }
    }

    #[test]
    fn other_names_are_ignored() {
        for name in [
            "HOME",
            "PATH",
            "LANG",
            "USER",
            "HOSTNAME",
            "POST",
            "PORTS",
            "http_proxy",
            "ALL_PROXY",
            "FTP_PROXY",
            "GITHUB_TOKEN",
            "GITHUB_ACTIONS",
            "GITHUB_SHA",
            "OTEL_SERVICE_NAME",
            "RENDER",
            "RENDER_GIT_BRANCH",
            "CARGO_HOME",
            "DATABASE_HOST",
            "POSTGRES_USER",
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
        for variable in VARIABLES {
            assert_eq!(meant(variable.name), None, "{}", variable.name);
        }
    }
}
