//! The calls that are measured.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{
    browser::{Browser, ClientApp, Code, answer, encode},
    client::Web,
};

use super::{
    callgrind::pause,
    connection::{Connection, post},
    pace::PAUSE,
    servers::{PUBLIC_URL, Setup},
};

/// A call that is measured.
pub(super) struct Path {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The path of the floor with which it is compared.
    pub(super) floor: Option<&'static str>,
    /// The path of rmcp with which it is compared.
    pub(super) peer: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A plain request with this path and body.
    Plain(&'static str, &'static str),
    /// `tools/call` of 2026-07-28, with the name and the arguments of a tool.
    Modern(&'static str, &'static str),
    /// The same with a new token in each call.
    NewToken(&'static str, &'static str),
    /// The same with a progress token. The answer must contain five notifications.
    Progress(&'static str, &'static str),
    /// `tools/call` in a session of 2025-11-25.
    Legacy(&'static str, &'static str),
    /// The same with a progress token. The answer must contain five notifications.
    LegacyProgress(&'static str, &'static str),
    /// The exchange of a refresh token.
    Refresh,
}

const LIST: &str = r#"{"limit":20}"#;
const CREATE: &str =
    r#"{"title":"A note of the benchmark","body":"The quick brown fox jumps over the lazy dog."}"#;
const ECHO: &str = r#"{"text":"hello"}"#;

/// The paths of a server.
pub(super) fn of(server: &str) -> Vec<Path> {
    let path = |name, kind| Path { name, kind, floor: None, peer: None };
    let to_floor = |name, floor, kind| Path { name, kind, floor: Some(floor), peer: None };
    let to_both =
        |name, floor, peer, kind| Path { name, kind, floor: Some(floor), peer: Some(peer) };
    let (floor_list, floor_create, floor_echo) = ("floor: list", "floor: create", "floor: echo");
    let (rmcp_list, rmcp_create, rmcp_echo) =
        ("rmcp: modern list", "rmcp: modern create", "rmcp: modern echo");
    let (session_list, session_echo) = ("rmcp: session list", "rmcp: session echo");
    match server {
        "floor" => vec![
            path(floor_list, Kind::Plain("/list", LIST)),
            path(floor_create, Kind::Plain("/create", CREATE)),
            path(floor_echo, Kind::Plain("/echo", ECHO)),
        ],
        "rmcp" => vec![
            to_floor(rmcp_list, floor_list, Kind::Modern("notes_list", LIST)),
            to_floor(rmcp_create, floor_create, Kind::Modern("notes_create", CREATE)),
            to_floor(rmcp_echo, floor_echo, Kind::Modern("echo", ECHO)),
        ],
        "rmcp-sessions" => vec![
            to_floor(session_list, floor_list, Kind::Legacy("notes_list", LIST)),
            to_floor(session_echo, floor_echo, Kind::Legacy("echo", ECHO)),
        ],
        "tower-mcp" => vec![
            to_both("tower-mcp: modern echo", floor_echo, rmcp_echo, Kind::Modern("echo", ECHO)),
            to_both(
                "tower-mcp: session echo",
                floor_echo,
                session_echo,
                Kind::Legacy("echo", ECHO),
            ),
        ],
        "turbomcp" => vec![
            to_both("turbomcp: modern echo", floor_echo, rmcp_echo, Kind::Modern("echo", ECHO)),
            to_both("turbomcp: session echo", floor_echo, session_echo, Kind::Legacy("echo", ECHO)),
        ],
        "engine" => vec![
            to_both("engine: modern echo", floor_echo, rmcp_echo, Kind::Modern("echo", ECHO)),
            to_both("engine: session echo", floor_echo, session_echo, Kind::Legacy("echo", ECHO)),
        ],
        "product" => vec![
            to_both("modern list", floor_list, rmcp_list, Kind::Modern("notes_list", LIST)),
            to_both("session list", floor_list, session_list, Kind::Legacy("notes_list", LIST)),
            to_both("new token list", floor_list, rmcp_list, Kind::NewToken("notes_list", LIST)),
            to_both(
                "modern create",
                floor_create,
                rmcp_create,
                Kind::Modern("notes_create", CREATE),
            ),
            path("token refresh", Kind::Refresh),
            path("progress stream", Kind::Progress("bench_progress", "{}")),
            to_both("modern text", floor_echo, rmcp_echo, Kind::Modern("bench_text", "{}")),
            to_both("session text", floor_echo, session_echo, Kind::Legacy("bench_text", "{}")),
        ],
        "product-redis" => vec![
            to_both(
                "session list, Redis",
                floor_list,
                session_list,
                Kind::Legacy("notes_list", LIST),
            ),
            path("progress stream, Redis", Kind::LegacyProgress("bench_progress", "{}")),
        ],
        _ => Vec::new(),
    }
}

