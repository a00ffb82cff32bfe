//! What claims say about a user: names, the e-mail address, and groups.

use platform::plain;
use serde_json::{Map, Value};

use super::known::Known;
use crate::login::{attributes::Attributes, policy::AccessPolicy};

/// The maximum length of a name or an e-mail address, in characters.
const MAX_CHARS: usize = 254;

/// The maximum number of groups of a user.
const MAX_GROUPS: usize = 10_000;

type Claims = Map<String, Value>;

/// The claims about a user: those of the ID token, and those of the userinfo endpoint, if it was asked.
#[derive(Clone, Copy)]
pub(super) struct UserClaims<'a> {
    pub(super) id_token: &'a Claims,
    pub(super) userinfo: Option<&'a Claims>,
}

/// An e-mail address.
struct Email {
    address: String,
    /// Whether the provider has verified it. `None`: it does not say.
    verified: Option<bool>,
}

/// Returns whether the ID token has no name for the user, which is displayed from the sign-in on.
pub(super) fn lacks_names(id_token: &Claims, known: Known) -> bool {
    email(id_token, known).is_none() && username(id_token).is_none()
}

/// Returns the names of the claims that the access policy needs, and that an ID token or an identity
/// assertion does not contain.
pub(super) fn missing_for_policy(
    claims: &Claims,
    policy: &AccessPolicy,
    known: Known,
) -> Vec<String> {
    let mut missing = Vec::new();
    let needs_email = !policy.domains.is_empty() || policy.listed_logins().next().is_some();
    match email(claims, known) {
        _ if !needs_email => {}
        None => missing.push("email".to_owned()),
        Some(Email { verified: None, .. }) => missing.push("email_verified".to_owned()),
        Some(Email { verified: Some(_), .. }) => {}
    }
    if known == Known::Google && !policy.domains.is_empty() && !claims.contains_key("hd") {
        missing.push("hd".to_owned());
    }
    if !policy.groups.is_empty() && find(claims, &policy.groups_claim).is_none() {
        missing.push(policy.groups_claim.clone());
    }
    missing
}

impl UserClaims<'_> {
    /// Returns the verified e-mail address in lower case.
    pub(super) fn verified_email(self, known: Known) -> Option<String> {
        let email = self.email(known)?;
        (email.verified == Some(true)).then_some(email.address)
    }

    /// Returns the login name to display, if there is one.
    pub(super) fn login(self, known: Known) -> Option<String> {
        let unverified = || self.email(known).map(|email| email.address);
        self.verified_email(known).or_else(|| self.first(username)).or_else(unverified)
    }

    /// Returns the display name.
    pub(super) fn name(self) -> Option<String> {
        self.first(|claims| text(claims, "name"))
    }

    /// Returns the attributes for the access policy. `groups_claim` is the claim with the groups.
    pub(super) fn attributes(self, groups_claim: &str, known: Known) -> Attributes {
        let email = self.verified_email(known);
        let domain = match known {
            Known::Google => self.first(|claims| claims.get("hd")?.as_str()).map(str::to_owned),
            Known::Microsoft | Known::Other => email
                .as_deref()
                .and_then(|email| email.rsplit_once('@'))
                .map(|(_, domain)| domain.to_owned()),
        };
        Attributes {
            has_verified_email: email.is_some(),
            domain: domain.map(|domain| domain.to_ascii_lowercase()),
            groups: self.first(|claims| find(claims, groups_claim)).map_or_else(Vec::new, texts),
        }
    }

    /// Returns the e-mail address, from the ID token unless only userinfo says whether it is verified.
    fn email(self, known: Known) -> Option<Email> {
        let found = email(self.id_token, known);
        let says_more = |more: &Email| {
            found.as_ref().is_none_or(|it| it.verified.is_none() && more.verified.is_some())
        };
        match self.userinfo.and_then(|claims| email(claims, known)) {
            Some(more) if says_more(&more) => Some(more),
            _ => found,
        }
    }

    fn first<'a, T>(&'a self, get: impl Fn(&'a Claims) -> Option<T>) -> Option<T> {
        get(self.id_token).or_else(|| self.userinfo.and_then(get))
    }
}

