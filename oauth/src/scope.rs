//! Scopes of access tokens: what a product offers ([`Scope`], [`ScopeList`]), and sets of scopes
//! ([`Scopes`]).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A scope that a product offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The name, such as `notes:read`. Must match the grammar of RFC 6749, section 3.3.
    pub name: &'static str,
    /// What it allows, in the words of the consent page, such as “Read your notes”.
    pub words: &'static str,
    /// Whether it allows changes, which the consent page marks.
    pub writes: bool,
    /// Whether challenges and metadata name it, so that clients ask for it when they connect. Other
    /// scopes are asked for by the first tool that needs them (`insufficient_scope`).
    pub is_default: bool,
}

impl Scope {
    /// Creates a scope that allows no changes.
    pub const fn reads(name: &'static str, words: &'static str) -> Self {
        Self { name, words, writes: false, is_default: true }
    }

    /// Creates a scope that allows changes.
    pub const fn writes(name: &'static str, words: &'static str) -> Self {
        Self { name, words, writes: true, is_default: true }
    }

    /// Makes it a scope that clients ask for only when a tool needs it.
    #[must_use]
    pub const fn only_when_needed(self) -> Self {
        Self { is_default: false, ..self }
    }
}

/// The scopes of a product, in the order in which the consent page shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeList(pub &'static [Scope]);

impl ScopeList {
    /// Returns the scope with this name. `None`: unknown scope.
    pub fn get(self, name: &str) -> Option<&'static Scope> {
        self.0.iter().find(|scope| scope.name == name)
    }

    /// Returns all scopes.
    pub fn all(self) -> Scopes {
        self.collect(|_| true)
    }

    /// Returns the scopes that challenges and metadata name.
    pub fn defaults(self) -> Scopes {
        self.collect(|scope| scope.is_default)
    }

    /// Returns the default scopes that allow no changes: what a request without any known scope
    /// gets.
    pub fn default_request(self) -> Scopes {
        self.collect(|scope| scope.is_default && !scope.writes)
    }

    /// Parses a `scope` parameter. Unknown names are ignored (RFC 6749, section 3.3): clients ask
    /// every server for `openid`, `offline_access` or scopes that another server once offered.
    /// Empty if the text contains no known scope.
    ///
    /// The length of the text is bounded by the request that contains it; the work is linear in it.
    pub fn parse(self, text: &str) -> Result<Scopes, MalformedScope> {
        if names(text).all(|name| name.bytes().all(is_scope_byte)) {
            Ok(self.known(text))
        } else {
            Err(MalformedScope)
        }
    }

    /// Parses the known scopes in a text leniently: for values that another version stored, and for
    /// forms.
    pub fn known(self, text: &str) -> Scopes {
        self.keep(&Scopes::named(text))
    }

    /// Returns the known scopes of a set.
    pub fn keep(self, scopes: &Scopes) -> Scopes {
        Scopes(scopes.0.iter().filter(|name| self.get(name).is_some()).cloned().collect())
    }

    /// Returns the known scopes of a set, in the order of the list.
    pub fn of(self, scopes: &Scopes) -> impl Iterator<Item = &'static Scope> {
        self.0.iter().filter(|scope| scopes.contains(scope.name))
    }

    fn collect(self, filter: impl Fn(&Scope) -> bool) -> Scopes {
        Scopes(
            self.0
                .iter()
                .filter(|scope| filter(scope))
                .map(|scope| scope.name.to_owned())
                .collect(),
        )
    }
}

/// A set of scopes, by their names. Serialized and stored as text, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scopes(BTreeSet<String>);

/// A `scope` parameter violates the grammar of RFC 6749, section 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope must be names separated by spaces")]
pub struct MalformedScope;

