//! The settings of the MCP engine.

use std::{iter, sync::Arc};

use mcp::{SealKey, Settings, job::JobSettings};

use crate::{App, rate_limits::UserRateLimiter};

/// Returns the settings of the engine: the clock, the keys that all instances derive from the same
/// secret, the queue of jobs, and the rate limits.
pub fn mcp_settings(app: &App) -> Settings {
    let clock = Arc::clone(app.clock());
    let config = app.config();
    let secrets = iter::once(&config.jwt_signing_secret).chain(&config.previous_signing_secrets);
    Settings {
        // The first key encrypts, and all decrypt, so that pending questions survive a change of the secret.
        seal_keys: secrets
            .map(|secret| SealKey::new(secret.derive("mcp request state v1")))
            .collect(),
        now: Arc::new(move || clock.now().timestamp()),
        page_size: Settings::PAGE_SIZE,
        jobs: Some(JobSettings {
            store: jobs::store(app.jobs()),
            result_tool: Some(jobs::tools::RESULT_TOOL),
        }),
        access: Some(Arc::new(app.oauth().revoked().clone())),
        rate_limiter: Some(Arc::new(UserRateLimiter::configured(app))),
    }
}
