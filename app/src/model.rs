//! A language model of the operator's choice, behind an endpoint with the chat completions API of
//! `OpenAI`, which most hosts and local servers offer. Used for work for which the client offers no
//! model.
//!
//! Each request is limited in time and size. The caller decides whether to retry: a job is retried
//! with increasing delays.

use std::{fmt, sync::OnceLock, time::Duration};

use mcp::trace::TRACED;
use platform::{
    outgoing::{self, Answered, client_builder},
    proxies::Proxies,
};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::json;
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::config::ModelSettings;

/// The timeout of a request: a local model writes a page in a minute or two.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(3);

/// The timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a response, in bytes. A page of text has a few kilobytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The maximum length of an error text of the endpoint in the log, in characters.
const MAX_LOGGED: usize = 300;

/// A configured model.
pub struct Model {
    settings: ModelSettings,
    proxies: Proxies,
    /// The name of the program, for the `User-Agent`.
    program: &'static str,
    /// Created at the first request: reading the certificates of the system takes a while.
    http: OnceLock<Result<reqwest::Client, String>>,
}

/// Why there is no completion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The endpoint is busy, unreachable or too slow; a retry may succeed.
    #[error("the model is not available: {0}")]
    Unavailable(String),
    /// The endpoint rejects the request, or its response cannot be used; the operator has to act.
    #[error("the endpoint of the model rejects the request: {0}")]
    Refused(String),
}

impl ModelError {
    /// The value of `error.type` in a trace.
    fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
        }
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl Model {
    /// A model with these settings. Connects at the first request.
    pub fn new(settings: ModelSettings, proxies: Proxies, program: &'static str) -> Self {
        Self { settings, proxies, program, http: OnceLock::new() }
    }

    /// The name of the model.
    pub fn name(&self) -> &str {
        &self.settings.model
    }

    /// Asks the model to complete a text, with a system prompt.
    pub async fn complete(&self, system: &str, text: &str) -> Result<String, ModelError> {
        let span = self.span();
        let completion = self.request(system, text).instrument(span.clone()).await;
        completion.inspect_err(|error| outgoing::failed(&span, error.kind()))
    }

    /// The span of a completion. It contains neither the prompt nor the completion.
    fn span(&self) -> Span {
        info_span!(
            target: TRACED,
            "completion",
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai", // the API, not the vendor of the model
            gen_ai.request.model = self.name(),
            error.r#type = Empty,
        )
    }

    async fn request(&self, system: &str, text: &str) -> Result<String, ModelError> {
        let body = json!({
            "model": self.settings.model,
            "messages": [
                { "role": "system", "content": system },
                { "role": "user", "content": text },
            ],
        });
        let mut request =
            self.http()?.post(format!("{}/chat/completions", self.settings.url)).json(&body);
        if let Some(key) = &self.settings.api_key {
            request = request.bearer_auth(key.expose());
        }
        let response = outgoing::send(request).await.map_err(|error| unavailable(&error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(|delay| format!(", Retry-After: {delay}"))
            .unwrap_or_default();
        let body = read(response).await?;
        match status {
            StatusCode::OK => completion_text(&body),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(ModelError::Unavailable(format!("it responds with {status}{retry_after}")))
            }
            status if status.is_server_error() => {
                Err(ModelError::Unavailable(format!("it responds with {status}{retry_after}")))
            }
            status => {
                let body: String = String::from_utf8_lossy(&body)
                    .chars()
                    .filter(|character| !character.is_control())
                    .take(MAX_LOGGED)
                    .collect();
                tracing::warn!(
                    status = status.as_u16(),
                    body,
                    "The endpoint of LLM_URL rejected a request"
                );
                Err(ModelError::Refused(format!("it responds with {status}")))
            }
        }
    }

    fn build_client(&self) -> reqwest::Result<reqwest::Client> {
        client_builder(&self.proxies)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(format!("{}/{}", self.program, env!("CARGO_PKG_VERSION")))
            .build()
    }

    fn http(&self) -> Result<&reqwest::Client, ModelError> {
        self.http
            .get_or_init(|| self.build_client().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| {
                tracing::error!(%error, "Could not create the HTTP client for LLM_URL");
                ModelError::Refused("this server cannot send requests to it".into())
            })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

async fn read(response: Answered) -> Result<Vec<u8>, ModelError> {
    let body = response.body(MAX_RESPONSE_BYTES).await.map_err(|error| unavailable(&error))?;
    body.ok_or_else(|| ModelError::Refused("its response is larger than 1 MB".into()))
}

fn completion_text(body: &[u8]) -> Result<String, ModelError> {
    let completion: Completion = serde_json::from_slice(body)
        .map_err(|_other| ModelError::Refused("its response is not a chat completion".into()))?;
    let text = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
    match text.map(|text| text.trim().to_owned()) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(ModelError::Unavailable("its response is empty".into())),
    }
}

fn unavailable(error: &reqwest::Error) -> ModelError {
    let why =
        if error.is_timeout() { "it does not respond in time" } else { "it does not respond" };
    tracing::warn!(
        dependency = "model", error = ?error,
        "The endpoint of LLM_URL did not respond"
    );
    ModelError::Unavailable(why.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use platform::proxies::fake;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_model_that_never_responds_is_unavailable() {
        // The kernel accepts the connection, and the test never reads from it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let settings = ModelSettings { url, model: "slow".into(), api_key: None };
        let model = Model::new(settings, Proxies::default(), "test");
        let result = model.complete("system", "text").await;
        assert_eq!(result, Err(ModelError::Unavailable("it does not respond in time".into())));
    }

    #[test]
    fn a_completion_is_the_text_of_the_first_choice() {
        let body = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":" Tea. "}}]}"#;
        assert_eq!(completion_text(body), Ok("Tea.".to_owned()));
        for empty in [r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
            assert!(
                matches!(completion_text(empty.as_bytes()), Err(ModelError::Unavailable(_))),
                "{empty}"
            );
        }
        for other in ["", "{}", "<html>", r#"{"error":{"message":"no"}}"#] {
            assert!(
                matches!(completion_text(other.as_bytes()), Err(ModelError::Refused(_))),
                "{other}"
            );
        }
    }

    #[tokio::test]
    async fn requests_to_a_model_use_the_proxy() {
        let (proxies, head) = fake::start(r#"{"choices": [{"message": {"content": "Tea."}}]}"#);
        let url = "http://llm.example.com/v1".to_owned();
        let settings = ModelSettings { url, model: "small".into(), api_key: None };
        let model = Model::new(settings, proxies, "test");
        assert_eq!(model.complete("system", "text").await, Ok("Tea.".to_owned()));
        let line = "POST http://llm.example.com/v1/chat/completions HTTP/1.1";
        assert!(fake::is_request(&head.join().unwrap(), line));
    }
}
