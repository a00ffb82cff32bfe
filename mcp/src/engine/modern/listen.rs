//! `subscriptions/listen`: the notification stream of a modern client (2026-07-28,
//! basic/patterns/subscriptions).

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    caller::Caller,
    engine::{
        Inner,
        access::Access,
        notifications::{self, SubscriptionMeta},
        request::read_params,
        tasks::{followed::FollowedTasks, wire},
    },
    job::JobId,
    reply::{Reply, ReplyBody},
    rpc::{self, Request, RequestId, RpcError},
    sse,
    store::{
        MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Received, Signal, StoreError,
        Subscription, Topic,
    },
};

/// The maximum number of tasks of a stream. Each is read from the database when it changes.
const MAX_TASKS: usize = 100;

#[derive(Deserialize)]
struct Params {
    notifications: Filter,
}

/// The notifications that the client asks for, or those that it will receive.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    resource_subscriptions: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    task_ids: BTreeSet<JobId>,
}

impl Filter {
    /// Removes notifications that the server does not send, and resources that the token may not read.
    fn restricted(mut self, engine: &Inner, caller: &Caller) -> Self {
        self.prompts_list_changed &= engine.catalog.prompts().len() > 0;
        self.resources_list_changed &= engine.catalog.resources().len() > 0;
        self.resource_subscriptions.retain(|uri| {
            let found = engine.catalog.find_resource(uri);
            found.is_some_and(|(resource, _)| caller.may(resource.slot.scope))
        });
        self
    }

    /// Checks the limits of a stream.
    fn limit_error(&self) -> Option<RpcError> {
        let uris = &self.resource_subscriptions;
        let why = if uris.len() > MAX_SUBSCRIPTIONS {
            format!("one stream can subscribe to at most {MAX_SUBSCRIPTIONS} resources")
        } else if uris.iter().any(|uri| uri.len() > MAX_URI_BYTES) {
            format!("a URI of `resourceSubscriptions` may have at most {MAX_URI_BYTES} bytes")
        } else if uris.iter().map(String::len).sum::<usize>() > MAX_SUBSCRIPTION_BYTES {
            format!(
                "the URIs of `resourceSubscriptions` may have at most {MAX_SUBSCRIPTION_BYTES} \
                 bytes in total"
            )
        } else {
            return None;
        };
        Some(RpcError::invalid_params(why))
    }

    fn wants(&self, signal: &Signal) -> bool {
        match signal {
            Signal::ResourceUpdated { uri, .. } => self.resource_subscriptions.contains(uri),
            Signal::ResourceListChanged { .. } => self.resources_list_changed,
            Signal::ToolListChanged => self.tools_list_changed,
            Signal::PromptListChanged => self.prompts_list_changed,
            _ => false,
        }
    }
}

#[derive(Serialize)]
struct Acknowledged<'a> {
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
    notifications: &'a Filter,
}

pub(super) async fn listen(
    engine: &Arc<Inner>,
    caller: Caller,
    request: &Request<'_>,
    with_tasks: bool,
    may_stream: bool,
) -> Reply {
    let id = Some(&request.id);
    let filter = match read_params::<Params>("subscriptions/listen", &request.params) {
        Ok(params) => params.notifications,
        Err(error) => return Reply::bad_request(id, &error),
    };
    if let Some(error) = filter.limit_error() {
        return Reply::bad_request(id, &error);
    }
    if !filter.task_ids.is_empty() && !with_tasks {
        return Reply::bad_request(id, &wire::not_declared());
    }
    if filter.task_ids.len() > MAX_TASKS {
        let error = RpcError::invalid_params(format!(
            "one stream can subscribe to at most {MAX_TASKS} tasks"
        ));
        return Reply::bad_request(id, &error);
    }
    if !may_stream {
        let error = RpcError::invalid_request(
            "this method responds with an event stream: send `Accept: text/event-stream`",
        );
        return Reply::error(StatusCode::NOT_ACCEPTABLE, id, &error);
    }
    if engine.drain.is_cancelled() {
        return Reply::draining(id);
    }
    let Some(slot) = engine.listening.take(&caller.user) else {
        return Reply::too_many_streams(id);
    };
    let filter = filter.restricted(engine, &caller);
    match Listener::start(engine, &caller, request.id.clone(), filter).await {
        Ok(listener) => {
            Reply::new(StatusCode::OK, ReplyBody::Events(listener.into_body())).holding(slot)
        }
        Err(error) => Reply::store_unavailable(id, &error),
    }
}

