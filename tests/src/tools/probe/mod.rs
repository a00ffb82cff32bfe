//! `probe URL_A URL_B` shows what survives between two instances of an MCP server (docs/probe.md). It shares
//! no code with the product, and judges only by what a client receives.

mod client;
mod instances;
mod report;
mod scenarios;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tests::processes::{Fleet, Kind, Plan};

use self::{
    client::Endpoint,
    instances::{Commands, Instances},
    report::Row,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The MCP endpoint of instance A, which is killed. Without both URLs, the probe starts this product.
    #[arg(requires = "url_b")]
    url_a: Option<String>,
    /// The MCP endpoint of instance B.
    #[arg(requires = "url_a")]
    url_b: Option<String>,
    /// The access token, if the server needs one.
    #[arg(long)]
    token: Option<String>,
    /// A tool that runs for some seconds and reports its progress at least four times.
    #[arg(long, value_name = "NAME", default_value = "slow")]
    slow: String,
    /// Its arguments, as JSON.
    #[arg(long = "slow-arguments", value_name = "JSON", default_value = "{}")]
    slow_input: String,
    /// A tool that asks the user with a form (elicitation).
    #[arg(long, value_name = "NAME", default_value = "ask")]
    ask: String,
    /// Its arguments, as JSON.
    #[arg(long = "ask-arguments", value_name = "JSON", default_value = "{}")]
    ask_input: String,
    /// A tool that runs as a task (2025-11-25) for some seconds. By default the slow tool.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Its arguments, as JSON.
    #[arg(long = "task-arguments", value_name = "JSON", default_value = "{}")]
    task_input: String,
    /// A shell command that kills instance A like `kill -9`. Without it, some rows are not run.
    #[arg(long, value_name = "COMMAND", requires = "start_a")]
    kill_a: Option<String>,
    /// A shell command that starts instance A again, in the background.
    #[arg(long, value_name = "COMMAND", requires = "kill_a")]
    start_a: Option<String>,
    /// A shell command that kills the process that runs tasks. By default instance A is killed.
    #[arg(long, value_name = "COMMAND", requires = "start_worker")]
    kill_worker: Option<String>,
    /// A shell command that starts it again, in the background.
    #[arg(long, value_name = "COMMAND", requires = "kill_worker")]
    start_worker: Option<String>,
    /// The process id of instance A, for its memory per session. Linux only.
    #[arg(long, value_name = "PID")]
    pid_a: Option<u32>,
}

/// A tool and the arguments with which the probe calls it.
#[derive(Clone, Debug)]
struct Tool {
    name: String,
    arguments: Value,
}

impl Tool {
    fn new(name: impl Into<String>, arguments: Value) -> Self {
        Self { name: name.into(), arguments }
    }

    fn read(name: &str, arguments: &str) -> anyhow::Result<Self> {
        let arguments = serde_json::from_str(arguments)
            .with_context(|| format!("the arguments of `{name}` are not JSON: {arguments}"))?;
        Ok(Self::new(name, arguments))
    }
}

/// What the probe needs to know about a server.
struct Setup {
    a: Endpoint,
    b: Endpoint,
    slow: Tool,
    ask: Tool,
    task: Tool,
}

#[expect(clippy::print_stdout, reason = "this is its result")]
pub(crate) async fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (setup, mut instances) = match (&arguments.url_a, &arguments.url_b) {
        (Some(a), Some(b)) => given(arguments, a, b)?,
        _ => this_product().await,
    };
    let mut rows: Vec<Row> = Vec::new();
    scenarios::run(&setup, &mut instances, |row| {
        println!("{row}");
        rows.push(row);
    })
    .await?;
    println!("\n{}", report::table(&rows));
    let failed = rows.iter().any(Row::has_failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The instances that the user has named.
fn given(arguments: &Arguments, a: &str, b: &str) -> anyhow::Result<(Setup, Instances)> {
    let endpoint = |url: &str| Endpoint::new(url, arguments.token.clone());
    let slow = Tool::read(&arguments.slow, &arguments.slow_input)?;
    let setup = Setup {
        a: endpoint(a)?,
        b: endpoint(b)?,
        ask: Tool::read(&arguments.ask, &arguments.ask_input)?,
        task: match &arguments.task {
            Some(name) => Tool::read(name, &arguments.task_input)?,
            None => slow.clone(),
        },
        slow,
    };
    let pair = |kill: &Option<String>, start: &Option<String>| {
        Commands::new(kill.as_ref(), start.as_ref())
    };
    let instances = Instances::Given {
        a: pair(&arguments.kill_a, &arguments.start_a),
        worker: pair(&arguments.kill_worker, &arguments.start_worker),
        pid_a: arguments.pid_a,
    };
    Ok((setup, instances))
}

/// Two instances and two workers of this product, with the tools of the tests.
async fn this_product() -> (Setup, Instances) {
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(2);
    let fleet: Fleet = plan.with("RATE_LIMIT_PER_MINUTE", "0").start().await;
    let token = fleet.token("probe").await;
    let endpoint = |index: usize| {
        Endpoint::new(&fleet.web(index).mcp(), Some(token.clone())).expect("it is a URL")
    };
    let count = json!({ "steps": 10, "pause_ms": 400 });
    let setup = Setup {
        a: endpoint(0),
        b: endpoint(1),
        slow: Tool::new("test_count", count.clone()),
        ask: Tool::new("test_elicitation", json!({ "message": "Who are you?" })),
        task: Tool::new("test_count_job", count),
    };
    (setup, Instances::Fleet(Box::new(fleet)))
}
