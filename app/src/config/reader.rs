//! Reads variables, and collects the problems with them.

use std::{fmt, path::Path, time::Duration};

use oauth::login::github::GitHubSettings;
use platform::{
    proxies::{Proxies, ProxyUrl},
    secret::Secret,
    telemetry::TraceSettings,
};

use super::{
    generated_secret::generated_secret,
    parse::{base_url, collector, duration, headers, number, sampling_ratio, signing_secrets},
    types::{Mode, ModelSettings},
    variables::{
        DATA_DIR, GITHUB_API_URL, GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET, GITHUB_URL, HTTP_PROXY,
        HTTPS_PROXY, JWT_SIGNING_SECRET, LLM_API_KEY, LLM_MODEL, LLM_URL, NO_PROXY, OIDC_CLIENT_ID,
        OIDC_ISSUER, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS,
        OTEL_TRACES_SAMPLER_ARG, Variable, oidc_variable,
    },
};

/// Reads variables and collects the problems with them.
pub struct Reader<'a> {
    /// The names of all variables that are set, if the source can list them.
    names: &'a [String],
    variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<String>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(names: &'a [String], variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { names, variable, problems: Vec::new() }
    }

    /// Returns the names of all variables that are set. Empty if the source cannot list them.
    pub(super) fn names(&self) -> &'a [String] {
        self.names
    }

    /// Returns the value of a variable, trimmed. `None`: it is absent or empty.
    pub fn text(&self, variable: Variable) -> Option<String> {
        self.text_of(variable.name)
    }

    /// Whether the variable is set to an empty text.
    pub(super) fn is_set_but_empty(&self, name: &str) -> bool {
        (self.variable)(name).is_some_and(|text| text.trim().is_empty())
    }

    /// Returns the value of the variable of this name, trimmed. `None`: it is absent or empty.
    pub(super) fn text_of(&self, name: &str) -> Option<String> {
        let text = (self.variable)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Parses a variable. `None`: it is absent or invalid; the latter adds a problem.
    pub fn parse<T>(
        &mut self,
        variable: Variable,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(&self.text(variable)?)
            .map_err(|problem| self.problems.push(format!("{} {problem}", variable.name)))
            .ok()
    }

    /// Parses a duration within these limits, or returns the default of the variable. An invalid
    /// value adds a problem.
    pub fn duration(
        &mut self,
        variable: Variable,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        self.parse(variable, |text| match duration(text) {
            Some(time) if range.contains(&time) => Ok(time),
            _ => Err(format!(
                "must be a duration from {:?} to {:?}, such as {}; it is “{text}”",
                range.start(),
                range.end(),
                variable.default,
            )),
        })
        .unwrap_or_else(|| duration(variable.default).expect("the default is a valid duration"))
    }

    /// Returns the default of an absent variable if the program is embedded, and adds a problem if
    /// it is deployed. `None`: a problem was added, or the variable is set but invalid, for which a
    /// problem exists already.
    pub(super) fn unless_deployed<T>(
        &mut self,
        mode: Mode,
        variable: Variable,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match mode {
            _ if self.text(variable).is_some() => None, // invalid, and already reported
            Mode::Embedded => Some(default()),
            Mode::Deployed => {
                let why = "it must be set when PUBLIC_URL is not a loopback address";
                self.missing(variable, why);
                None
            }
        }
    }

    /// Parses a whole number within these limits. `None`: it is absent or invalid; the latter adds a
    /// problem.
    pub fn number(&mut self, variable: Variable, least: u64, most: u64) -> Option<u64> {
        self.parse(variable, |text| number(text, least, most))
    }

    pub(super) fn missing(&mut self, variable: Variable, why: &str) {
        self.problems.push(format!("{} is missing: {why}", variable.name));
    }

    pub(super) fn github(&mut self) -> Option<GitHubSettings> {
        let client_id = self.text(GITHUB_CLIENT_ID);
        let client_secret = self.text(GITHUB_CLIENT_SECRET);
        let url = self.parse(GITHUB_URL, base_url);
        let api_url = self.parse(GITHUB_API_URL, base_url);
        // A user who signs in at one GitHub instance must not be looked up at another one.
        if url.is_some() && self.text(GITHUB_API_URL).is_none() {
            self.missing(GITHUB_API_URL, "it must be set when GITHUB_URL is");
        }
        if client_id.is_none() && client_secret.is_some() {
            self.missing(GITHUB_CLIENT_ID, "it must be set when GITHUB_CLIENT_SECRET is");
        }
        if client_secret.is_none() && client_id.is_some() {
            self.missing(GITHUB_CLIENT_SECRET, "it must be set when GITHUB_CLIENT_ID is");
        }
        Some(GitHubSettings {
            client_id: client_id?,
            client_secret: Secret::new(client_secret?),
            url: url.unwrap_or_else(|| GITHUB_URL.default.into()),
            api_url: api_url.unwrap_or_else(|| GITHUB_API_URL.default.into()),
        })
    }

    /// Adds a problem if no identity provider is configured, which a deployed program needs. One
    /// that is configured in part has a problem already.
    pub(super) fn require_identity_provider(&mut self) {
        let is_set = |variable: &Variable| self.text(*variable).is_some();
        let is_oidc = |name: &String| oidc_variable(name).is_some() && self.text_of(name).is_some();
        if [GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET].iter().any(is_set)
            || self.names.iter().any(is_oidc)
        {
            return;
        }
        let [github_id, github_secret, issuer, client_id] =
            [GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET, OIDC_ISSUER, OIDC_CLIENT_ID]
                .map(|variable| variable.name);
        self.problems.push(format!(
            "{github_id} and {github_secret}, or {issuer} and {client_id}, must be set when \
             PUBLIC_URL is not a loopback address: users sign in at an identity provider"
        ));
    }

    /// Reads the proxies. The names of their variables are also accepted in lower case, as by other
    /// programs.
    pub(super) fn proxies(&mut self) -> Proxies {
        let [https, http] = [HTTPS_PROXY, HTTP_PROXY].map(|variable| {
            ProxyUrl::parse(&self.text_in_any_case(variable)?)
                .map_err(|problem| self.problems.push(format!("{} {problem}", variable.name)))
                .ok()
        });
        Proxies::new(https, http, &self.text_in_any_case(NO_PROXY).unwrap_or_default())
    }

    fn text_in_any_case(&self, variable: Variable) -> Option<String> {
        self.text(variable).or_else(|| self.text_of(&variable.name.to_ascii_lowercase()))
    }

    pub(super) fn model(&mut self) -> Option<ModelSettings> {
        let model = self.text(LLM_MODEL);
        let url = self.parse(LLM_URL, base_url);
        let given = self.text(LLM_URL).is_some();
        if given && model.is_none() {
            self.missing(LLM_MODEL, "it must be set when LLM_URL is");
        }
        if !given && (model.is_some() || self.text(LLM_API_KEY).is_some()) {
            self.missing(LLM_URL, "it must be set when LLM_MODEL or LLM_API_KEY is");
        }
        let api_key = self.text(LLM_API_KEY).map(Secret::new);
        Some(ModelSettings { url: url?, model: model?, api_key })
    }

    pub(super) fn traces(&mut self) -> Option<TraceSettings> {
        let endpoint = self.parse(OTEL_EXPORTER_OTLP_ENDPOINT, collector);
        let headers = self.parse(OTEL_EXPORTER_OTLP_HEADERS, headers);
        let ratio = self.parse(OTEL_TRACES_SAMPLER_ARG, sampling_ratio);
        if headers.is_some() && self.text(OTEL_EXPORTER_OTLP_ENDPOINT).is_none() {
            let why = "it must be set when OTEL_EXPORTER_OTLP_HEADERS is";
            self.missing(OTEL_EXPORTER_OTLP_ENDPOINT, why);
        }
        Some(TraceSettings {
            endpoint: endpoint?,
            headers: headers.unwrap_or_default(),
            share: ratio.unwrap_or(1.0),
        })
    }

    /// Returns the signing secret in use, followed by earlier ones, newest first; never an empty
    /// list. `None`: a problem exists, so no secret was generated.
    pub(super) fn signing_secrets(&mut self, mode: Mode, data_dir: &Path) -> Option<Vec<Secret>> {
        let secrets = self.parse(JWT_SIGNING_SECRET, signing_secrets);
        if secrets.is_some() {
            return secrets;
        }
        let may_generate = self.unless_deployed(mode, JWT_SIGNING_SECRET, || ()).is_some();
        if !may_generate || !self.problems.is_empty() {
            return None;
        }
        generated_secret(data_dir)
            .map(|secret| vec![secret])
            .map_err(|problem| self.problems.push(format!("{} {problem}", DATA_DIR.name)))
            .ok()
    }
}
