//! Detects misspelled variables: unknown names that resemble the name of a variable.

use strsim::damerau_levenshtein;

use super::variables::{
    ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, ALLOWED_ORIGINS, HTTP_PROXY, HTTPS_PROXY, LOG,
    NO_PROXY, OIDC_ALLOWED_DOMAINS, OIDC_ALLOWED_GROUPS, OIDC_ALLOWED_USERS, OIDC_ISSUER,
    OIDC_PREFIX, OIDC_VARIABLES, VARIABLES, Variable, oidc_setting, oidc_variable,
};

/// Names that other programs use for one of the variables.
const OTHER_NAMES: &[(&str, Variable)] =
    &[("RUST_LOG", LOG), ("LOG_LEVEL", LOG), ("LOGLEVEL", LOG), ("LOGGING", LOG)];

/// Variables that limit access. A misspelled one must not silently leave the server open to
/// everyone.
const LIMIT_ACCESS: [Variable; 6] = [
    ALLOWED_GITHUB_LOGINS,
    ALLOWED_GITHUB_ORG,
    ALLOWED_ORIGINS,
    OIDC_ALLOWED_DOMAINS,
    OIDC_ALLOWED_GROUPS,
    OIDC_ALLOWED_USERS,
];

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
    let names: Vec<String> = names.collect();
    let providers: Vec<String> = names.iter().filter_map(|name| configured_oidc(name)).collect();
    let mut found: Vec<_> =
        names.into_iter().filter_map(|name| check(&known, &providers, name)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Returns the name of the OpenID Connect provider whose issuer a variable is.
fn configured_oidc(name: &str) -> Option<String> {
    let (provider, variable) = oidc_variable(name)?;
    (variable.name == OIDC_ISSUER.name).then(|| provider.to_owned())
}

/// `providers` are the names of the configured OpenID Connect providers.
fn check(known: &[Variable], providers: &[String], name: String) -> Option<Misspelled> {
    let upper = name.to_ascii_uppercase();
    let proxies = [HTTPS_PROXY, HTTP_PROXY, NO_PROXY];
    // The names of the proxy variables are also read in lower case.
    if known.iter().any(|variable| variable.name == name)
        || proxies.iter().any(|variable| variable.name == upper)
        || oidc_variable(&name).is_some()
    {
        return None;
    }
    if let Some(setting) = upper.strip_prefix(OIDC_PREFIX) {
        let meant = oidc_setting_meant(providers, setting)?;
        let limits_access = limits_access(meant);
        return Some(Misspelled { name, meant: meant.name, limits_access });
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == upper).map(|(_, meant)| *meant);
    let meant = other.or_else(|| limiter(&upper)).or_else(|| nearest(known, &upper))?;
    let limits_access = limits_access(meant);
    Some(Misspelled { name, meant: meant.name, limits_access })
}

fn limits_access(variable: Variable) -> bool {
    LIMIT_ACCESS.iter().any(|limit| limit.name == variable.name)
}

/// Returns the variable of an OpenID Connect provider that was meant by `<NAME>_…`, or by a setting
/// without a name. Other programs have variables with this prefix, too, so unless the provider is
/// configured, only a similar name counts.
fn oidc_setting_meant(providers: &[String], text: &str) -> Option<Variable> {
    let nearest = |text: &str, variables: &[Variable]| {
        variables
            .iter()
            .map(|variable| (damerau_levenshtein(text, oidc_setting(*variable)), *variable))
            .min_by_key(|(typos, _)| *typos)
    };
    let of_provider =
        text.split_once('_').filter(|(name, _)| providers.iter().any(|it| it == name));
    if let Some((_, setting)) = of_provider {
        let limits = [OIDC_ALLOWED_DOMAINS, OIDC_ALLOWED_GROUPS, OIDC_ALLOWED_USERS];
        let limits_access = setting.contains("ALLOW");
        let variables = if limits_access { &limits[..] } else { &OIDC_VARIABLES };
        return nearest(setting, variables).map(|(_, variable)| variable);
    }
    let setting = text.split_once('_').map_or(text, |(_, setting)| setting);
    [text, setting]
        .into_iter()
        .filter(|text| text.len() >= MIN_LENGTH)
        .filter_map(|text| nearest(text, &OIDC_VARIABLES))
        .find(|(typos, _)| *typos <= MAX_TYPOS)
        .map(|(_, variable)| variable)
}

/// Returns the variable whose name differs by the fewest letters, if these are at most
/// [`MAX_TYPOS`].
fn nearest(known: &[Variable], name: &str) -> Option<Variable> {
    known
        .iter()
        .filter(|variable| {
            variable.name.len() >= MIN_LENGTH
                && !variable.name.ends_with("_PROXY")
                && !variable.name.starts_with(OIDC_PREFIX)
        })
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
    fn names_of_openid_connect_providers_are_checked() {
        let issuer = "OIDC_ACME_ISSUER";
        for (name, expected, limits_access) in [
            ("OIDC_ACME_ALLOWED_DOMAIN", "OIDC_<NAME>_ALLOWED_DOMAINS", true),
            ("OIDC_ACME_ALLOW_GROUPS", "OIDC_<NAME>_ALLOWED_GROUPS", true),
            ("OIDC_ACME_ALLOWED_EMAILS", "OIDC_<NAME>_ALLOWED_DOMAINS", true),
            ("OIDC_ACME_SCOPE", "OIDC_<NAME>_SCOPES", false),
            ("OIDC_ACME_CLIENT_KEY", "OIDC_<NAME>_CLIENT_ID", false),
            ("OIDC_OTHER_ALOWED_DOMAINS", "OIDC_<NAME>_ALLOWED_DOMAINS", true),
            ("OIDC_ALLOWED_DOMAINS", "OIDC_<NAME>_ALLOWED_DOMAINS", true),
            ("OIDC_CLIENT_SECRET", "OIDC_<NAME>_CLIENT_SECRET", false),
        ] {
            let names = [issuer, name].map(str::to_owned).into_iter();
            let found: Vec<_> = misspelled(&[], names)
                .iter()
                .map(|variable| (variable.meant, variable.limits_access))
                .collect();
            assert_eq!(found, [(expected, limits_access)], "{name}");
        }
        for name in ["OIDC_PORT", "OIDC_SERVICE_HOST", "OIDC_PORT_80_TCP", "OIDC_ACME_LABEL"] {
            assert_eq!(meant(name), None, "{name}");
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
