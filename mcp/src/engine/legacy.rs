//! Legacy sessions: 2025-11-25, 2025-06-18 and 2025-03-26.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, QUICK,
    exchange::{Decision, Exchange, LEASE, LegacyOutlet},
    follow::Follower,
    hashed,
    operation::{
        Failure, Method, Operation, Output, progress_token, read_params, resource_not_found,
    },
};
use crate::{
    call::{Call, CallContext},
    caller::Caller,
    headers,
    question::{Answer, Question},
    reply::{About, Reply, ReplyBody},
    rpc::{self, Message, Request, RequestId, RpcError},
    store::{
        Answered, EventId, MAX_SUBSCRIPTIONS, Session, SessionId, Signal, StoreError, StreamId,
        StreamKey, SuspendedCall, random_id,
    },
    types::{ClientCapabilities, Implementation, LogLevel},
    version::ProtocolVersion,
};

/// How long a user has to answer a question.
const QUESTION_TTL: Duration = Duration::from_mins(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams {
    protocol_version: String,
    capabilities: ClientCapabilities,
    client_info: Option<Implementation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    protocol_version: &'static str,
    capabilities: Value,
    server_info: &'a Implementation,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

#[derive(Serialize)]
struct Empty {}

/// `initialize`: agrees on a revision and makes a session.
pub(super) async fn initialize(
    engine: &Arc<Inner>,
    caller: Caller,
    request: &Request<'_>,
) -> Reply {
    let about = About {
        era: Some("legacy"),
        method: Some("initialize"),
        ..About::default()
    };
    let params: InitializeParams = match read_params("initialize", request.params) {
        Ok(params) => params,
        Err(error) => {
            return Reply::error(StatusCode::OK, Some(&request.id), &error).with_about(about);
        }
    };
    let version = params
        .protocol_version
        .parse()
        .ok()
        .filter(|it: &ProtocolVersion| !it.is_modern())
        .unwrap_or(ProtocolVersion::LATEST_LEGACY);
    let id = SessionId::random();
    let session = Session {
        user: caller.user,
        version,
        capabilities: params.capabilities,
        client_info: params.client_info,
        log_level: LogLevel::Info,
        subscriptions: std::collections::BTreeSet::new(),
    };
    if let Err(error) = engine.stores.sessions.create(&id, &session).await {
        return Reply::store_away(Some(&request.id), &error).with_about(about);
    }
    let info = engine.catalog.info();
    let mut implementation = info.implementation.clone();
    if version < ProtocolVersion::V2025_11_25 {
        implementation.icons = Vec::new();
        implementation.description = None;
        implementation.website_url = None;
    }
    if version < ProtocolVersion::V2025_06_18 {
        implementation.title = None;
    }
    let result = InitializeResult {
        protocol_version: version.as_str(),
        capabilities: engine.capabilities(),
        server_info: &implementation,
        instructions: info.instructions.as_deref(),
    };
    let mut reply = Reply::json(StatusCode::OK, rpc::encode_result(&request.id, &result));
    reply.session = Some(id.as_str().to_owned());
    reply.with_about(About {
        session: Some(hashed(&id)),
        ..about
    })
}

/// A session that the request names and may use.
struct Entered {
    id: SessionId,
    session: Session,
}

/// Finds the session of a request: 400 without one, 404 for one that is unknown, ended or somebody
/// else's (2025-11-25, basic/transports, "Session Management").
async fn enter(
    engine: &Inner,
    caller: &Caller,
    headers: &HeaderMap,
    request: Option<&RequestId>,
) -> Result<Entered, Reply> {
    if let Some(version) = headers::get(headers, headers::PROTOCOL_VERSION)
        && !version
            .parse()
            .is_ok_and(|it: ProtocolVersion| !it.is_modern())
    {
        let error = RpcError::invalid_request(format!(
            "the header `MCP-Protocol-Version` names a version that has no sessions here; served \
             are {}",
            ProtocolVersion::names().join(", ")
        ));
        return Err(Reply::bad_request(request, &error));
    }
    let Some(sent) = headers::get(headers, headers::SESSION_ID) else {
        let error = RpcError::invalid_request(
            "the header `Mcp-Session-Id` is missing: send `initialize` first, then its session \
             with every request",
        );
        return Err(Reply::bad_request(request, &error));
    };
    let unknown = || {
        let error =
            RpcError::invalid_request("this session has ended or never was; initialize again");
        Reply::error(StatusCode::NOT_FOUND, request, &error)
    };
    let id = SessionId::parse(sent).ok_or_else(unknown)?;
    match engine.stores.sessions.load(&id).await {
        Ok(Some(session)) if session.user == caller.user => Ok(Entered { id, session }),
        Ok(_) => Err(unknown()),
        Err(error) => Err(Reply::store_away(request, &error)),
    }
}

/// One message of a legacy session.
pub(super) async fn message(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    message: Message<'_>,
) -> Reply {
    let id = match &message {
        Message::Request(request) => Some(&request.id),
        Message::Notification { .. } | Message::Response { .. } => None,
    };
    let mut about = About {
        era: Some("legacy"),
        ..About::default()
    };
    let entered = match enter(engine, &caller, headers, id).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    about.session = Some(hashed(&entered.id));
    match message {
        Message::Request(request) => {
            let accepted = headers::accepted(headers);
            requests(
                engine,
                caller,
                entered,
                vec![request],
                false,
                accepted,
                about,
            )
            .await
        }
        Message::Notification { method, params } => {
            about.method = notification(engine, &entered, &method, params).await;
            Reply::accepted().with_about(about)
        }
        Message::Response { id, outcome } => response(engine, caller, &entered, id, outcome)
            .await
            .with_about(about),
    }
}

/// A batch (2025-03-26 only).
pub(super) async fn batch(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    messages: Vec<Message<'_>>,
) -> Reply {
    let mut about = About {
        era: Some("legacy"),
        ..About::default()
    };
    let entered = match enter(engine, &caller, headers, None).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    about.session = Some(hashed(&entered.id));
    if entered.session.version != ProtocolVersion::V2025_03_26 {
        let error = RpcError::invalid_request(format!(
            "batches exist in 2025-03-26 only, and this session speaks {}",
            entered.session.version
        ));
        return Reply::bad_request(None, &error).with_about(about);
    }
    let mut requested = Vec::new();
    for message in messages {
        match message {
            Message::Request(request) => requested.push(request),
            Message::Notification { method, params } => {
                notification(engine, &entered, &method, params).await;
            }
            Message::Response { id, outcome } => {
                let reply = response(engine, caller.clone(), &entered, id, outcome).await;
                if !reply.status.is_success() {
                    return reply.with_about(about);
                }
            }
        }
    }
    if requested.is_empty() {
        return Reply::accepted().with_about(about);
    }
    let accepted = headers::accepted(headers);
    requests(engine, caller, entered, requested, true, accepted, about).await
}

/// What a request turned out to be.
enum Task {
    /// Answered already.
    Answered { answer: Vec<u8>, error: Option<i64> },
    /// To be run.
    Run {
        operation: Operation,
        progress_token: Option<RequestId>,
    },
}

async fn requests(
    engine: &Arc<Inner>,
    caller: Caller,
    mut entered: Entered,
    requested: Vec<Request<'_>>,
    batch: bool,
    accepted: headers::Accepted,
    mut about: About,
) -> Reply {
    let mut tasks = Vec::new();
    for request in requested {
        let id = Some(&request.id);
        let task = match prepare(engine, &caller, &entered, &request, &mut about).await {
            Ok(task) => task,
            Err(Stop::Rpc(error)) => Task::Answered {
                answer: rpc::encode_error(id, &error),
                error: Some(error.code),
            },
            Err(Stop::Scope(scope)) => {
                return Reply::insufficient_scope(id, scope).with_about(about);
            }
            Err(Stop::Away(error)) => return Reply::store_away(id, &error).with_about(about),
        };
        tasks.push((request.id, task));
    }
    if !accepted.events {
        // A client that takes no stream cannot be asked anything.
        entered.session.capabilities = ClientCapabilities::default();
    }
    if !batch
        && accepted.json
        && let [(_, Task::Answered { .. })] = tasks.as_slice()
        && let Some((_, Task::Answered { answer, error })) = tasks.pop()
    {
        about.error = error;
        return Reply::json(StatusCode::OK, answer).with_about(about);
    }
    let key = StreamKey {
        session: entered.id.clone(),
        stream: StreamId::random(),
    };
    let pending = tasks.iter().map(|it| it.0.clone()).collect();
    let (exchange, decision) =
        Exchange::new(Arc::clone(engine), key, pending, batch, accepted.events);
    let session = Arc::new(entered.session);
    for (request, task) in tasks {
        match task {
            Task::Answered { answer, .. } => exchange.finish(&request, Some(answer)).await,
            Task::Run {
                operation,
                progress_token,
            } => {
                let run = Run {
                    engine: Arc::clone(engine),
                    exchange: Arc::clone(&exchange),
                    session: Arc::clone(&session),
                    caller: caller.clone(),
                    request,
                    operation,
                    progress_token,
                    answers: BTreeMap::new(),
                    progress: None,
                };
                engine.busy.spawn(run.run());
            }
        }
    }
    let decided = Decide {
        accepted,
        version: session.version,
        caller: &caller,
    };
    decided
        .reply(engine, &exchange, decision)
        .await
        .with_about(about)
}

/// Waits for the answer to become JSON or a stream.
struct Decide<'a> {
    accepted: headers::Accepted,
    version: ProtocolVersion,
    caller: &'a Caller,
}

impl Decide<'_> {
    async fn reply(
        &self,
        engine: &Arc<Inner>,
        exchange: &Arc<Exchange>,
        mut decision: tokio::sync::oneshot::Receiver<Decision>,
    ) -> Reply {
        let patience = if self.accepted.json {
            QUICK
        } else {
            Duration::ZERO
        };
        let decided = match tokio::time::timeout(patience, &mut decision).await {
            Ok(decided) => decided,
            Err(_elapsed) => {
                let exchange = Arc::clone(exchange);
                let opening = async move {
                    if let Err(error) = exchange.open_stream().await {
                        tracing::warn!(error = %error, "A stream could not be opened: {error}");
                    }
                };
                // On its own, because it waits until we follow the stream.
                engine.busy.spawn(opening);
                decision.await
            }
        };
        let follow = |after| {
            Follower::start(
                engine,
                exchange.key.clone(),
                self.version,
                self.caller,
                after,
            )
        };
        match decided {
            Ok(Decision::Json(body)) => Reply::json(StatusCode::OK, body),
            Ok(Decision::Stream { listening }) => match follow(0).await {
                Ok(follower) => {
                    if listening.send(()).is_err() {
                        tracing::debug!("The call went on before its client listened");
                    }
                    Reply::new(StatusCode::OK, ReplyBody::Events(follower.into_body()))
                }
                Err(error) => Reply::store_away(None, &error),
            },
            // The client cancelled, and wants no answer: an event stream without events.
            Ok(Decision::Nothing) => {
                let nothing = futures_util::stream::iter([crate::sse::comment()]);
                Reply::new(StatusCode::OK, ReplyBody::Events(Box::pin(nothing)))
            }
            Err(_call_panicked) => Reply::error(StatusCode::OK, None, &RpcError::internal()),
        }
    }
}