impl Scopes {
    /// Parses a text leniently. The names need not be known; see [`ScopeList::keep`].
    pub fn named(text: &str) -> Self {
        Self(names(text).map(str::to_owned).collect())
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the set contains a scope.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Returns whether all scopes of the set are in the other one, too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Returns the scopes in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Returns the scopes in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// Returns the scopes in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Returns the names in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns the scopes as a set of strings, for the claims of an access token.
    pub fn to_set(&self) -> BTreeSet<String> {
        self.0.clone()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for scope in self.iter() {
            write!(f, "{separator}{scope}")?;
            separator = " ";
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::named(&text))
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|it| !it.is_empty())
}

/// Returns whether a byte may occur in a scope (RFC 6749): `%x21 / %x23-5B / %x5D-7E`.
fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

/// Scopes for unit tests.
#[cfg(test)]
pub(crate) const EXAMPLE: ScopeList = ScopeList(&[
    Scope::reads("notes:read", "Read your notes"),
    Scope::writes("notes:write", "Create, change and delete your notes"),
]);

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};

    use super::*;

    #[test]
    fn a_scope_for_special_cases_is_not_a_default() {
        let admin = Scope::writes("notes:admin", "Change all notes at once").only_when_needed();
        let list = [EXAMPLE.0, &[admin]].concat();
        let list = ScopeList(list.leak());
        assert_eq!(list.defaults(), EXAMPLE.all());
        assert_eq!(list.default_request(), Scopes::named("notes:read"));
        assert!(list.known("notes:admin").contains("notes:admin"));
    }

    #[test]
    fn unknown_requested_scopes_are_ignored() {
        let both = EXAMPLE.all();
        for (text, expected) in [
            ("", Ok(Scopes::default())),
            ("   ", Ok(Scopes::default())),
            ("notes:read", Ok(EXAMPLE.default_request())),
            (" notes:write  notes:read ", Ok(both.clone())),
            ("notes:read notes:read", Ok(EXAMPLE.default_request())),
            ("offline_access", Ok(Scopes::default())),
            ("notes:read notes:write offline_access", Ok(both)),
            ("notes:admin", Ok(Scopes::default())),
            ("Notes:Read", Ok(Scopes::default())),
            ("notes:read,notes:write", Ok(Scopes::default())),
            ("openid profile email", Ok(Scopes::default())),
            ("notes:read openid", Ok(EXAMPLE.default_request())),
            ("https://api.example.com/.default notes:read", Ok(EXAMPLE.default_request())),
            ("notes:read\"", Err(MalformedScope)),
            ("notes\\read", Err(MalformedScope)),
            ("notes:read\tnotes:write", Err(MalformedScope)),
            ("notes:read\0", Err(MalformedScope)),
            ("nötes:read", Err(MalformedScope)),
        ] {
            assert_eq!(EXAMPLE.parse(text), expected, "{text:?}");
        }
        let many = "unknown ".repeat(200);
        assert_eq!(EXAMPLE.parse(&format!("{many}notes:read")), Ok(EXAMPLE.default_request()));
    }

    #[test]
    fn unknown_stored_scopes_are_ignored() {
        assert_eq!(EXAMPLE.known("notes:read notes:share openid"), EXAMPLE.default_request());
        assert_eq!(EXAMPLE.known("openid"), Scopes::default());
    }

    fn scopes() -> impl Strategy<Value = Scopes> {
        subsequence(EXAMPLE.0, 0..=EXAMPLE.0.len()).prop_map(|scopes| {
            Scopes(scopes.into_iter().map(|scope| scope.name.to_owned()).collect())
        })
    }

    proptest! {
        #[test]
        fn scopes_round_trip_as_text(scopes in scopes()) {
            prop_assert_eq!(EXAMPLE.parse(&scopes.to_string()), Ok(scopes.clone()));
            let json = serde_json::to_string(&scopes).unwrap();
            prop_assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), scopes);
        }

        #[test]
        fn sets_behave_as_sets(a in scopes(), b in scopes(), c in scopes()) {
            prop_assert_eq!(a.union(&b), b.union(&a));
            prop_assert_eq!(a.intersect(&b), b.intersect(&a));
            prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
            prop_assert_eq!(
                a.intersect(&b.union(&c)),
                a.intersect(&b).union(&a.intersect(&c))
            );
            prop_assert!(a.intersect(&b).is_subset(&a) && a.is_subset(&a.union(&b)));
            prop_assert!(a.difference(&b).intersect(&b).is_empty());
            prop_assert_eq!(a.difference(&b).union(&a.intersect(&b)), a.clone());
            prop_assert_eq!(a.is_subset(&b), a.union(&b) == b);
            prop_assert_eq!(a.is_subset(&b) && b.is_subset(&a), a == b);
        }

        #[test]
        fn no_text_grants_more_than_it_names(text in "\\PC{0,80}") {
            if let Ok(scopes) = EXAMPLE.parse(&text) {
                prop_assert!(scopes.iter().all(|it| text.contains(it)));
            }
        }
    }
}
