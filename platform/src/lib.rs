//! What every service needs, whatever it serves: this crate knows neither OAuth nor jobs nor a product.
//!
//! | to … | look at |
//! |---|---|
//! | send a statement to the database | [`db`] |
//! | fetch a URL that somebody else chose | [`fetch`] |
//! | send a request to a configured service | [`outgoing`], [`proxies`] |
//! | keep or seal a secret | [`secret`], [`sealing`] |
//! | log, trace or count | [`telemetry`], [`metrics`] |
//! | tell other processes what a commit changed | [`signals`] |
//! | stop the process in time | [`ending`] |
//!
//! Time comes from a [`clock::Clock`], and no module keeps a global except the subscriber of `tracing`
//! and the recorder of metrics, of which a process has one.

pub mod causes;
pub mod clock;
pub mod counted;
pub mod db;
pub mod descriptors;
pub mod ending;
pub mod fetch;
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

pub use self::{
    counted::counted,
    quoted::{is_invisible, plain, quoted},
};
