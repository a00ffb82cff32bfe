//! rmcp, axum and sqlx, without authentication. `peer-rmcp stateless` answers with JSON; `peer-rmcp sessions`
//! keeps sessions of earlier revisions in memory and answers with event streams.

use peers::{CreateInput, EchoInput, ListInput, Note, Notes, Page};
use rmcp::{
    Json, ServerHandler,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};

#[derive(Clone)]
struct Peer {
    notes: Notes,
    tool_router: ToolRouter<Self>,
}

#[tool_router(router = tool_router)]
impl Peer {
    #[tool(name = "notes_list", description = "Lists notes")]
    async fn list(&self, Parameters(input): Parameters<ListInput>) -> Result<Json<Page>, String> {
        self.notes.list(input).await.map(Json).map_err(|error| error.to_string())
    }

    #[tool(name = "notes_create", description = "Creates a note")]
    async fn create(
        &self,
        Parameters(input): Parameters<CreateInput>,
    ) -> Result<Json<Note>, String> {
        self.notes.create(input).await.map(Json).map_err(|error| error.to_string())
    }

    #[tool(name = "echo", description = "Returns its argument")]
    async fn echo(&self, Parameters(input): Parameters<EchoInput>) -> String {
        input.text
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Peer {}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let sessions = std::env::args().nth(1).is_some_and(|mode| mode == "sessions");
    let peer = Peer { notes: Notes::from_env()?, tool_router: Peer::tool_router() };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(sessions)
        .with_json_response(true);
    let service: StreamableHttpService<Peer, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(peer.clone()), Default::default(), config);
    peers::serve(axum::Router::new().nest_service("/mcp", service)).await
}
