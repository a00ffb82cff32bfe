//! Cookies, which bind a flow or a session to one browser.
//!
//! Each cookie is limited to this host, valid for every path, and not readable by scripts. Over
//! https the name has the prefix `__Host-`, with which browsers enforce the first two. The prefix
//! requires `Secure`, which browsers reject over plain http, so on loopback the names have no
//! prefix.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use platform::public_url::PublicUrl;
use sha2::{Digest as _, Sha256};

/// Maximum number of cookies of one kind in a browser. Beyond it the oldest is deleted, so that the
/// `Cookie` header stays small.
const MAX_PER_KIND: usize = 8;

/// The name of the session cookie of the account page.
pub(crate) const SESSION: &str = "session";

/// Per-flow cookies: one per pending authorization or sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowCookie {
    /// From the authorization request to the user's decision.
    Transaction,
    /// From the user's decision to the return from the identity provider.
    SignIn,
}

/// Reads and sets the cookies of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    https: bool,
}

impl FlowCookie {
    fn prefix(self) -> &'static str {
        match self {
            Self::Transaction => "txn_",
            Self::SignIn => "ghs_",
        }
    }
}

impl Cookies {
    /// Names with `__Host-` if `public_url` is https.
    pub(crate) fn new(public_url: &PublicUrl) -> Self {
        Self { https: public_url.as_str().starts_with("https://") }
    }

    /// The value of the cookie of the flow with the id `subject`.
    pub(crate) fn read<'a>(
        self,
        request: &'a HeaderMap,
        kind: FlowCookie,
        subject: &str,
    ) -> Option<&'a str> {
        self.read_named(request, &short_name(kind, subject))
    }

    /// The value of the cookie `name`.
    pub(crate) fn read_named<'a>(self, request: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.full_name(name);
        let mut values = all(request).filter(|(other, _)| *other == name);
        let (_, value) = values.next()?;
        // Duplicates: one of them may have been injected by another site, and it is unknown which.
        values.next().is_none().then_some(value)
    }

    /// The names and values of all cookies that may be from this server.
    pub(crate) fn all_own(self, request: &HeaderMap) -> Vec<(&str, &str)> {
        let kinds = [FlowCookie::Transaction.prefix(), FlowCookie::SignIn.prefix(), SESSION];
        let prefixes = kinds.map(|prefix| self.full_name(prefix));
        all(request)
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect()
    }

    /// Sets the cookie of the flow with the id `subject`, and deletes the oldest ones beyond
    /// [`MAX_PER_KIND`].
    pub(crate) fn set(
        self,
        request: &HeaderMap,
        response: &mut HeaderMap,
        kind: FlowCookie,
        subject: &str,
        value: &str,
        lifetime: Duration,
    ) {
        let name = short_name(kind, subject);
        for surplus in self.surplus(request, kind, &name) {
            append(response, &self.expired(&surplus));
        }
        self.set_named(response, &name, value, lifetime);
    }

    /// Sets the cookie `name`.
    pub(crate) fn set_named(
        self,
        response: &mut HeaderMap,
        name: &str,
        value: &str,
        lifetime: Duration,
    ) {
        let name = self.full_name(name);
        let attributes = self.attributes();
        let seconds = lifetime.as_secs();
        append(response, &format!("{name}={value}; Max-Age={seconds}; {attributes}"));
    }

    /// Deletes the cookie of the flow with the id `subject`.
    pub(crate) fn clear(self, response: &mut HeaderMap, kind: FlowCookie, subject: &str) {
        self.clear_named(response, &short_name(kind, subject));
    }

    /// Deletes the cookie `name`.
    pub(crate) fn clear_named(self, response: &mut HeaderMap, name: &str) {
        append(response, &self.expired(&self.full_name(name)));
    }

    fn full_name(self, name: &str) -> String {
        format!("{}{name}", if self.https { "__Host-" } else { "" })
    }

    fn attributes(self) -> &'static str {
        if self.https {
            "Path=/; HttpOnly; SameSite=Lax; Secure"
        } else {
            "Path=/; HttpOnly; SameSite=Lax"
        }
    }

    fn expired(self, full_name: &str) -> String {
        format!("{full_name}=; Max-Age=0; {}", self.attributes())
    }

    /// The names of the cookies to delete before `new` is set. Browsers send older cookies first.
    fn surplus(self, request: &HeaderMap, kind: FlowCookie, new: &str) -> Vec<String> {
        let prefix = self.full_name(kind.prefix());
        let new = self.full_name(new);
        let there: Vec<&str> = all(request)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(&prefix) && *name != new)
            .collect();
        let surplus = (there.len() + 1).saturating_sub(MAX_PER_KIND);
        there[..surplus].iter().map(ToString::to_string).collect()
    }
}

