//! Which way of signing in this server offers.

use crate::server::Server;

/// How people sign in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInWith {
    /// With GitHub.
    GitHub,
    /// By saying a name: on one's own machine only.
    Development,
    /// Not at all: GitHub is not set up, and others can reach the server.
    Nothing,
}

/// How people sign in here.
pub fn with(server: &Server) -> SignInWith {
    let alone = server.settings().is_private;
    match server.github() {
        Some(_) => SignInWith::GitHub,
        None if alone => SignInWith::Development,
        None => SignInWith::Nothing,
    }
}
