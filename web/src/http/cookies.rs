//! Cookies: what binds something to one browser.
//!
//! Every cookie is for this host alone, for every path of it, and unreadable to scripts. Over https
//! its name begins with `__Host-`, by which a browser guarantees the first two. That prefix demands
//! `Secure`, which a browser does not take over plain http, so on loopback the names are without it.

use http::{HeaderMap, HeaderValue, header};
use service::config::PublicUrl;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// How many sign-ins of one kind a browser has in flight. Beyond it the oldest is dropped, so that
/// the `Cookie` header stays small.
const MAX_OF_A_KIND: usize = 8;

/// The cookie of the account page's own session.
pub(crate) const SESSION: &str = "session";

/// Cookies of which a browser has one for each thing that it has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the authorization request to the decision.
    Transaction,
    /// From the decision to the return of the person who signed in.
    SignIn,
}

/// How this server names its cookies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    https: bool,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Transaction => "txn_",
            Self::SignIn => "ghs_",
        }
    }
}

impl Cookies {
    /// The cookies of the server at `public_url`.
    pub(crate) fn of(public_url: &PublicUrl) -> Self {
        Self { https: public_url.as_str().starts_with("https://") }
    }

    /// The value of the cookie that belongs to `subject`.
    pub(crate) fn read<'a>(
        self,
        request: &'a HeaderMap,
        kind: Kind,
        subject: &str,
    ) -> Option<&'a str> {
        self.read_named(request, &short_name(kind, subject))
    }

    /// The value of a cookie of which a browser has one.
    pub(crate) fn read_named<'a>(self, request: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.full_name(name);
        let mut values = all(request).filter(|(it, _)| *it == name);
        let (_, value) = values.next()?;
        // Two of a name: one of them was smuggled in, and nobody knows which.
        values.next().is_none().then_some(value)
    }

    /// The names and values of all cookies that this server may have set.
    pub(crate) fn all_ours(self, request: &HeaderMap) -> Vec<(&str, &str)> {
        let kinds = [Kind::Transaction.prefix(), Kind::SignIn.prefix(), SESSION];
        let prefixes = kinds.map(|it| self.full_name(it));
        all(request).filter(|(name, _)| prefixes.iter().any(|it| name.starts_with(it))).collect()
    }

    /// Sets the cookie that belongs to `subject`, and drops the oldest if there are too many.
    pub(crate) fn set(
        self,
        request: &HeaderMap,
        answer: &mut HeaderMap,
        kind: Kind,
        subject: &str,
        value: &str,
        lifetime: Duration,
    ) {
        let name = short_name(kind, subject);
        for surplus in self.surplus(request, kind, &name) {
            append(answer, &self.expired(&surplus));
        }
        self.set_named(answer, &name, value, lifetime);
    }

    /// Sets a cookie of which a browser has one.
    pub(crate) fn set_named(
        self,
        answer: &mut HeaderMap,
        name: &str,
        value: &str,
        lifetime: Duration,
    ) {
        let name = self.full_name(name);
        let attributes = self.attributes();
        let seconds = lifetime.as_secs();
        append(answer, &format!("{name}={value}; Max-Age={seconds}; {attributes}"));
    }

    /// Removes the cookie that belongs to `subject`.
    pub(crate) fn clear(self, answer: &mut HeaderMap, kind: Kind, subject: &str) {
        self.clear_named(answer, &short_name(kind, subject));
    }

    /// Removes a cookie of which a browser has one.
    pub(crate) fn clear_named(self, answer: &mut HeaderMap, name: &str) {
        append(answer, &self.expired(&self.full_name(name)));
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

    /// Those that have to go before `new` is set. A browser sends older cookies first.
    fn surplus(self, request: &HeaderMap, kind: Kind, new: &str) -> Vec<String> {
        let prefix = self.full_name(kind.prefix());
        let new = self.full_name(new);
        let there: Vec<&str> = all(request)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(&prefix) && *name != new)
            .collect();
        let surplus = (there.len() + 1).saturating_sub(MAX_OF_A_KIND);
        there[..surplus].iter().map(ToString::to_string).collect()
    }
}

