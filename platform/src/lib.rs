//! What every service needs, independent of OAuth, jobs and the product.
//!
//! | to … | look at |
//! |---|---|
//! | send a statement to the database | [`db`] |
//! | accept HTTP connections within limits | [`http_listener`] |
//! | fetch a URL that a client chose | [`fetch`] |
//! | send a request to a configured service | [`outgoing`], [`proxies`] |
//! | keep or seal a secret | [`secret`], [`sealing`] |
//! | log, trace or measure | [`telemetry`], [`metrics`] |
//! | signal to other processes what a commit changed | [`signals`] |
//! | stop the process in time | [`ending`] |
//!
//! The time comes from a [`clock::Clock`]. No module has global state except the subscriber of
//! `tracing` and the recorder of metrics, of which a process has one.

pub mod causes;
mod client_network;
pub mod clock;
pub mod counted;
pub mod db;
pub mod descriptors;
pub mod ending;
pub mod fetch;
pub mod http_listener;
mod memory;
pub mod metrics;
pub mod non_public_ip;
pub mod outgoing;
pub mod private_files;
pub mod proxies;
pub mod public_url;
pub mod quoted;
pub mod sealing;
pub mod secret;
pub mod signals;
pub mod telemetry;
pub mod terminal;

pub use self::{
    client_network::client_network,
    counted::{counted, one_of},
    quoted::{is_invisible, plain, quoted},
};