/// Why a request is not run.
enum Stop {
    /// The request is answered with an error; others of its batch go on.
    Rpc(RpcError),
    /// The token lacks this scope.
    Scope(&'static str),
    /// Nothing can be done now.
    Away(StoreError),
}

impl From<RpcError> for Stop {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Away(error)
    }
}

#[derive(Deserialize)]
struct LevelParams {
    level: LogLevel,
}

/// Answers what can be answered at once, and prepares the rest.
async fn prepare(
    engine: &Arc<Inner>,
    caller: &Caller,
    entered: &Entered,
    request: &Request<'_>,
    about: &mut About,
) -> Result<Task, Stop> {
    let version = entered.session.version;
    let sessions = &engine.stores.sessions;
    let answered = |answer| {
        Ok(Task::Answered {
            answer,
            error: None,
        })
    };
    if let Some(method) = Method::parse(&request.method) {
        about.method = Some(method.name());
        let operation = Operation::prepare(engine, version, method, request.params)
            .map_err(|unusable| unusable.error)?;
        about.target = operation.target(engine);
        allow(caller, operation.scope(engine))?;
        if operation.is_list() {
            return answered(rpc::encode_result(
                &request.id,
                &engine.list(&operation, version)?,
            ));
        }
        return Ok(Task::Run {
            operation,
            progress_token: progress_token(request.params),
        });
    }
    match &*request.method {
        "ping" => about.method = Some("ping"),
        "logging/setLevel" => {
            about.method = Some("logging/setLevel");
            let params: LevelParams = read_params("logging/setLevel", request.params)?;
            sessions.set_log_level(&entered.id, params.level).await?;
        }
        "resources/subscribe" => {
            about.method = Some("resources/subscribe");
            let uri = followed(engine, caller, version, request)?;
            if !sessions.subscribe(&entered.id, &uri).await? {
                return Err(RpcError::invalid_request(format!(
                    "a session follows at most {MAX_SUBSCRIPTIONS} resources; unsubscribe from \
                     some first"
                ))
                .into());
            }
        }
        "resources/unsubscribe" => {
            about.method = Some("resources/unsubscribe");
            let uri = followed(engine, caller, version, request)?;
            sessions.unsubscribe(&entered.id, &uri).await?;
        }
        "initialize" => {
            let error = "`initialize` stands alone, never in a batch";
            return Err(RpcError::invalid_request(error).into());
        }
        method => return Err(RpcError::method_not_found(method).into()),
    }
    answered(rpc::encode_result(&request.id, &Empty {}))
}

