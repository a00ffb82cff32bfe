//! The settings of OpenID Connect providers: the variables `OIDC_<NAME>_…`, once for each provider.

use std::collections::{BTreeMap, BTreeSet};

use oauth::login::{
    github::EVERYONE,
    oidc::{OidcSettings, ProviderName},
    policy::{AccessPolicy, Allowed},
};
use platform::{plain, secret::Secret};

use super::{
    parse::{base_url, entries, switch},
    reader::Reader,
    variables::{
        OIDC_ALLOWED_DOMAINS, OIDC_ALLOWED_GROUPS, OIDC_ALLOWED_USERS, OIDC_CLIENT_ID,
        OIDC_CLIENT_SECRET, OIDC_GROUPS_CLAIM, OIDC_ID_JAG, OIDC_ISSUER, OIDC_LABEL, OIDC_PREFIX,
        OIDC_SCOPES, Variable, oidc_setting, oidc_variable,
    },
};

/// The maximum number of providers: each is a button on pages.
const MAX_PROVIDERS: usize = 10;

/// The maximum length of a label, in characters.
const MAX_LABEL: usize = 30;

/// The maximum number of entries of a list.
const MAX_ENTRIES: usize = 1_000;

/// The scope that makes a request one of OpenID Connect.
const OPENID: &str = "openid";

/// The prefix of an entry of `OIDC_<NAME>_ALLOWED_USERS` that is a subject.
const BY_SUBJECT: &str = "id:";

/// Reads the settings of all providers, sorted by name.
pub(super) fn providers(reader: &mut Reader<'_>) -> Vec<OidcSettings> {
    let mut names = BTreeMap::new();
    for variable in reader.names() {
        let Some((provider, _)) = oidc_variable(variable) else { continue };
        if reader.text_of(variable).is_some() {
            names.entry(provider.to_owned()).or_insert_with(|| variable.clone());
        }
    }
    if names.len() > MAX_PROVIDERS {
        let problem = format!("{OIDC_PREFIX}…: at most {MAX_PROVIDERS} providers are possible");
        reader.problems.push(problem);
    }
    let mut providers = Vec::new();
    for (name, variable) in names {
        match ProviderName::parse(&name) {
            Ok(parsed) => providers.extend(ProviderReader { reader, name: &name }.read(parsed)),
            Err(problem) => reader.problems.push(format!("{variable}: {name} {problem}")),
        }
    }
    check_assertion_issuers(reader, &providers);
    providers
}

/// An issuer whose identity assertions are accepted must be that of one provider: an assertion names
/// only the issuer, and the provider is part of the identity of the user.
fn check_assertion_issuers(reader: &mut Reader<'_>, providers: &[OidcSettings]) {
    let mut issuers = BTreeSet::new();
    for provider in providers.iter().filter(|provider| provider.id_jag) {
        if !issuers.insert(&provider.issuer) {
            let name = provider.name.as_str().to_ascii_uppercase();
            let setting = oidc_setting(OIDC_ID_JAG);
            reader.problems.push(format!(
                "{OIDC_PREFIX}{name}_{setting}: another provider with the same issuer has it, too; set \
                 it for one of them"
            ));
        }
    }
}

/// Reads the settings of one provider.
struct ProviderReader<'r, 'v> {
    reader: &'r mut Reader<'v>,
    /// The name of the provider in the names of its variables.
    name: &'r str,
}

