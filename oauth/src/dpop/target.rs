//! The comparison of the claim `htu` with the URL of a request.

use url::Url;

/// Returns whether `htu` is the URL with this origin and path. Query and fragment are ignored, and
/// both URLs are normalized (RFC 9449, section 4.3; RFC 3986, sections 6.2.2 and 6.2.3). `origin`:
/// the public URL of this server; `path`: that of the request.
pub(crate) fn is_target(htu: &str, origin: &str, path: &str) -> bool {
    // The parser drops whitespace and repairs slashes; a URL that needs such a repair is refused.
    let is_plain =
        htu.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') && htu.contains("://");
    let Ok(url) = Url::parse(htu) else {
        return false;
    };
    is_plain
        && url.username().is_empty()
        && url.password().is_none()
        && url.origin().ascii_serialization() == origin
        && decode_unreserved(url.path()) == path
}

/// Decodes percent-encoded octets of unreserved characters: letters, digits and `-._~`.
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, encoded) = rest.split_at(at);
        decoded.push_str(before);
        let octet = encoded.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &encoded[3..];
            }
            _ => {
                decoded.push('%');
                rest = &encoded[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_compared_after_normalization() {
        const ORIGIN: &str = "https://notes.example.com";
        for (htu, same) in [
            ("https://notes.example.com/mcp", true),
            ("https://notes.example.com/mcp?a=b", true),
            ("https://notes.example.com/mcp#a", true),
            ("HTTPS://Notes.Example.COM:443/mcp", true),
            ("https://notes.example.com/a/../mcp", true),
            ("https://notes.example.com/./mcp", true),
            ("https://notes.example.com/%6dcp", true),
            ("https://notes.example.com/%6Dcp", true),
            ("https://notes.example.com/mcp/", false),
            ("https://notes.example.com/MCP", false),
            ("https://notes.example.com/%2fmcp", false),
            ("https://notes.example.com/mcp%", false),
            ("https://notes.example.com/%zzmcp", false),
            ("https://notes.example.com/", false),
            ("https://notes.example.com", false),
            ("https://notes.example.com:8443/mcp", false),
            ("http://notes.example.com/mcp", false),
            ("https://notes.example.com./mcp", false),
            ("https://other.example.com/mcp", false),
            ("https://me@notes.example.com/mcp", false),
            ("https://me:secret@notes.example.com/mcp", false),
            ("https:notes.example.com/mcp", false),
            ("https:\\\\notes.example.com\\mcp", false),
            ("https://notes.example.com/\tmcp", false),
            (" https://notes.example.com/mcp", false),
            ("//notes.example.com/mcp", false),
            ("/mcp", false),
            ("", false),
        ] {
            assert_eq!(is_target(htu, ORIGIN, "/mcp"), same, "{htu}");
        }
        assert!(is_target("http://127.0.0.1:8080/mcp/", "http://127.0.0.1:8080", "/mcp/"));
    }
}