fn allow(caller: &Caller, scope: &'static str) -> Result<(), Stop> {
    if caller.may(scope) {
        Ok(())
    } else {
        Err(Stop::Scope(scope))
    }
}

/// The URI of a resource that the caller may follow.
fn followed(
    engine: &Inner,
    caller: &Caller,
    version: ProtocolVersion,
    request: &Request<'_>,
) -> Result<String, Stop> {
    #[derive(Deserialize)]
    struct Params {
        uri: String,
    }
    let Params { uri } = read_params(&request.method, request.params)?;
    let (index, _) = engine
        .catalog
        .find_resource(&uri)
        .ok_or_else(|| resource_not_found(&uri, version))?;
    allow(caller, engine.catalog.resources()[index].scope)?;
    Ok(uri)
}

/// A notification gets no answer, whatever it says.
async fn notification(
    engine: &Arc<Inner>,
    entered: &Entered,
    method: &str,
    params: Option<&RawValue>,
) -> Option<&'static str> {
    match method {
        "notifications/cancelled" => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Params {
                request_id: RequestId,
            }
            if let Ok(Params { request_id }) = read_params(method, params) {
                cancel(engine, &entered.id, request_id).await;
            }
            Some("notifications/cancelled")
        }
        "notifications/initialized" => Some("notifications/initialized"),
        "notifications/progress" => Some("notifications/progress"),
        "notifications/roots/list_changed" => Some("notifications/roots/list_changed"),
        _ => None,
    }
}

