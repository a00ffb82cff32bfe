//! Scopes of access tokens.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Read notes.
pub const NOTES_READ: &str = "notes:read";

/// Create, change and delete notes.
pub const NOTES_WRITE: &str = "notes:write";

/// All scopes, in the order in which the consent page shows them.
pub const ALL: &[&str] = &[NOTES_READ, NOTES_WRITE];

/// A set of known scopes. Serialized and stored in the order of [`ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scopes(BTreeSet<&'static str>);

/// A `scope` parameter violates the grammar of RFC 6749, section 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope must be names separated by single spaces")]
pub struct MalformedScope;

/// Describes what a scope allows, for the user who grants it. `None`: unknown scope.
pub fn describe(scope: &str) -> Option<&'static str> {
    match scope {
        NOTES_READ => Some("Read your notes"),
        NOTES_WRITE => Some("Create, change and delete your notes"),
        _ => None,
    }
}

impl Scopes {
    /// Returns all scopes.
    pub fn all() -> Self {
        ALL.iter().copied().collect()
    }

    /// Returns the default scope of a request without any known scope: read access.
    pub fn default_request() -> Self {
        [NOTES_READ].into_iter().collect()
    }

    /// Parses a `scope` parameter. Unknown names are ignored (RFC 6749, section 3.3): clients ask
    /// every server for `openid`, `offline_access` or scopes that another server once offered.
    /// Empty if the text contains no known scope.
    ///
    /// The length of the text is bounded by the request that contains it; the work is linear in it.
    pub fn parse(text: &str) -> Result<Self, MalformedScope> {
        if names(text).all(|name| name.bytes().all(is_scope_byte)) {
            Ok(Self::known(text))
        } else {
            Err(MalformedScope)
        }
    }

    /// Parses the known scopes in a text leniently: for values that another version stored, and for
    /// client metadata.
    pub fn known(text: &str) -> Self {
        names(text).filter_map(known).collect()
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
    pub fn is_subset(&self, of: &Self) -> bool {
        self.0.is_subset(&of.0)
    }

    /// Returns the scopes in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Returns the scopes in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// Returns the scopes in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// Returns the scopes in the order of [`ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + '_ {
        ALL.iter().copied().filter(|it| self.0.contains(it))
    }

    /// Returns the scopes as a set of strings, for the claims of an access token.
    pub fn to_set(&self) -> BTreeSet<String> {
        self.iter().map(str::to_owned).collect()
    }
}

impl FromIterator<&'static str> for Scopes {
    /// Collects known scopes; unknown ones are ignored.
    fn from_iter<T: IntoIterator<Item = &'static str>>(scopes: T) -> Self {
        Self(scopes.into_iter().filter_map(known).collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for scope in self.iter() {
            write!(f, "{gap}{scope}")?;
            gap = " ";
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
        String::deserialize(deserializer).map(|it| Self::known(&it))
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|it| !it.is_empty())
}

fn known(name: &str) -> Option<&'static str> {
    ALL.iter().copied().find(|it| *it == name)
}

/// Returns whether a byte may occur in a scope (RFC 6749): `%x21 / %x23-5B / %x5D-7E`.
fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};

    use super::*;

    #[test]
    fn every_scope_can_be_explained() {
        assert!(ALL.iter().all(|it| describe(it).is_some()));
    }

    #[test]
    fn a_request_gets_what_is_known_of_what_it_names() {
        let both = Scopes::all();
        for (text, expected) in [
            ("", Ok(Scopes::default())),
            ("   ", Ok(Scopes::default())),
            ("notes:read", Ok(Scopes::default_request())),
            (" notes:write  notes:read ", Ok(both.clone())),
            ("notes:read notes:read", Ok(Scopes::default_request())),
            ("offline_access", Ok(Scopes::default())),
            ("notes:read notes:write offline_access", Ok(both)),
            ("notes:admin", Ok(Scopes::default())),
            ("Notes:Read", Ok(Scopes::default())),
            ("notes:read,notes:write", Ok(Scopes::default())),
            ("openid profile email", Ok(Scopes::default())),
            ("notes:read openid", Ok(Scopes::default_request())),
            ("https://api.example.com/.default notes:read", Ok(Scopes::default_request())),
            ("notes:read\"", Err(MalformedScope)),
            ("notes\\read", Err(MalformedScope)),
            ("notes:read\tnotes:write", Err(MalformedScope)),
            ("notes:read\0", Err(MalformedScope)),
            ("nötes:read", Err(MalformedScope)),
        ] {
            assert_eq!(Scopes::parse(text), expected, "{text:?}");
        }
        let many = "unknown ".repeat(200);
        assert_eq!(Scopes::parse(&format!("{many}notes:read")), Ok(Scopes::default_request()));
    }

    #[test]
    fn what_is_stored_may_name_what_no_longer_exists() {
        assert_eq!(Scopes::known("notes:read notes:share openid"), Scopes::default_request());
        assert_eq!(Scopes::known("openid"), Scopes::default());
    }

    fn scopes() -> impl Strategy<Value = Scopes> {
        subsequence(ALL, 0..=ALL.len()).prop_map(|it| it.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(scopes in scopes()) {
            prop_assert_eq!(Scopes::parse(&scopes.to_string()), Ok(scopes.clone()));
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
            if let Ok(scopes) = Scopes::parse(&text) {
                prop_assert!(scopes.iter().all(|it| text.contains(it)));
            }
        }
    }
}
