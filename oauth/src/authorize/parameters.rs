//! The query parameters of an authorization request.

/// The decoded query parameters, in their order.
pub(super) struct Parameters<'a>(pub(super) &'a [(String, String)]);

/// A parameter occurs more than once.
pub(super) struct Repeated;

impl<'a> Parameters<'a> {
    /// Returns the approximate length of the query, in bytes, without percent-encoding, which only
    /// makes it longer.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
    }

    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the values of a parameter. An empty value counts as omitted (RFC 6749 section 3.1).
    pub(super) fn given(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).filter(|it| !it.is_empty())
    }

    pub(super) fn first(&self, name: &'a str) -> Option<&'a str> {
        self.given(name).next()
    }

    /// Returns the value of a parameter that may occur once. An empty value counts as omitted.
    pub(super) fn one(&self, name: &'a str) -> Result<Option<&'a str>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Repeated);
        }
        Ok(first.filter(|it| !it.is_empty()))
    }

    /// Returns whether any parameter that may occur once occurs more often. Several `resource`
    /// parameters are allowed, and checked together.
    pub(super) fn has_repeated(&self) -> bool {
        const ONCE: [&str; 12] = [
            "client_id",
            "redirect_uri",
            "state",
            "response_type",
            "response_mode",
            "scope",
            "code_challenge",
            "code_challenge_method",
            "dpop_jkt",
            "prompt",
            "request",
            "request_uri",
        ];
        ONCE.iter().any(|it| self.one(it).is_err())
    }
}