/// Stops a call wherever it runs, and takes it away if it waits for the client.
async fn cancel(engine: &Arc<Inner>, session: &SessionId, request: RequestId) {
    match engine.stores.questions.withdraw(session, &request).await {
        Ok(Some(call)) => {
            let key = StreamKey {
                session: session.clone(),
                stream: call.stream,
            };
            if let Err(error) = engine.stores.log.finish(&key, &request, None).await {
                tracing::warn!(error = %error, "A cancelled call could not be closed: {error}");
            }
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(error = %error, "A waiting call could not be cancelled: {error}");
        }
    }
    let request = Some(request);
    engine
        .publish(Signal::Cancelled {
            session: session.clone(),
            request,
        })
        .await;
}

/// The client answers a question of ours. Answers that come twice, late, or for another session
/// change nothing.
async fn response(
    engine: &Arc<Inner>,
    caller: Caller,
    entered: &Entered,
    id: Option<RequestId>,
    outcome: Result<&RawValue, &RawValue>,
) -> Reply {
    let Some(RequestId::String(question)) = id else {
        return Reply::accepted();
    };
    let parsed = match outcome {
        Ok(result) => serde_json::from_str(result.get()).map(Answer::Result),
        Err(error) => serde_json::from_str(error.get()).map(Answer::Error),
    };
    let answer = match parsed {
        Ok(answer) => answer,
        Err(error) => {
            let error = RpcError::invalid_request(format!("the answer cannot be read: {error}"));
            return Reply::bad_request(None, &error);
        }
    };
    match engine
        .stores
        .questions
        .answer(&entered.id, &question, answer)
        .await
    {
        Ok(Answered::Complete(call)) => {
            go_on(engine, caller, entered, *call).await;
            Reply::accepted()
        }
        Ok(Answered::Waiting | Answered::Unknown) => Reply::accepted(),
        Err(error) => Reply::store_away(None, &error),
    }
}

