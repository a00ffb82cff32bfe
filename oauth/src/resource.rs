//! The `resource` parameter (RFC 8707): the server that a token is meant for. Only this server's
//! MCP endpoint is accepted.

use platform::public_url::PublicUrl;
use url::{Host, Url};

/// The maximum length of a `resource`, in bytes.
const MAX_BYTES: usize = 2_000;

/// The parameter is not the URI of this server's MCP endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource must be the MCP endpoint of this server")]
pub struct InvalidTarget;

/// Checks that every `resource` of a request is this server's MCP endpoint. No `resource` at all is
/// valid: older clients omit it, and there is only one endpoint that they can mean.
///
/// Besides the exact URI, variants that clients are known to send are accepted: another case of the
/// scheme or host, a trailing slash, the origin's default port, and a query, which ChatGPT appends.
pub fn check<'a>(
    public_url: &PublicUrl,
    resources: impl IntoIterator<Item = &'a str>,
) -> Result<(), InvalidTarget> {
    for resource in resources {
        if !is_own_endpoint(public_url, resource) {
            return Err(InvalidTarget);
        }
        if resource.contains('?') {
            tracing::info!(resource, "Ignored the query of a resource parameter");
        }
    }
    Ok(())
}

fn is_own_endpoint(public_url: &PublicUrl, resource: &str) -> bool {
    let expected = public_url.mcp();
    if resource == expected {
        return true;
    }
    // The parser drops control characters and repairs slashes; a URI that needs such a repair is
    // refused.
    let is_plain = resource.len() <= MAX_BYTES
        && resource.bytes().all(|it| it.is_ascii_graphic() && it != b'\\')
        && resource.contains("://")
        && !resource.contains('#')
        && !resource.contains('@');
    let Ok(url) = Url::parse(resource) else {
        return false;
    };
    let path = resource_path(resource);
    is_plain
        && url.origin().ascii_serialization() == public_url.origin()
        && !matches!(url.host(), Some(Host::Domain(name)) if name.ends_with('.'))
        && path.strip_suffix('/').unwrap_or(path) == "/mcp"
}

/// Returns the path as it was sent, before the parser resolves dot segments and decodes.
fn resource_path(resource: &str) -> &str {
    let after_scheme = resource.split_once("://").map_or("", |(_, rest)| rest);
    let path = after_scheme.find(['/', '?']).map_or("", |from| &after_scheme[from..]);
    path.split_once('?').map_or(path, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public_url() -> PublicUrl {
        PublicUrl::parse("https://notes.example.com").unwrap()
    }

    #[test]
    fn known_spellings_of_the_endpoint_are_accepted() {
        assert_eq!(check(&public_url(), []), Ok(()));
        for good in [
            "https://notes.example.com/mcp",
            "https://notes.example.com/mcp/",
            "HTTPS://notes.example.com/mcp",
            "https://Notes.Example.COM/mcp",
            "https://notes.example.com:443/mcp",
            "https://notes.example.com/mcp?client=chatgpt",
            "https://notes.example.com/mcp/?",
        ] {
            assert_eq!(check(&public_url(), [good]), Ok(()), "{good}");
        }
        assert_eq!(check(&public_url(), ["https://notes.example.com/mcp"; 2]), Ok(()));
    }

    #[test]
    fn other_uris_are_refused() {
        for bad in [
            "",
            "/mcp",
            "mcp",
            "notes.example.com/mcp",
            "https://notes.example.com",
            "https://notes.example.com/",
            "https://notes.example.com/MCP",
            "https://notes.example.com/mcp//",
            "https://notes.example.com/mcp2",
            "https://notes.example.com/mcp/more",
            "https://notes.example.com/a/../mcp",
            "https://notes.example.com/%6dcp",
            "https://notes.example.com/mcp#frag",
            "https://notes.example.com/mcp#",
            "https://notes.example.com/other?/mcp",
            "https://notes.example.com./mcp",
            "https://notes.example.com:8443/mcp",
            "http://notes.example.com/mcp",
            "https://other.example.com/mcp",
            "https://notes.example.com.evil.com/mcp",
            "https://user@notes.example.com/mcp",
            "https://notes.example.com@evil.com/mcp",
            "https:\\\\notes.example.com\\mcp",
            "https:/notes.example.com/mcp",
            " https://notes.example.com/mcp",
            "https://notes.example.com/mcp\n",
            "https://notes.exa\tmple.com/mcp",
        ] {
            assert_eq!(check(&public_url(), [bad]), Err(InvalidTarget), "{bad:?}");
        }
        let two = ["https://notes.example.com/mcp", "https://other.example.com/mcp"];
        assert_eq!(check(&public_url(), two), Err(InvalidTarget));
    }

    #[test]
    fn an_endpoint_on_loopback_keeps_its_port() {
        let public_url = PublicUrl::parse("http://localhost:8080").unwrap();
        assert_eq!(check(&public_url, ["http://localhost:8080/mcp"]), Ok(()));
        for bad in
            ["http://localhost/mcp", "http://127.0.0.1:8080/mcp", "http://localhost:8081/mcp"]
        {
            assert_eq!(check(&public_url, [bad]), Err(InvalidTarget), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn another_host_is_never_accepted(host in "[a-z0-9.-]{1,30}", path in "[a-z/?.%0-9]{0,20}") {
            prop_assume!(host != "notes.example.com");
            let other = format!("https://{host}/{path}");
            prop_assert_eq!(check(&public_url(), [other.as_str()]), Err(InvalidTarget));
        }

        #[test]
        fn arbitrary_text_is_never_accepted(text in "\\PC{0,100}") {
            prop_assert!(check(&public_url(), [text.as_str()]).is_err());
        }
    }
}
