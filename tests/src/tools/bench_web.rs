//! `bench-web` is the product as [`bench_instructions`](crate::bench_instructions) measures it: notes, without
//! the worker that an instance on a loopback address has, and with two trivial tools.

use std::sync::Arc;

use app::{App, Dependencies, config::Config, metrics};
use mcp::{
    Call, Catalog, Engine, Implementation, NoInput, ServerInfo, Text, Tool, ToolAnnotations,
    ToolError,
};
use platform::clock::SystemClock;

use crate::serving;

/// The number of notifications of `bench_progress`.
const STEPS: u32 = 5;

/// Returns a text.
struct ReturnText;

impl Tool<()> for ReturnText {
    const NAME: &'static str = "bench_text";
    const TITLE: &'static str = "Text";
    const DESCRIPTION: &'static str = "Returns a text.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = NoInput;
    type Output = Text;

    async fn call(&self, _: &Call, (): &(), _: NoInput) -> Result<Text, ToolError> {
        Ok(Text("hello".to_owned()))
    }
}

/// Reports progress five times.
struct ReportProgress;

impl Tool<()> for ReportProgress {
    const NAME: &'static str = "bench_progress";
    const TITLE: &'static str = "Progress";
    const DESCRIPTION: &'static str = "Reports progress five times.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = NoInput;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), _: NoInput) -> Result<Text, ToolError> {
        for step in 1..=STEPS {
            call.progress(f64::from(step), Some(f64::from(STEPS)), None).await;
        }
        Ok(Text("done".to_owned()))
    }
}

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(&notes::product())?;
    let telemetry = config.start_telemetry("bench")?;
    metrics::start(&config.product);
    let listener = serving::bind(&config).await?;
    let (stores, given) = Dependencies::configured(&config, Arc::new(SystemClock))?;
    let app = App::connect_with(&config, given).await?;
    let info = ServerInfo {
        implementation: Implementation {
            name: "bench".to_owned(),
            title: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: None,
            website_url: None,
            icons: Vec::new(),
        },
        instructions: None,
    };
    let own = Catalog::new(info).with((), &[&ReturnText, &ReportProgress], &[], &[]);
    let engine = Engine::new(app.catalog().join(own), stores, app::mcp_settings(&app));
    serving::until_terminated(listener, app, engine).await?;
    telemetry.end().await;
    Ok(())
}
