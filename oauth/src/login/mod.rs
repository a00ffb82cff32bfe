//! Sign-in: the identity providers, the access policy, and the users.

pub mod allow_list;
pub mod github;
pub(crate) mod outcome;
pub mod policy;
pub mod sign_in;
pub(crate) mod sign_in_with;
pub(crate) mod upstream_token;
pub mod users;
