//! A language model of the operator's choice, behind an endpoint with the chat completions API of
//! `OpenAI`, which most hosts and local servers offer. For work that no client's model can do.
//!
//! One request, limited in time and size. The caller decides whether to retry: a job is retried with
//! growing delays.

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
const ANSWER_TIMEOUT: Duration = Duration::from_mins(3);

/// The timeout of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a response, in bytes. A page of text has a few kilobytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The maximum length of an error text of the endpoint in the log, in characters.
const SHOWN: usize = 300;

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
    /// Busy, unreachable or too slow: a retry may succeed.
    #[error("the model is not available: {0}")]
    Away(String),
    /// The endpoint rejects the request, or its response is unusable: the operator has to act.
    #[error("the model's endpoint refuses: {0}")]
    Refused(String),
}

impl ModelError {
    /// The value of `error.type` in a trace.
    fn kind(&self) -> &'static str {
        match self {
            Self::Away(_) => "unavailable",
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
        let span = self.traced();
        let said = self.ask(system, text).instrument(span.clone()).await;
        said.inspect_err(|error| outgoing::failed(&span, error.kind()))
    }

    /// The span of a completion. It contains neither the prompt nor the completion.
    fn traced(&self) -> Span {
        info_span!(
            target: TRACED,
            "completion",
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "openai", // whose interface it is, whoever answers
            gen_ai.request.model = self.name(),
            error.r#type = Empty,
        )
    }

    async fn ask(&self, system: &str, text: &str) -> Result<String, ModelError> {
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
        let answered = outgoing::send(request).await.map_err(|it| away(&it))?;
        let status = answered.status();
        let retry_after = answered
            .headers()
            .get(RETRY_AFTER)
            .and_then(|it| it.to_str().ok())
            .map(|it| format!(", Retry-After: {it}"))
            .unwrap_or_default();
        let answer = read(answered).await?;
        match status {
            StatusCode::OK => said(&answer),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(ModelError::Away(format!("it answers {status}{retry_after}")))
            }
            status if status.is_server_error() => {
                Err(ModelError::Away(format!("it answers {status}{retry_after}")))
            }
            status => {
                let said: String = String::from_utf8_lossy(&answer)
                    .chars()
                    .filter(|it| !it.is_control())
                    .take(SHOWN)
                    .collect();
                tracing::warn!(
                    status = status.as_u16(),
                    said,
                    "The endpoint of LLM_URL refuses with {status}"
                );
                Err(ModelError::Refused(format!("it answers {status}")))
            }
        }
    }

    fn make_http(&self) -> reqwest::Result<reqwest::Client> {
        client_builder(&self.proxies)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(format!("{}/{}", self.program, env!("CARGO_PKG_VERSION")))
            .build()
    }

    fn http(&self) -> Result<&reqwest::Client, ModelError> {
        self.http
            .get_or_init(|| self.make_http().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| {
                tracing::error!("The endpoint of LLM_URL cannot be asked: {error}");
                ModelError::Refused("no request can be made".into())
            })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

async fn read(answered: Answered) -> Result<Vec<u8>, ModelError> {
    let answer = answered.body(MAX_ANSWER_BYTES).await.map_err(|it| away(&it))?;
    answer.ok_or_else(|| ModelError::Refused("its answer is larger than 1 MB".into()))
}

fn said(answer: &[u8]) -> Result<String, ModelError> {
    let completion: Completion = serde_json::from_slice(answer)
        .map_err(|_other| ModelError::Refused("its answer is not a chat completion".into()))?;
    let text = completion.choices.into_iter().next().and_then(|it| it.message.content);
    match text.map(|it| it.trim().to_owned()) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(ModelError::Away("its answer is empty".into())),
    }
}

fn away(error: &reqwest::Error) -> ModelError {
    let why = if error.is_timeout() { "it does not answer in time" } else { "it does not answer" };
    tracing::warn!(
        dependency = "model", error = ?error,
        "The endpoint of LLM_URL gave no answer: {error}"
    );
    ModelError::Away(why.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use platform::proxies::fake;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_model_that_never_answers_is_not_available() {
        // The system takes the connection, and nobody ever reads from it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let settings = ModelSettings { url, model: "slow".into(), api_key: None };
        let model = Model::new(settings, Proxies::default(), "test");
        let said = model.complete("system", "text").await;
        assert_eq!(said, Err(ModelError::Away("it does not answer in time".into())));
    }

    #[test]
    fn an_answer_is_the_text_of_the_first_choice() {
        let answer = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":" Tea. "}}]}"#;
        assert_eq!(said(answer), Ok("Tea.".to_owned()));
        for empty in [r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
            assert!(matches!(said(empty.as_bytes()), Err(ModelError::Away(_))), "{empty}");
        }
        for other in ["", "{}", "<html>", r#"{"error":{"message":"no"}}"#] {
            assert!(matches!(said(other.as_bytes()), Err(ModelError::Refused(_))), "{other}");
        }
    }

    #[tokio::test]
    async fn a_model_is_asked_through_a_proxy() {
        let (proxies, head) = fake::start(r#"{"choices": [{"message": {"content": "Tea."}}]}"#);
        let url = "http://llm.example.com/v1".to_owned();
        let settings = ModelSettings { url, model: "small".into(), api_key: None };
        let said = Model::new(settings, proxies, "test").complete("system", "text").await;
        assert_eq!(said, Ok("Tea.".to_owned()));
        let line = "POST http://llm.example.com/v1/chat/completions HTTP/1.1";
        assert!(fake::is_request(&head.join().unwrap(), line));
    }
}
