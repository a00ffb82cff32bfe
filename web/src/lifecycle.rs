//! One instance from its start to its end.

use std::time::Duration;

use ::mcp::Engine;
use service::{
    Service, ending,
    oauth::{allow_list, revoked},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{
        body::budget::Budget,
        server::{self, Limits},
    },
    instance::Instance,
    routes,
};

/// The part of the shutdown bound that is kept for connections to close after the last stream
/// ended, and for calls that came through them at the last moment, as a divisor.
const CLOSING_SHARE: u32 = 4;

/// The part of the shutdown bound, as a divisor, in which an instance that has others beside it goes
/// on as before, except that it says that it is not ready: whoever balances the load has to hear of
/// it before the door closes, or requests that were under way would find it shut.
const NOTICE_SHARE: u32 = 10;

/// Serves until `shutdown` is cancelled, then ends within the configured `shutdown_timeout`,
/// whatever its clients do: readiness becomes false, streams are told to go elsewhere, running
/// calls may finish, and what is still open at the end is dropped.
///
/// Any number of instances can run in one process, each on its own listener.
pub async fn run(
    listener: TcpListener,
    service: Service,
    engine: Engine,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bound = ending::work_limit(service.config().shutdown_timeout);
    let closing = bound / CLOSING_SHARE;
    let alone = service.config().redis.is_none();
    let notice = if alone { Duration::ZERO } else { bound / NOTICE_SHARE };
    let instance = Instance {
        service,
        engine: engine.clone(),
        ending: shutdown.clone(),
        bodies: Budget::default(),
    };
    let app = routes::all(&instance)?;
    // Before the first request, so that nothing is accepted that was revoked. If the database is
    // away, the first token has to wait for it instead.
    if let Err(error) = allow_list::enforce(&instance.service).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not end the access of people who were taken off the list; trying again: {error}"
        );
    }
    if let Err(error) = instance.service.revoked().load().await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "The revoked grants could not be read: {error}"
        );
    }
    let stop_accepting = CancellationToken::new();

    // New connections are taken while streams end: the platform has to hear that we are not ready.
    let ending = async {
        shutdown.cancelled().await;
        drain(&engine, notice, bound.saturating_sub(closing)).await;
        stop_accepting.cancel();
    };
    let serving =
        server::serve(listener, app, Limits::default(), stop_accepting.clone(), closing / 2);
    let following = revoked::follow(&instance.service, |_grant| {});
    tokio::select! {
        ((), ()) = async { tokio::join!(serving, ending) } => {
            // What came in at the last moment runs beside its response.
            if tokio::time::timeout(closing / 2, engine.drained()).await.is_err() {
                tracing::warn!("Calls are still running and are dropped");
            }
        }
        () = following => {}
    }
    Ok(())
}

async fn drain(engine: &Engine, notice: Duration, patience: Duration) {
    tracing::info!("Ending: no new streams, waiting for running calls");
    engine.drain();
    let drained = async {
        tokio::time::sleep(notice).await;
        engine.drained().await;
    };
    if tokio::time::timeout(patience, drained).await.is_err() {
        let seconds = patience.as_secs_f32();
        tracing::warn!(seconds, "Calls or streams are still open after {seconds} s");
    }
}
