//! The paths of the MCP endpoint and of the documents that belong to it.

/// The endpoint of MCP.
pub(crate) const MCP: &str = "/mcp";

/// The document of the protected resource, at the path that RFC 9728 derives from `…/mcp`. The
/// challenge of a 401 points here.
pub(crate) const PROTECTED_RESOURCE_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// The same of `…/mcp/`, which is the same endpoint.
pub(crate) const PROTECTED_RESOURCE_MCP_SLASH: &str = "/.well-known/oauth-protected-resource/mcp/";
