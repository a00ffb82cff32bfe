//! The `_meta` of a modern request.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    json,
    params::Params,
    rpc::{RequestId, RpcError},
    trace::TraceParent,
    types::{ClientCapabilities, LogLevel},
};

pub(in crate::engine) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The required and optional members of `_meta`.
pub(super) struct Meta {
    pub(super) version: String,
    pub(super) capabilities: ClientCapabilities,
    pub(super) log_level: Option<LogLevel>,
    /// `None`: absent or malformed.
    pub(super) progress_token: Option<RequestId>,
    /// `None`: absent or malformed.
    pub(super) trace_parent: Option<TraceParent>,
}

/// Parses `_meta`.
pub(super) fn read_meta(params: &Params<'_>) -> Result<Meta, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawMeta<'a> {
        #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
        version: String,
        #[serde(rename = "io.modelcontextprotocol/clientCapabilities", borrow)]
        capabilities: &'a RawValue,
        #[serde(rename = "io.modelcontextprotocol/logLevel")]
        log_level: Option<LogLevel>,
        #[serde(borrow)]
        progress_token: Option<&'a RawValue>,
        #[serde(borrow)]
        traceparent: Option<&'a RawValue>,
    }
    let meta: RawMeta<'_> = params.read_meta().map_err(|error| {
        RpcError::invalid_params(format!(
            "`params._meta` must have `{VERSION_KEY}` and `{CAPABILITIES_KEY}`: {error}"
        ))
    })?;
    let RawMeta { version, capabilities, log_level, progress_token, traceparent } = meta;
    Ok(Meta {
        version,
        capabilities: ClientCapabilities::declared(Some(capabilities)),
        log_level,
        progress_token: progress_token.and_then(|token| json::from_str(token.get()).ok()),
        trace_parent: traceparent.and_then(TraceParent::from_json),
    })
}