/// The prefix of the kind and eight hex digits of a hash of the flow's id: enough to tell eight
/// flows apart, without revealing the id.
fn short_name(kind: FlowCookie, subject: &str) -> String {
    let hash = Sha256::digest(subject.as_bytes());
    let first = hash[..4].try_into().expect("a hash has 32 bytes");
    let digits = u32::from_be_bytes(first);
    format!("{}{digits:08x}", kind.prefix())
}

fn all(request: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    request
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| is_token(name))
}

/// Whether a name is safe to repeat in `Set-Cookie`.
fn is_token(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    !name.is_empty() && name.bytes().all(plain)
}

fn append(response: &mut HeaderMap, cookie: &str) {
    match HeaderValue::try_from(cookie) {
        Ok(value) => {
            response.append(header::SET_COOKIE, value);
        }
        Err(error) => {
            tracing::error!(%error, "Could not set a cookie: its text is not a valid header value");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(url: &str) -> Cookies {
        Cookies::new(&PublicUrl::parse(url).unwrap())
    }

    fn request(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        headers
    }

    fn written(response: &HeaderMap) -> Vec<&str> {
        let values = response.get_all(header::SET_COOKIE).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    const LIFETIME: Duration = Duration::from_mins(10);

    #[test]
    fn a_cookie_is_for_this_host_and_not_for_scripts() {
        for (url, expected) in [
            (
                "https://notes.example",
                "__Host-txn_ba7816bf=v; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure",
            ),
            // Browsers reject the prefix over http.
            (
                "http://localhost:8080",
                "txn_ba7816bf=v; Max-Age=600; Path=/; HttpOnly; SameSite=Lax",
            ),
        ] {
            let mut response = HeaderMap::new();
            let none = HeaderMap::new();
            cookies(url).set(&none, &mut response, FlowCookie::Transaction, "abc", "v", LIFETIME);
            assert_eq!(written(&response), [expected]);
        }
    }

    #[test]
    fn a_flow_reads_only_its_own_cookie() {
        let cookies = cookies("https://notes.example");
        let read = |cookie: &str, kind| {
            let headers = request(cookie);
            cookies.read(&headers, kind, "abc").map(ToOwned::to_owned)
        };
        let here = Some("v".to_owned());
        assert_eq!(read("__Host-txn_ba7816bf=v", FlowCookie::Transaction), here);
        assert_eq!(read("a=b; __Host-txn_ba7816bf=v; c", FlowCookie::Transaction), here);
        for (cookie, kind) in [
            ("__Host-txn_ba7816bf=v", FlowCookie::SignIn),
            ("txn_ba7816bf=v", FlowCookie::Transaction),
            ("__Host-txn_00000000=v", FlowCookie::Transaction),
            ("__Host-txn_ba7816bf=v; __Host-txn_ba7816bf=w", FlowCookie::Transaction),
            ("", FlowCookie::Transaction),
        ] {
            assert_eq!(read(cookie, kind), None, "{cookie}");
        }
    }

    #[test]
    fn the_ninth_flow_deletes_the_oldest_cookie() {
        let cookies = cookies("http://localhost:8080");
        let set = |there: usize| {
            let there = (0..there).map(|number| format!("txn_0000000{number}=x"));
            let cookie = there.collect::<Vec<_>>().join("; ") + "; ghs_0000000f=x";
            let mut response = HeaderMap::new();
            let request = request(&cookie);
            cookies.set(&request, &mut response, FlowCookie::Transaction, "abc", "v", LIFETIME);
            written(&response).iter().map(|cookie| cookie[..12].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(set(7), ["txn_ba7816bf"]);
        assert_eq!(set(8), ["txn_00000000", "txn_ba7816bf"]);
        assert_eq!(set(9), ["txn_00000000", "txn_00000001", "txn_ba7816bf"]);
    }

    #[test]
    fn unsafe_cookie_names_are_ignored() {
        let headers = request("txn_a b=1; txn_é=1; txn_\"=1; txn_ok=1");
        let names: Vec<_> = all(&headers).map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| *name == "txn_ok"), "{names:?}");
    }
}