impl ProviderReader<'_, '_> {
    /// Returns the settings. `None`: a problem was added.
    fn read(&mut self, name: ProviderName) -> Option<OidcSettings> {
        let issuer = self.parse(OIDC_ISSUER, issuer);
        let client_id = self.text(OIDC_CLIENT_ID);
        for (variable, other) in [(OIDC_ISSUER, OIDC_CLIENT_ID), (OIDC_CLIENT_ID, OIDC_ISSUER)] {
            if self.text(variable).is_none() {
                let reason = match self.text(other) {
                    Some(_) => format!("it must be set when {} is", self.variable(other)),
                    None => format!("it must be set for the provider {}", self.name),
                };
                let missing = self.variable(variable);
                self.reader.problems.push(format!("{missing} is missing: {reason}"));
            }
        }
        let scopes = self.parse(OIDC_SCOPES, scopes).unwrap_or_else(default_scopes);
        let allowed_groups = self.list(OIDC_ALLOWED_GROUPS, |group| Ok(group.to_owned()));
        let groups_claim = self.text(OIDC_GROUPS_CLAIM);
        if groups_claim.is_some() && allowed_groups.is_empty() {
            let [claim, groups] = [OIDC_GROUPS_CLAIM, OIDC_ALLOWED_GROUPS];
            let (claim, groups) = (self.variable(claim), self.variable(groups));
            self.reader
                .problems
                .push(format!("{groups} is missing: it must be set when {claim} is"));
        }
        let policy = AccessPolicy {
            logins: match self.text(OIDC_ALLOWED_USERS).as_deref() {
                Some(EVERYONE) => Vec::new(),
                _ => self.list(OIDC_ALLOWED_USERS, user),
            },
            org: None,
            domains: self.list(OIDC_ALLOWED_DOMAINS, domain),
            groups: allowed_groups,
            groups_claim: groups_claim.unwrap_or_else(|| OIDC_GROUPS_CLAIM.default.to_owned()),
        };
        Some(OidcSettings {
            name,
            label: self.parse(OIDC_LABEL, label),
            issuer: issuer?,
            client_id: client_id?,
            client_secret: self.text(OIDC_CLIENT_SECRET).map(Secret::new),
            scopes,
            policy,
            id_jag: self.parse(OIDC_ID_JAG, switch).unwrap_or(false),
        })
    }

    fn variable(&self, variable: Variable) -> String {
        format!("{OIDC_PREFIX}{}_{}", self.name, oidc_setting(variable))
    }

    fn text(&self, variable: Variable) -> Option<String> {
        self.reader.text_of(&self.variable(variable))
    }

    fn parse<T>(
        &mut self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = parse(&self.text(variable)?);
        parsed
            .map_err(|problem| {
                let name = self.variable(variable);
                self.reader.problems.push(format!("{name} {problem}"));
            })
            .ok()
    }

    /// Parses a list that limits who may sign in. A list that is set but empty is a problem: it would
    /// let everyone in.
    fn list<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let name = self.variable(variable);
        if self.reader.is_set_but_empty(&name) {
            let problem = "is set but empty: write the entries, or remove the variable";
            self.reader.problems.push(format!("{name} {problem}"));
        }
        let parsed = self.parse(variable, |text| {
            let all: Vec<T> = entries(text)?.map(parse).collect::<Result<_, _>>()?;
            if all.len() <= MAX_ENTRIES {
                Ok(all)
            } else {
                Err(format!("must have at most {MAX_ENTRIES} entries"))
            }
        });
        parsed.unwrap_or_default()
    }
}

/// Validates an issuer, which is compared byte by byte, so it stays as it is.
fn issuer(text: &str) -> Result<String, String> {
    base_url(text).map(|_without_slash| text.to_owned())
}

fn default_scopes() -> Vec<String> {
    OIDC_SCOPES.default.split(' ').map(str::to_owned).collect()
}

