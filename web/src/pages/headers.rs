//! Security headers of every page.

use http::{HeaderValue, header};
use poem::Response;

/// Adds the security headers. `form-action` is omitted on purpose: browsers apply it to the whole
/// redirect chain, which ends at a client.
pub(super) fn protect(response: &mut Response, https: bool, in_popups: bool) {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !in_popups {
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    }
    if https {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}

const PROTECTION: [(&str, &str); 4] = [
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_the_security_headers() {
        for (https, in_popups) in [(true, false), (false, false), (true, true)] {
            let mut response = Response::default();
            protect(&mut response, https, in_popups);
            let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cache-control"), "no-store");
            let opener_policy = if in_popups { "" } else { "same-origin" };
            assert_eq!(header("cross-origin-opener-policy"), opener_policy);
            assert_eq!(header("cross-origin-resource-policy"), "same-origin");
            assert_eq!(header("x-content-type-options"), "nosniff");
            let policy = header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("form-action"));
            assert_eq!(!header("strict-transport-security").is_empty(), https);
            assert!(
                !response.headers().keys().any(|name| name.as_str().starts_with("access-control"))
            );
        }
    }
}
