//! Ends running jobs soon after the access that they were started with has ended.

use app::App;
use mcp::AccessCheck as _;
use oauth::revoked;
use runner::Work;
use tokio_util::sync::CancellationToken;

/// Triggers a renewal of the leases when access is revoked. The renewal finds the affected jobs.
pub(crate) async fn watch(app: App, work: Work, stop: CancellationToken) {
    let mut changes = app.oauth().revoked().changes();
    let following = revoked::follow(app.oauth(), |_grant| {});
    let renewing = async {
        while changes.changed().await.is_ok() {
            work.renew_soon();
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
        () = renewing => {}
    }
}
