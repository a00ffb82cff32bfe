//! The paths of the MCP endpoint and of its metadata documents.

/// The MCP endpoint.
pub(crate) const MCP: &str = "/mcp";

/// The protected resource metadata, at the path that RFC 9728 derives from `…/mcp`. The challenge
/// of a 401 names it.
pub(crate) const PROTECTED_RESOURCE_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// The protected resource metadata for `…/mcp/`, which is the same endpoint.
pub(crate) const PROTECTED_RESOURCE_MCP_SLASH: &str = "/.well-known/oauth-protected-resource/mcp/";
