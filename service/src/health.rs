//! Whether the program can do its work, cheaply enough to be asked every second by several probes.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use crate::{Service, config::RedisSettings, db};

/// What a probe learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The database answers.
    pub database: bool,
}

/// The longest that a check takes. Probes give up after about two seconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer holds, so that probes do not become load when the database is slow.
const KEPT: Duration = Duration::from_secs(2);

/// The last answer. Probes that come at the same time share one check.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Option<(Instant, Health)>>);

/// Checks what the program needs, in at most a second; the answer may be two seconds old.
pub async fn check(service: &Service) -> Health {
    let mut kept = service.health_cache().0.lock().await;
    if let Some((at, health)) = *kept
        && at.elapsed() < KEPT
    {
        return health;
    }
    let database = match tokio::time::timeout(CHECK_TIMEOUT, db::ping(service.db())).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(error = ?error, "The database does not answer: {error}");
            false
        }
        Err(_) => {
            tracing::warn!("The database does not answer within {CHECK_TIMEOUT:?}");
            false
        }
    };
    let health = Health { database };
    *kept = Some((Instant::now(), health));
    health
}

/// Asks Redis whether it is there.
pub async fn ask_redis(settings: &RedisSettings) -> anyhow::Result<()> {
    let client = redis::Client::open(settings.url.expose())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
    Ok(())
}
