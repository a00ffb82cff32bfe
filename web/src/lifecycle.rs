//! One instance from start to shutdown.

use std::time::Duration;

use ::mcp::Engine;
use app::App;
use oauth::{calls, login::allow_list, revoked};
use platform::ending;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{body::budget::Budget, server},
    instance::Instance,
    routes,
};

/// The part of the shutdown timeout, as a divisor, that is reserved for closing connections after
/// the last stream has ended, and for calls that arrived on them at the last moment.
const CLOSING_SHARE: u32 = 4;

/// The part of the shutdown timeout, as a divisor, during which an instance continues to serve
/// after it has become unready, if there are others. The load balancer must notice before the
/// listener closes; otherwise requests that are already on their way would be refused.
const NOTICE_SHARE: u32 = 10;

/// Serves until `shutdown` is cancelled, then ends within the configured `shutdown_timeout`, even if
/// clients do not cooperate: the instance becomes unready, asks clients of streams to reconnect, and
/// lets running calls finish; connections that are still open at the end are dropped.
///
/// Several instances can run in one process, each on its own listener.
pub async fn run(
    listener: TcpListener,
    app: App,
    engine: Engine,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bound = ending::work_limit(app.config().shutdown_timeout);
    let closing = bound / CLOSING_SHARE;
    let is_only_instance = app.config().redis.is_none();
    let notice = if is_only_instance { Duration::ZERO } else { bound / NOTICE_SHARE };
    let instance = Instance {
        app,
        engine: engine.clone(),
        ending: shutdown.clone(),
        bodies: Budget::default(),
    };
    let app = routes::all(&instance)?;
    // Before the first request, so that no revoked token is accepted. If the database is
    // unavailable, the first verification of a token waits for it instead.
    if let Err(error) = allow_list::enforce(instance.app.oauth()).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not revoke the access of users who left the allow list; retrying later"
        );
    }
    if let Err(error) = instance.app.oauth().revoked().load().await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not load the revoked grants; retrying when a token is verified"
        );
    }
    let stop_accepting = CancellationToken::new();

    // Connections are accepted while streams end, so that the platform sees that the instance is
    // not ready.
    let ending = async {
        shutdown.cancelled().await;
        drain(&engine, notice, bound.saturating_sub(closing)).await;
        stop_accepting.cancel();
    };
    let serving = server::serve(listener, app, stop_accepting.clone(), closing / 2);
    let following = revoked::follow(instance.app.oauth(), |_grant| {});
    let counting = calls::write_regularly(instance.app.oauth());
    tokio::select! {
        ((), ()) = async { tokio::join!(serving, ending) } => {
            // Calls of requests that arrived at the last moment may outlive their connection.
            if tokio::time::timeout(closing / 2, engine.drained()).await.is_err() {
                tracing::warn!("Dropped calls that were still running at the end of the shutdown");
            }
        }
        () = following => {}
        () = counting => {}
    }
    Ok(())
}

async fn drain(engine: &Engine, notice: Duration, limit: Duration) {
    tracing::info!("Shutting down: no new streams, waiting for running calls");
    engine.drain();
    let drained = async {
        tokio::time::sleep(notice).await;
        engine.drained().await;
    };
    if tokio::time::timeout(limit, drained).await.is_err() {
        let seconds = limit.as_secs_f32();
        tracing::warn!(seconds, "Calls or streams are still open after {seconds} s");
    }
}
