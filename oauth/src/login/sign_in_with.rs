//! The sign-in method of this server.

use crate::server::Server;

/// How users sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInWith {
    /// With GitHub.
    GitHub,
    /// With a name that is not verified: only on a private machine, for development.
    Development,
    /// Sign-in is impossible: GitHub is not configured, and the server is reachable from other
    /// machines.
    Nothing,
}

/// Returns how users sign in.
pub fn with(server: &Server) -> SignInWith {
    let alone = server.settings().is_private;
    match server.github() {
        Some(_) => SignInWith::GitHub,
        None if alone => SignInWith::Development,
        None => SignInWith::Nothing,
    }
}
