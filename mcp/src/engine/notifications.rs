//! Signals of the bus as notifications to a client.

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

/// Ties a notification to the listen request that asked for it (2026-07-28).
#[derive(Serialize)]
pub(super) struct SubscriptionMeta<'a> {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    pub(super) subscription: &'a RequestId,
}

/// The notification that a signal is for a client, if it is one.
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