/// The prefix and eight digits of a hash: enough to tell eight flows apart, and nothing to learn.
fn short_name(kind: Kind, subject: &str) -> String {
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

/// A name that can be sent back as it is.
fn is_token(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    !name.is_empty() && name.bytes().all(plain)
}

fn append(answer: &mut HeaderMap, cookie: &str) {
    match HeaderValue::try_from(cookie) {
        Ok(value) => {
            answer.append(header::SET_COOKIE, value);
        }
        Err(error) => tracing::error!(%error, "A cookie cannot be set: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(url: &str) -> Cookies {
        Cookies::of(&PublicUrl::parse(url).unwrap())
    }

    fn request(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        headers
    }

    fn written(answer: &HeaderMap) -> Vec<&str> {
        let values = answer.get_all(header::SET_COOKIE).iter();
        values.map(|it| it.to_str().unwrap()).collect()
    }

    const LIFETIME: Duration = Duration::from_mins(10);

    #[test]
    fn a_cookie_is_for_this_host_and_no_script() {
        for (url, expected) in [
            (
                "https://notes.example",
                "__Host-txn_ba7816bf=v; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure",
            ),
            // A browser would not take the prefix here.
            (
                "http://localhost:8080",
                "txn_ba7816bf=v; Max-Age=600; Path=/; HttpOnly; SameSite=Lax",
            ),
        ] {
            let mut answer = HeaderMap::new();
            let none = HeaderMap::new();
            cookies(url).set(&none, &mut answer, Kind::Transaction, "abc", "v", LIFETIME);
            assert_eq!(written(&answer), [expected]);
        }
    }

    #[test]
    fn a_flow_finds_its_own_cookie_and_no_other() {
        let cookies = cookies("https://notes.example");
        let read = |cookie: &str, kind| {
            let headers = request(cookie);
            cookies.read(&headers, kind, "abc").map(ToOwned::to_owned)
        };
        let here = Some("v".to_owned());
        assert_eq!(read("__Host-txn_ba7816bf=v", Kind::Transaction), here);
        assert_eq!(read("a=b; __Host-txn_ba7816bf=v; c", Kind::Transaction), here);
        for (cookie, kind) in [
            ("__Host-txn_ba7816bf=v", Kind::SignIn),
            ("txn_ba7816bf=v", Kind::Transaction),
            ("__Host-txn_00000000=v", Kind::Transaction),
            ("__Host-txn_ba7816bf=v; __Host-txn_ba7816bf=w", Kind::Transaction),
            ("", Kind::Transaction),
        ] {
            assert_eq!(read(cookie, kind), None, "{cookie}");
        }
    }

    #[test]
    fn the_ninth_flow_drops_the_first() {
        let cookies = cookies("http://localhost:8080");
        let set = |there: usize| {
            let there = (0..there).map(|number| format!("txn_0000000{number}=x"));
            let cookie = there.collect::<Vec<_>>().join("; ") + "; ghs_0000000f=x";
            let mut answer = HeaderMap::new();
            let request = request(&cookie);
            cookies.set(&request, &mut answer, Kind::Transaction, "abc", "v", LIFETIME);
            written(&answer).iter().map(|it| it[..12].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(set(7), ["txn_ba7816bf"]);
        assert_eq!(set(8), ["txn_00000000", "txn_ba7816bf"]);
        assert_eq!(set(9), ["txn_00000000", "txn_00000001", "txn_ba7816bf"]);
    }

    #[test]
    fn a_name_from_the_request_cannot_break_the_answer() {
        let headers = request("txn_a b=1; txn_é=1; txn_\"=1; txn_ok=1");
        let names: Vec<_> = all(&headers).map(|(name, _)| name).collect();
        assert!(names.iter().all(|it| *it == "txn_ok"), "{names:?}");
    }
}
