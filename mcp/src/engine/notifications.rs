//! Conversion of bus signals to notifications for a client.

use serde::Serialize;

use crate::{
    rpc::{self, RequestId},
    store::Signal,
};

#[derive(Serialize, Default)]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<SubscriptionMeta<'a>>,
}

/// The `_meta` that relates a notification to its `subscriptions/listen` request (2026-07-28).
#[derive(Serialize)]
pub(super) struct SubscriptionMeta<'a> {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    pub(super) subscription: &'a RequestId,
}

/// Encodes the notification for a signal. `None`: clients are not notified of it.
pub(super) fn notification(signal: &Signal, subscription: Option<&RequestId>) -> Option<String> {
    let (method, uri) = match signal {
        Signal::ResourceUpdated { uri, .. } => ("notifications/resources/updated", Some(&**uri)),
        Signal::ResourceListChanged { .. } => ("notifications/resources/list_changed", None),
        Signal::ToolListChanged => ("notifications/tools/list_changed", None),
        Signal::PromptListChanged => ("notifications/prompts/list_changed", None),
        Signal::Cancelled { .. }
        | Signal::Revoked { .. }
        | Signal::CutOff { .. }
        | Signal::KeyRevoked { .. }
        | Signal::StreamChanged(_)
        | Signal::StreamReleased(_)
        | Signal::StreamTaken { .. }
        | Signal::SessionEnded(_)
        | Signal::JobChanged { .. }
        | Signal::JobMessage { .. }
        | Signal::JobQueued
        | Signal::JobCancelled { .. } => return None,
    };
    let meta = subscription.map(|subscription| SubscriptionMeta { subscription });
    let params = (uri.is_some() || meta.is_some()).then_some(Params { uri, meta });
    Some(rpc::encode_notification(method, params.as_ref()))
}