fn scopes(text: &str) -> Result<Vec<String>, String> {
    // RFC 6749, section 3.3.
    let is_valid = |scope: &str| {
        scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    let mut scopes = vec![OPENID.to_owned()];
    for scope in text.split([' ', ',']).filter(|scope| !scope.is_empty()) {
        if !is_valid(scope) {
            return Err(format!("must be scopes separated by spaces; “{scope}” is not one"));
        }
        if !scopes.iter().any(|other| other == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(scopes)
}

fn domain(text: &str) -> Result<String, String> {
    let is_valid = text.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    if is_valid {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "must be domains such as example.com, separated by commas; “{text}” is not one. \
             Subdomains need entries of their own"
        ))
    }
}

/// Parses a user: an e-mail address, or a subject.
fn user(text: &str) -> Result<Allowed, String> {
    if let Some(subject) = text.strip_prefix(BY_SUBJECT).map(str::trim).filter(|it| !it.is_empty())
    {
        return Ok(Allowed::Subject(subject.to_owned()));
    }
    match text.rsplit_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() && !text.contains(' ') => {
            Ok(Allowed::Login(text.to_ascii_lowercase()))
        }
        _ => Err(format!(
            "must be e-mail addresses, or subjects such as id:248289761001, separated by commas; \
             “{text}” is neither"
        )),
    }
}

