//! How the engine is set up.

use std::{iter, sync::Arc};

use mcp::{SealKey, Settings, job::JobSettings};

use crate::{App, rate_limits::PerPerson};

/// How the engine is set up: the service's clock, a key that every instance derives alike, and how
/// much a person may ask.
pub fn mcp_settings(app: &App) -> Settings {
    let clock = Arc::clone(app.clock());
    let config = app.config();
    let secrets = iter::once(&config.jwt_signing_secret).chain(&config.previous_signing_secrets);
    Settings {
        // The first one seals, all of them open: a question outlives a change of the secret.
        seal_keys: secrets.map(|it| SealKey::new(it.derive("mcp request state v1"))).collect(),
        now: Arc::new(move || clock.now().timestamp()),
        page_size: Settings::PAGE_SIZE,
        jobs: Some(JobSettings {
            store: jobs::store(app.jobs()),
            result_tool: Some(jobs::tools::RESULT_TOOL),
        }),
        access: Some(Arc::new(app.oauth().revoked().clone())),
        rate_limiter: Some(Arc::new(PerPerson::configured(app))),
    }
}