/// Runs a call again from the start, now that its questions are answered.
async fn go_on(engine: &Arc<Inner>, caller: Caller, entered: &Entered, call: SuspendedCall) {
    let key = StreamKey {
        session: entered.id.clone(),
        stream: call.stream,
    };
    let exchange = Exchange::resumed(Arc::clone(engine), key);
    exchange.renew().await;
    let params = call.params.as_deref();
    let version = entered.session.version;
    let operation = Method::parse(&call.method)
        .and_then(|method| Operation::prepare(engine, version, method, params).ok());
    let Some(operation) = operation else {
        // Another version of this server asked, and its tool is gone.
        let error = RpcError::invalid_params("what was called is no longer offered");
        let answer = rpc::encode_error(Some(&call.request), &error);
        exchange.finish(&call.request, Some(answer)).await;
        return;
    };
    let run = Run {
        engine: Arc::clone(engine),
        exchange,
        session: Arc::new(entered.session.clone()),
        // The rights of now: the token may have been narrowed since.
        caller,
        request: call.request,
        operation,
        progress_token: progress_token(params),
        answers: call.answers,
        progress: call.progress,
    };
    engine.busy.spawn(run.run());
}

/// One run of a legacy request, on its own task: it goes on when the client's connection is lost.
struct Run {
    engine: Arc<Inner>,
    exchange: Arc<Exchange>,
    session: Arc<Session>,
    caller: Caller,
    request: RequestId,
    operation: Operation,
    progress_token: Option<RequestId>,
    answers: BTreeMap<String, Answer>,
    progress: Option<f64>,
}

impl Run {
    async fn run(mut self) {
        let registration = self
            .engine
            .running
            .register(&self.exchange.key.session, &self.request);
        let call = self.call(registration.cancel.clone());
        let engine = Arc::clone(&self.engine);
        let work = engine.run(&self.operation, &call);
        let outcome = tokio::select! {
            biased;
            () = registration.cancel.cancelled() => None,
            outcome = work => Some(outcome),
            () = keep_lease(&self.exchange) => None,
        };
        let answer = match outcome {
            None => None,
            Some(Ok(output)) => Some(self.encode(&output)),
            Some(Err(Failure::Rpc(error))) => Some(rpc::encode_error(Some(&self.request), &error)),
            Some(Err(Failure::InputRequired(questions))) => {
                match self.suspend(call, questions).await {
                    Ok(()) => return,
                    Err(error) => Some(rpc::encode_error(Some(&self.request), &error)),
                }
            }
        };
        self.exchange.finish(&self.request, answer).await;
    }

    fn encode(&self, output: &Output<'_>) -> Vec<u8> {
        rpc::encode_result(&self.request, output)
    }

    fn call(&mut self, cancel: CancellationToken) -> Call {
        Call::new(CallContext {
            caller: self.caller.clone(),
            version: self.session.version,
            capabilities: self.session.capabilities.clone(),
            progress_token: self.progress_token.clone(),
            log_level: Some(self.session.log_level),
            answers: std::mem::take(&mut self.answers),
            progress: self.progress,
            cancel,
            outlet: Box::new(LegacyOutlet {
                exchange: Arc::clone(&self.exchange),
            }),
        })
    }

    /// Asks the client and forgets the call: whoever gets the answers goes on with it.
    async fn suspend(
        &self,
        call: Call,
        questions: BTreeMap<String, Question>,
    ) -> Result<(), RpcError> {
        let away = |error: crate::StoreError| {
            tracing::error!(error = %error, "A question could not be stored: {error}");
            RpcError::unavailable()
        };
        if !self.exchange.open_stream().await.map_err(away)? {
            return Err(RpcError::invalid_request(
                "this call asks the user something, which needs a client that accepts \
                 `text/event-stream`",
            ));
        }
        let version = self.session.version;
        let mut open = BTreeMap::new();
        let mut messages = Vec::new();
        for (key, question) in questions {
            // Random, never counted: two calls of one session may ask on two instances.
            let id = random_id();
            let params = question.params(version, Some(&id));
            messages.push(rpc::encode_request(&id, question.method(), params.as_ref()));
            open.insert(id, key);
        }
        let (progress, answers) = call.into_progress_and_answers();
        let suspended = SuspendedCall {
            stream: self.exchange.key.stream.clone(),
            request: self.request.clone(),
            method: self.method().to_owned(),
            params: self.operation.to_params(self.progress_token.as_ref()),
            caller: self.caller.clone(),
            answers,
            open,
            progress,
        };
        let stores = &self.engine.stores;
        let key = &self.exchange.key;
        stores
            .questions
            .suspend(&key.session, &suspended, QUESTION_TTL)
            .await
            .map_err(away)?;
        stores
            .log
            .renew(key, QUESTION_TTL + LEASE)
            .await
            .map_err(away)?;
        for message in messages {
            stores.log.append(key, &message).await.map_err(away)?;
        }
        Ok(())
    }