/// Returns whether a provider has left out groups because a user has too many. Microsoft then names
/// the source from which they could be queried instead.
pub(super) fn has_too_many_groups(claims: &Claims, groups_claim: &str) -> bool {
    let names = claims.get("_claim_names").and_then(Value::as_object);
    names.is_some_and(|names| names.contains_key(groups_claim)) || claims.contains_key("hasgroups")
}

fn email(claims: &Claims, known: Known) -> Option<Email> {
    // Compared with rules, so it is not changed except for the case of ASCII letters: other letters
    // can become ASCII in lower case.
    let address = claims.get("email")?.as_str()?.to_ascii_lowercase();
    let is_plausible = plain(&address) == address
        && address.chars().count() <= MAX_CHARS
        && address.rsplit_once('@').is_some_and(|(user, domain)| {
            !user.is_empty() && !domain.is_empty() && !address.contains(' ')
        });
    let mut verified = claims.get("email_verified").map(is_true);
    if known == Known::Microsoft {
        verified = verified.or_else(|| claims.get("xms_edov").map(is_true));
    }
    is_plausible.then_some(Email { address, verified })
}

fn username(claims: &Claims) -> Option<String> {
    text(claims, "preferred_username").or_else(|| text(claims, "nickname"))
}

/// Returns the displayed text of a claim, without characters that must not be shown.
fn text(claims: &Claims, claim: &str) -> Option<String> {
    let text: String = plain(claims.get(claim)?.as_str()?).chars().take(MAX_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

/// Returns whether a truth value is true. Some providers send it as a text or a number.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "true" || text == "1",
        Value::Number(number) => number.as_u64() == Some(1),
        _ => false,
    }
}

/// Finds a claim by its name, or by a path of names with dots between them, such as
/// `realm_access.roles`.
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        let within = claims.get(first)?;
        rest.split('.').try_fold(within, |value, name| value.get(name))
    })
}

