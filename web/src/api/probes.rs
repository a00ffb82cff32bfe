//! Health probes for the platform: whether the process is alive, and whether it should receive
//! requests.

#![expect(clippy::unused_async, reason = "poem-openapi requires async endpoints")]

use app::{App, health::Health};
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, payload::Json};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{
        error::{ErrorBody, RETRY_AFTER_SECONDS},
        request_id::RequestId,
    },
    instance::Instance,
};

/// `/healthz` and `/livez`.
#[derive(Clone)]
pub(crate) struct Probes {
    app: App,
    ending: CancellationToken,
}

#[derive(Tags)]
enum Tag {
    /// For the platform that runs the server.
    Probes,
}

/// The instance is healthy.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Status {
    /// Always `ok`.
    status: String,
    /// A problem for the operator, although the instance can serve requests.
    warning: Option<String>,
}

#[derive(ApiResponse)]
enum Readiness {
    /// The instance can serve requests.
    #[oai(status = 200)]
    Ready(Json<Status>),
    /// The database does not respond, or the instance is shutting down. Send requests to another
    /// instance and ask again later.
    #[oai(status = 503)]
    NotReady(
        Json<ErrorBody>,
        /// Seconds to wait before asking again.
        #[oai(header = "Retry-After")]
        u32,
    ),
}

#[derive(ApiResponse)]
enum Liveness {
    /// The process is running.
    #[oai(status = 200)]
    Alive(Json<Status>),
}

impl Probes {
    pub(super) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone(), ending: instance.ending.clone() }
    }
}

#[OpenApi(tag = "Tag::Probes")]
impl Probes {
    /// Whether this instance should receive requests
    ///
    /// Responds within 2 seconds, even if the database does not.
    #[oai(path = "/healthz", method = "get", operation_id = "readiness")]
    async fn readiness(&self, request: Data<&RequestId>) -> Readiness {
        let problem = if self.ending.is_cancelled() {
            "This instance is shutting down. Send requests to another one."
        } else {
            match self.app.health().await {
                Health::Well if self.app.is_redis_full() => {
                    return Readiness::Ready(warning(REDIS_FULL));
                }
                Health::Well => return Readiness::Ready(ok()),
                Health::Busy => return Readiness::Ready(warning(BUSY)),
                Health::NoDatabase => {
                    "The database does not respond. Check DATABASE_URL and the database itself."
                }
            }
        };
        let body = ErrorBody::new("not_ready", problem, &request);
        Readiness::NotReady(Json(body), RETRY_AFTER_SECONDS)
    }

    /// Whether the process is running
    ///
    /// Independent of the database, which a restart of this process would not repair.
    #[oai(path = "/livez", method = "get", operation_id = "liveness")]
    async fn liveness(&self) -> Liveness {
        Liveness::Alive(ok())
    }
}

fn ok() -> Json<Status> {
    let status = "ok".to_owned();
    Json(Status { status, warning: None })
}

const BUSY: &str = "All database connections of this instance are in use, and requests wait for \
                    one. The database responds: look for locks and slow statements.";

const REDIS_FULL: &str = "Redis is full and refuses writes: no session and no sign-in can start. Give \
                          it more memory; the command `store` shows the use of each user.";

fn warning(warning: &str) -> Json<Status> {
    let Json(status) = ok();
    Json(Status { warning: Some(warning.to_owned()), ..status })
}
