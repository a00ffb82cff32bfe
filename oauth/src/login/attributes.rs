//! The attributes of a user, about which the access policy may have rules.

/// The attributes of a user that the access policy may require, as the provider vouches for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Whether the provider has verified the user's e-mail address.
    pub has_verified_email: bool,
    /// The domain that the user belongs to, in lower case: that of the verified e-mail address, or
    /// of the organization at the provider.
    pub domain: Option<String>,
    /// The groups, or roles, of the user.
    pub groups: Vec<String>,
}