/// A client that calls one path.
pub(super) enum Caller {
    /// The same request every time, and what its answer must contain so often.
    Same { request: Vec<u8>, contains: &'static str, times: usize },
    /// Requests that are sent in this order, from the end.
    Each(Vec<Vec<u8>>),
    /// The exchange of the token that the previous answer contained.
    Refresh { client: ClientApp, token: String },
}

impl Caller {
    pub(super) async fn new(kind: Kind, setup: &Setup, port: u16) -> anyhow::Result<Self> {
        let token = &setup.tokens[0];
        let same = |request| Self::Same { request, contains: r#""content""#, times: 1 };
        let with_progress =
            |request| Self::Same { request, contains: "notifications/progress", times: 5 };
        Ok(match kind {
            Kind::Plain(path, body) => {
                same(post(path, &[("Content-Type", "application/json")], body))
            }
            Kind::Modern(tool, arguments) => same(modern(token, tool, arguments, "")),
            Kind::Progress(tool, arguments) => {
                with_progress(modern(token, tool, arguments, r#","progressToken":"p""#))
            }
            Kind::NewToken(tool, arguments) => Self::Each(
                setup.tokens.iter().map(|token| modern(token, tool, arguments, "")).collect(),
            ),
            Kind::Legacy(tool, arguments) => {
                same(legacy(&initialize(port, token)?, token, tool, arguments, ""))
            }
            Kind::LegacyProgress(tool, arguments) => {
                let session = initialize(port, token)?;
                let meta = r#","_meta":{"progressToken":"p"}"#;
                with_progress(legacy(&session, token, tool, arguments, meta))
            }
            Kind::Refresh => {
                let (client, token) = sign_in(port).await?;
                Self::Refresh { client, token }
            }
        })
    }

    /// Sends the next request and returns the body of the answer.
    pub(super) fn call(&mut self, connection: &mut Connection) -> anyhow::Result<String> {
        let (request, contains, times) = match self {
            Self::Same { request, contains, times } => (request.clone(), *contains, *times),
            Self::Each(requests) => (requests.pop().context("too few tokens")?, r#""content""#, 1),
            Self::Refresh { client, token } => {
                let form = encode(&client.refreshing(token));
                let headers = [("Content-Type", "application/x-www-form-urlencoded")];
                (post("/token", &headers, &form), "refresh_token", 1)
            }
        };
        pause(PAUSE); // until the server waits for a request
        let response = connection.send(&request)?;
        let found = response.body.matches(contains).count();
        ensure!(response.status == 200 && found == times, "{}: {}", response.status, response.body);
        if let Self::Refresh { token, .. } = self {
            let answer: Value = serde_json::from_str(&response.body)?;
            answer["refresh_token"].as_str().context("no refresh token")?.clone_into(token);
        }
        Ok(response.body)
    }
}

fn modern(token: &str, tool: &str, arguments: &str, meta: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}{meta}}}}}}}"#
    );
    mcp(
        token,
        &[("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", tool)],
        &body,
    )
}

fn legacy(
    session: &[(String, String)],
    token: &str,
    tool: &str,
    arguments: &str,
    meta: &str,
) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{meta}}}}}"#
    );
    let headers: Vec<_> =
        session.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    mcp(token, &headers, &body)
}

fn mcp(token: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let mut all = vec![
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    all.extend(headers);
    post("/mcp", &all, body)
}

/// Begins a session and returns the headers of its requests.
fn initialize(port: u16, token: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut connection = Connection::open(port)?;
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
    let response = connection.send(&mcp(token, &[], body))?;
    ensure!(response.status == 200, "{}: {}", response.status, response.body);
    let mut headers = vec![("MCP-Protocol-Version".to_owned(), "2025-11-25".to_owned())];
    if let Some(id) = response.header("mcp-session-id") {
        headers.push(("Mcp-Session-Id".to_owned(), id.to_owned()));
    }
    let borrowed: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let response = Connection::open(port)?.send(&mcp(token, &borrowed, body))?;
    ensure!(response.status == 202, "{}: {}", response.status, response.body);
    Ok(headers)
}

/// Registers a client and signs in with the sign-in of development. Returns a refresh token.
async fn sign_in(port: u16) -> anyhow::Result<(ClientApp, String)> {
    let web = Web::new(format!("http://127.0.0.1:{port}"));
    let client = ClientApp::register(&web).await;
    let asked = client.asks();
    let redirect = Browser::of(PUBLIC_URL, &web).follow(&asked.path()).await;
    let code = answer(&redirect).remove("code").context("no code")?;
    let code = Code { code, verifier: asked.verifier, client_app: client.clone() };
    let tokens = code.redeem(&web).await.json();
    let token = tokens["refresh_token"].as_str().context("no refresh token")?.to_owned();
    Ok((client, token))
}