/// Returns the groups that a claim contains: an array of texts, or one text.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => {
            let texts = all.iter().filter_map(|text| text.as_str().map(str::to_owned));
            texts.take(MAX_GROUPS).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "each test writes the claims in the call")]
    fn attributes(
        known: Known,
        id_token: Value,
        userinfo: Option<Value>,
        groups: &str,
    ) -> Attributes {
        let claims = UserClaims {
            id_token: id_token.as_object().unwrap(),
            userinfo: userinfo.as_ref().map(|it| it.as_object().unwrap()),
        };
        claims.attributes(groups, known)
    }

    #[test]
    fn only_a_verified_address_has_a_domain() {
        use Known::{Microsoft, Other};
        let address = "Ada@Example.COM";
        for (known, id_token, userinfo, domain) in [
            (Other, json!({"email": address, "email_verified": true}), None, Some("example.com")),
            (Other, json!({"email": address, "email_verified": "true"}), None, Some("example.com")),
            (Other, json!({"email": address, "email_verified": false}), None, None),
            (Other, json!({"email": address, "email_verified": "yes"}), None, None),
            (Other, json!({"email": address}), None, None),
            (Other, json!({"email_verified": true}), None, None),
            (Other, json!({"email": "example.com", "email_verified": true}), None, None),
            (
                Other,
                json!({"email": "a@b@example.com", "email_verified": true}),
                None,
                Some("example.com"),
            ),
            (
                Other,
                json!({"email": "ada@exam\u{200b}ple.com", "email_verified": true}),
                None,
                None,
            ),
            (Other, json!({"email": "ada @example.com", "email_verified": true}), None, None),
            (
                Other,
                json!({"email": "ada@ban\u{212a}.example", "email_verified": true}),
                None,
                Some("ban\u{212a}.example"),
            ),
            (Other, json!({"email": ["ada@example.com"], "email_verified": true}), None, None),
            (Other, json!({"preferred_username": address, "email_verified": true}), None, None),
            // From userinfo, together.
            (
                Other,
                json!({}),
                Some(json!({"email": address, "email_verified": true})),
                Some("example.com"),
            ),
            (Other, json!({"email": address}), Some(json!({"email_verified": true})), None),
            (
                Other,
                json!({"email": "ada@other.example"}),
                Some(json!({"email": address, "email_verified": true})),
                Some("example.com"),
            ),
            (
                Other,
                json!({"email": "ada@other.example", "email_verified": false}),
                Some(json!({"email": address, "email_verified": true})),
                None,
            ),
            // Microsoft has a claim of its own, which counts only there.
            (Microsoft, json!({"email": address, "xms_edov": true}), None, Some("example.com")),
            (Microsoft, json!({"email": address, "xms_edov": "1"}), None, Some("example.com")),
            (Microsoft, json!({"email": address, "xms_edov": 0}), None, None),
            (Microsoft, json!({"email": address}), None, None),
            (Other, json!({"email": address, "xms_edov": true}), None, None),
        ] {
            let found = attributes(known, id_token.clone(), userinfo.clone(), "groups");
            assert_eq!(found.domain.as_deref(), domain, "{id_token} {userinfo:?}");
        }
    }

    #[test]
    fn the_domain_at_google_is_that_of_the_organization() {
        let private = json!({"email": "ada@example.com", "email_verified": true});
        let found = attributes(Known::Google, private, None, "groups");
        assert_eq!((found.has_verified_email, found.domain), (true, None));
        let member =
            json!({"email": "ada@sub.example", "email_verified": true, "hd": "Example.com"});
        let found = attributes(Known::Google, member, None, "groups");
        assert_eq!(found.domain.as_deref(), Some("example.com"));
    }

    #[test]
    fn groups_are_found_by_name_or_path() {
        for (claim, claims, groups) in [
            ("groups", json!({"groups": ["a", "b", 7]}), vec!["a", "b"]),
            ("groups", json!({"groups": "a"}), vec!["a"]),
            ("realm_access.roles", json!({"realm_access": {"roles": ["a"]}}), vec!["a"]),
            (
                "resource_access.notes.roles",
                json!({"resource_access": {"notes": {"roles": ["a"]}}}),
                vec!["a"],
            ),
            ("https://a.example/roles", json!({"https://a.example/roles": ["a"]}), vec!["a"]),
            ("groups", json!({"groups": {"a": true}}), vec![]),
            ("groups", json!({}), vec![]),
            ("a.b", json!({"a": ["b"]}), vec![]),
        ] {
            assert_eq!(attributes(Known::Other, claims, None, claim).groups, groups, "{claim}");
        }
        let userinfo = Some(json!({"groups": ["a"]}));
        assert_eq!(attributes(Known::Other, json!({}), userinfo, "groups").groups, ["a"]);
    }

    #[test]
    fn a_name_is_displayed_without_invisible_characters() {
        let login = |claims: Value| {
            let claims = UserClaims { id_token: claims.as_object().unwrap(), userinfo: None };
            claims.login(Known::Other)
        };
        let both = |verified| json!({"email": "Ada@example.com", "email_verified": verified, "preferred_username": "ada"});
        assert_eq!(login(both(true)).as_deref(), Some("ada@example.com"));
        assert_eq!(login(both(false)).as_deref(), Some("ada"));
        assert_eq!(login(json!({"email": "a@b.c"})).as_deref(), Some("a@b.c"));
        assert_eq!(login(json!({"preferred_username": "a\u{202e}da"})).as_deref(), Some("ada"));
        assert_eq!(login(json!({"preferred_username": ""})), None);
    }

    #[test]
    fn microsoft_says_when_it_leaves_out_groups() {
        let claims = json!({"_claim_names": {"groups": "src1"}});
        assert!(has_too_many_groups(claims.as_object().unwrap(), "groups"));
        assert!(!has_too_many_groups(claims.as_object().unwrap(), "roles"));
    }
}