fn label(text: &str) -> Result<String, String> {
    if plain(text) == text && text.chars().count() <= MAX_LABEL {
        Ok(text.to_owned())
    } else {
        Err(format!("must be a name of at most {MAX_LABEL} characters, without quotation marks"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<OidcSettings>, Vec<String>> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let names: Vec<_> = variables.keys().map(|name| (*name).to_owned()).collect();
        let variable = |name: &str| variables.get(name).map(ToString::to_string);
        let mut reader = Reader::new(&names, &variable);
        let found = providers(&mut reader);
        if reader.problems.is_empty() { Ok(found) } else { Err(reader.problems) }
    }

    const ISSUER: (&str, &str) = ("OIDC_ACME_ISSUER", "https://login.example.com/");
    const CLIENT_ID: (&str, &str) = ("OIDC_ACME_CLIENT_ID", "notes");

    #[test]
    fn two_variables_suffice() {
        let found = read(&[ISSUER, CLIENT_ID]).unwrap();
        let [provider] = &found[..] else { panic!("{found:?}") };
        assert_eq!(provider.name.as_str(), "acme");
        assert_eq!(provider.issuer, "https://login.example.com/", "as the provider writes it");
        assert_eq!((&provider.client_secret, &provider.label), (&None, &None));
        assert_eq!(provider.scopes, ["openid", "email", "profile"]);
        assert_eq!(provider.policy.groups_claim, "groups");
        assert!(!provider.policy.is_set());
    }

    #[test]
    fn every_setting_is_read() {
        let found = read(&[
            ("OIDC_KEYCLOAK_ISSUER", "https://keycloak.corp.example/realms/a"),
            ("OIDC_KEYCLOAK_CLIENT_ID", "notes"),
            ("OIDC_KEYCLOAK_CLIENT_SECRET", "hunter2"),
            ("OIDC_KEYCLOAK_LABEL", "Example Corp."),
            ("OIDC_KEYCLOAK_SCOPES", "email offline_access"),
            ("OIDC_KEYCLOAK_ALLOWED_DOMAINS", "Example.com, example.org"),
            ("OIDC_KEYCLOAK_ALLOWED_USERS", "Ada@example.com, id: 7:x"),
            ("OIDC_KEYCLOAK_GROUPS_CLAIM", "realm_access.roles"),
            ("OIDC_KEYCLOAK_ALLOWED_GROUPS", "Writers, /a/b"),
            ("OIDC_KEYCLOAK_ID_JAG", "true"),
            ISSUER,
            CLIENT_ID,
            ("OIDC_ACME_ALLOWED_USERS", "*"),
        ])
        .unwrap();
        let [acme, keycloak] = &found[..] else { panic!("{found:?}") };
        assert_eq!((acme.name.as_str(), acme.policy.is_set()), ("acme", false));
        assert_eq!(keycloak.client_secret, Some(Secret::new("hunter2")));
        assert_eq!(keycloak.label.as_deref(), Some("Example Corp."));
        assert_eq!(keycloak.scopes, ["openid", "email", "offline_access"]);
        assert_eq!(keycloak.policy.groups_claim, "realm_access.roles");
        assert_eq!((acme.id_jag, keycloak.id_jag), (false, true));
        let policy = AccessPolicy {
            logins: vec![Allowed::Login("ada@example.com".into()), Allowed::Subject("7:x".into())],
            org: None,
            domains: vec!["example.com".into(), "example.org".into()],
            groups: vec!["Writers".into(), "/a/b".into()],
            groups_claim: "realm_access.roles".into(),
        };
        assert_eq!(keycloak.policy, policy);
    }

    #[test]
    fn a_problem_names_its_variable() {
        for (variables, problem) in [
            (&[ISSUER][..], "OIDC_ACME_CLIENT_ID is missing: "),
            (&[CLIENT_ID], "OIDC_ACME_ISSUER is missing: "),
            (&[("OIDC_ACME_ISSUER", "http://login.example.com"), CLIENT_ID], "OIDC_ACME_ISSUER "),
            (&[("OIDC_ACME_ISSUER", "https://a.example/?x=1"), CLIENT_ID], "OIDC_ACME_ISSUER "),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_SCOPES", "a\"b")], "OIDC_ACME_SCOPES "),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_LABEL", "“Acme”")], "OIDC_ACME_LABEL "),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_ID_JAG", "maybe")], "OIDC_ACME_ID_JAG "),
            (
                &[
                    ISSUER,
                    CLIENT_ID,
                    ("OIDC_ACME_ID_JAG", "on"),
                    ("OIDC_B_ISSUER", ISSUER.1),
                    ("OIDC_B_CLIENT_ID", "b"),
                    ("OIDC_B_ID_JAG", "on"),
                ],
                "OIDC_B_ID_JAG: another provider",
            ),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_DOMAINS", "")], "OIDC_ACME_ALLOWED_DOMAINS "),
            (
                &[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_DOMAINS", ",")],
                "OIDC_ACME_ALLOWED_DOMAINS ",
            ),
            (
                &[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_DOMAINS", "@a.example")],
                "OIDC_ACME_ALLOWED_DOMAINS ",
            ),
            (
                &[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_DOMAINS", "*.a.example")],
                "OIDC_ACME_ALLOWED_DOMAINS ",
            ),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_USERS", "ada")], "OIDC_ACME_ALLOWED_USERS "),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_USERS", "id:")], "OIDC_ACME_ALLOWED_USERS "),
            (&[ISSUER, CLIENT_ID, ("OIDC_ACME_ALLOWED_GROUPS", " ")], "OIDC_ACME_ALLOWED_GROUPS "),
            (
                &[ISSUER, CLIENT_ID, ("OIDC_ACME_GROUPS_CLAIM", "roles")],
                "OIDC_ACME_ALLOWED_GROUPS is missing",
            ),
            (
                &[("OIDC_MY_CORP_ISSUER", "https://a.example")],
                "OIDC_MY_CORP_ISSUER: MY_CORP is not",
            ),
            (
                &[("OIDC_GITHUB_ISSUER", "https://a.example")],
                "OIDC_GITHUB_ISSUER: GITHUB is the name",
            ),
        ] {
            let problems = read(variables).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(problem), "{problems:?}");
        }
        let many: Vec<_> = (0..11).map(|it| format!("OIDC_A{it}_ISSUER")).collect();
        let many: Vec<_> = many.iter().map(|name| (&**name, "https://a.example")).collect();
        let problems = read(&many).unwrap_err();
        assert!(problems[0].contains("at most 10 providers"), "{problems:?}");
    }

    #[test]
    fn an_empty_provider_is_no_provider() {
        assert_eq!(
            read(&[("OIDC_ACME_ISSUER", ""), ("OIDC_ACME_ALLOWED_DOMAINS", "")]),
            Ok(vec![])
        );
        assert_eq!(read(&[("OIDC_SERVICE_HOST", "10.0.0.1"), ("OIDC_PORT", "80")]), Ok(vec![]));
    }
}