/// An open listen stream.
struct Listener {
    engine: Arc<Inner>,
    id: RequestId,
    filter: Filter,
    user: Subscription,
    everyone: Subscription,
    followed: FollowedTasks,
    caller: Caller,
    acknowledged: bool,
    ready: Vec<String>,
    ended: bool,
    keep_alive: Instant,
    expires: Instant,
    access: Access,
    _busy: TaskTrackerToken,
}

impl Listener {
    async fn start(
        engine: &Arc<Inner>,
        caller: &Caller,
        id: RequestId,
        mut filter: Filter,
    ) -> Result<Self, StoreError> {
        let bus = &engine.stores.bus;
        let (followed, user, everyone) = tokio::try_join!(
            FollowedTasks::start(engine, caller, &filter.task_ids),
            bus.subscribe(Topic::User(caller.user.clone())),
            bus.subscribe(Topic::Everyone),
        )?;
        filter.task_ids = followed.ids();
        Ok(Self {
            followed,
            id,
            filter,
            user,
            everyone,
            caller: caller.clone(),
            acknowledged: false,
            ready: Vec::new(),
            ended: false,
            keep_alive: Instant::now() + sse::KEEP_ALIVE,
            expires: Instant::now() + engine.until_expiry(caller),
            access: engine.access(caller),
            _busy: engine.busy.token(),
            engine: Arc::clone(engine),
        })
    }

    fn into_body(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut listener| async move {
            let chunk = listener.next().await?;
            Some((chunk, listener))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        if !self.acknowledged {
            self.acknowledged = true;
            let params = Acknowledged {
                meta: SubscriptionMeta { subscription: &self.id },
                notifications: &self.filter,
            };
            let method = "notifications/subscriptions/acknowledged";
            return Some(sse::event(None, &rpc::encode_notification(method, Some(&params))));
        }
        loop {
            if let Some(message) = self.ready.pop() {
                self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                return Some(sse::event(None, &message));
            }
            if self.ended {
                return None;
            }
            // The rare ones first: many signals must not delay them.
            let received = tokio::select! {
                biased;
                () = self.engine.drain.cancelled() => {
                    self.ended = true;
                    return Some(sse::event(None, &self.final_result()));
                }
                () = self.access.ended() => return None,
                () = sleep_until(self.expires) => return None,
                () = sleep_until(self.keep_alive) => {
                    self.keep_alive = Instant::now() + sse::KEEP_ALIVE;
                    // A signal may have been lost.
                    self.followed.mark_all_changed();
                    return Some(sse::comment());
                }
                received = self.user.recv() => received,
                received = self.everyone.recv() => received,
                () = self.followed.changed() => {
                    let (engine, caller) = (&self.engine, &self.caller);
                    self.ready = self.followed.notifications(engine, caller, &self.id).await;
                    self.ready.reverse();
                    continue;
                }
            };
            self.prepare_notifications(received);
        }
    }

    fn prepare_notifications(&mut self, received: Received) {
        let signals =
            match received {
                Received::Signal(signal) => vec![signal],
                // Signals were lost: everything the client subscribes to may have changed.
                Received::Missed => {
                    let user = &self.caller.user;
                    let updated = self.filter.resource_subscriptions.iter().map(|uri| {
                        Signal::ResourceUpdated { user: user.clone(), uri: uri.clone() }
                    });
                    let lists = [
                        Signal::ResourceListChanged { user: user.clone() },
                        Signal::ToolListChanged,
                        Signal::PromptListChanged,
                    ];
                    updated.chain(lists).collect()
                }
            };
        let wanted = signals.iter().filter(|signal| self.filter.wants(signal));
        let messages =
            wanted.filter_map(|signal| notifications::notification(signal, Some(&self.id)));
        self.ready = messages.collect();
        self.ready.reverse();
    }

    /// Encodes the result of the request, which ends the stream when the instance shuts down.
    fn final_result(&self) -> String {
        #[derive(Serialize)]
        struct FinalResult<'a> {
            #[serde(rename = "resultType")]
            result_type: &'static str,
            #[serde(rename = "_meta")]
            meta: SubscriptionMeta<'a>,
        }
        let meta = SubscriptionMeta { subscription: &self.id };
        let result = FinalResult { result_type: "complete", meta };
        rpc::into_text(rpc::encode_result(&self.id, &result))
    }
}
