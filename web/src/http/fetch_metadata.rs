//! What a browser says about the cause of a request: Fetch Metadata, and the headers of prefetches.

use poem::Request;

/// Whether a page of another site made the browser send the request by itself, as an image, in a frame or
/// by a script, instead of opening it for the person (Fetch Metadata). Never of a client that is no
/// browser, which sends no such header.
pub(crate) fn is_embedded(request: &Request) -> bool {
    let opens = matches!(fetch_metadata(request, "sec-fetch-mode"), None | Some("navigate"))
        && matches!(fetch_metadata(request, "sec-fetch-dest"), None | Some("document"));
    is_from_another_site(request) && !opens
}

/// Whether a browser says that a page of another site caused the request (Fetch Metadata).
pub(super) fn is_from_another_site(request: &Request) -> bool {
    matches!(fetch_metadata(request, "sec-fetch-site"), Some("cross-site" | "same-site"))
}

fn fetch_metadata<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// Whether a browser asks before the person does (`Sec-Purpose`, and what came before it).
pub(crate) fn is_prefetch(request: &Request) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"]
        .iter()
        .flat_map(|name| request.headers().get_all(*name))
        .any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            let value = String::from_utf8_lossy(&value);
            ["prefetch", "prerender", "preview"].iter().any(|it| value.contains(it))
        })
}
