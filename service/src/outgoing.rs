//! What all our requests to other servers have in common.

/// A client that goes where it is told and nowhere else: it follows no redirect, repeats nothing,
/// says nothing of where it comes from and asks no proxy.
pub(crate) fn careful() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
}

/// The whole body of a response; nothing if it has more bytes than `most`.
pub(crate) async fn bounded(
    response: &mut reqwest::Response,
    most: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