    fn method(&self) -> &'static str {
        match self.operation {
            Operation::CallTool { .. } => Method::CallTool.name(),
            Operation::GetPrompt { .. } => Method::GetPrompt.name(),
            _ => Method::ReadResource.name(),
        }
    }
}

/// Never ends.
async fn keep_lease(exchange: &Exchange) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        exchange.renew().await;
    }
}

/// `GET`: opens the standalone stream, or resumes any stream of the session.
pub(super) async fn get(engine: &Arc<Inner>, caller: Caller, headers: &HeaderMap) -> Reply {
    let about = About {
        era: Some("legacy"),
        method: Some("GET"),
        ..About::default()
    };
    if let Some(reply) = refuse_modern(headers) {
        return reply;
    }
    if !headers::accepted(headers).events {
        let error = RpcError::invalid_request("GET opens a stream: accept `text/event-stream`");
        return Reply::error(StatusCode::NOT_ACCEPTABLE, None, &error).with_about(about);
    }
    let entered = match enter(engine, &caller, headers, None).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    let about = About {
        session: Some(hashed(&entered.id)),
        ..about
    };
    if engine.drain.is_cancelled() {
        let error = RpcError::invalid_request("this instance is shutting down; try again now");
        return Reply::error(StatusCode::SERVICE_UNAVAILABLE, None, &error).with_about(about);
    }
    let last = match headers::get(headers, headers::LAST_EVENT_ID).map(EventId::parse) {
        None => EventId {
            stream: StreamId::standalone(),
            number: 0,
        },
        Some(Some(id)) => id,
        Some(None) => {
            let error = RpcError::invalid_request("`Last-Event-ID` is not an event id of ours");
            return Reply::bad_request(None, &error).with_about(about);
        }
    };
    let resumes = headers.contains_key(headers::LAST_EVENT_ID);
    let key = StreamKey {
        session: entered.id,
        stream: last.stream,
    };
    match engine.stores.log.read(&key, last.number, 1).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            let error = RpcError::invalid_request(
                "the stream of this `Last-Event-ID` has expired; call again",
            );
            return Reply::bad_request(None, &error).with_about(about);
        }
        Err(error) => return Reply::store_away(None, &error).with_about(about),
    }
    let version = entered.session.version;
    match Follower::start(engine, key, version, &caller, last.number).await {
        Ok(mut follower) => {
            follower.take_over(resumes).await;
            Reply::new(StatusCode::OK, ReplyBody::Events(follower.into_body())).with_about(about)
        }
        Err(error) => Reply::store_away(None, &error).with_about(about),
    }
}

/// `DELETE`: ends the session, its streams and its calls, wherever they are.
pub(super) async fn delete(engine: &Arc<Inner>, caller: &Caller, headers: &HeaderMap) -> Reply {
    let about = About {
        era: Some("legacy"),
        method: Some("DELETE"),
        ..About::default()
    };
    if let Some(reply) = refuse_modern(headers) {
        return reply;
    }
    let entered = match enter(engine, caller, headers, None).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    let about = About {
        session: Some(hashed(&entered.id)),
        ..about
    };
    if let Err(error) = engine.stores.sessions.delete(&entered.id).await {
        return Reply::store_away(None, &error).with_about(about);
    }
    let session = entered.id;
    engine
        .publish(Signal::Cancelled {
            session: session.clone(),
            request: None,
        })
        .await;
    engine.publish(Signal::SessionEnded(session.clone())).await;
    if let Err(error) = engine.stores.log.forget(&session).await {
        // They expire by themselves, and nobody can reach them any more.
        tracing::warn!(error = %error, "The streams of an ended session remain: {error}");
    }
    Reply::new(StatusCode::NO_CONTENT, ReplyBody::Empty).with_about(about)
}

/// 2026-07-28 has neither GET nor DELETE.
fn refuse_modern(headers: &HeaderMap) -> Option<Reply> {
    let version = headers::get(headers, headers::PROTOCOL_VERSION)?;
    if !ProtocolVersion::names_modern(version) {
        return None;
    }
    let error = RpcError::invalid_request(format!("{version} has no GET and no DELETE; use POST"));
    let about = About {
        era: Some("modern"),
        ..About::default()
    };
    Some(Reply::error(StatusCode::METHOD_NOT_ALLOWED, None, &error).with_about(about))
}
