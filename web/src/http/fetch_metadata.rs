//! Fetch Metadata and prefetch headers: what caused a browser to send a request.

use poem::Request;

/// Whether a page of another site embedded the URL (image, frame, script, `fetch`) instead of
/// navigating to it, according to Fetch Metadata. `false` for clients that are not browsers: they
/// do not send these headers.
pub(crate) fn is_embedded(request: &Request) -> bool {
    let opens = matches!(fetch_metadata(request, "sec-fetch-mode"), None | Some("navigate"))
        && matches!(fetch_metadata(request, "sec-fetch-dest"), None | Some("document"));
    is_from_another_site(request) && !opens
}

/// Whether a page of another site caused the request, according to Fetch Metadata.
pub(super) fn is_from_another_site(request: &Request) -> bool {
    matches!(fetch_metadata(request, "sec-fetch-site"), Some("cross-site" | "same-site"))
}

fn fetch_metadata<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// Whether the browser prefetches or prerenders the page (`Sec-Purpose` and its predecessors).
pub(crate) fn is_prefetch(request: &Request) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"]
        .iter()
        .flat_map(|name| request.headers().get_all(*name))
        .any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            let value = String::from_utf8_lossy(&value);
            ["prefetch", "prerender", "preview"].iter().any(|word| value.contains(word))
        })
}
