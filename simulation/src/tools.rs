//! The tools of the simulation. Their effects are recorded in the world.

use std::time::Duration;

use mcp::{
    AnyResource, AnyTool, Call, Catalog, Implementation, MatchedUri, Question, Resource,
    ResourceContents, RunMode, ServerInfo, Signal, Text, Tool, ToolAnnotations, ToolError,
    job::{Child, JobOutcome},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{json, value::to_raw_value};

use super::{node::Node, world::pass};

/// The URI of the resource that `touch` changes.
pub(super) const URI: &str = "sim://touched";

/// The catalog of every instance.
pub(super) fn catalog() -> Catalog {
    let implementation = Implementation {
        name: "simulation".to_owned(),
        title: None,
        version: "1".to_owned(),
        description: None,
        website_url: None,
        icons: Vec::new(),
    };
    Catalog::new(ServerInfo { implementation, instructions: None }).with((), TOOLS, RESOURCES, &[])
}

static TOOLS: &[&dyn AnyTool<()>] =
    &[&Steps, &Effect, &Ask, &AskTwo, &Touch, &SimulatedJob, &JobAsk, &Family];

static RESOURCES: &[&dyn AnyResource<()>] = &[&Touched];

/// The resource that `touch` changes.
struct Touched;

impl Resource<()> for Touched {
    const URI: &'static str = URI;
    const NAME: &'static str = "touched";
    const TITLE: &'static str = "Touched";
    const DESCRIPTION: &'static str = "Changes when `touch` is called.";
    const MIME_TYPE: &'static str = "text/plain";

    async fn read(
        &self,
        _: &Call,
        (): &(),
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        Err(ToolError::NotFound(uri.uri.clone()))
    }
}

/// The arguments of a call: what it is called in the trace, and how long it takes.
#[derive(Deserialize, JsonSchema)]
struct Input {
    /// The key of the effect.
    key: String,
    /// The number of steps.
    steps: u32,
    /// The duration of a step in milliseconds.
    pause: u64,
}

/// Works in steps and reports progress.
async fn work(call: &Call, input: &Input) {
    for step in 1..=input.steps {
        pass(input.pause).await;
        call.progress(f64::from(step), Some(f64::from(input.steps)), None).await;
    }
}

/// Takes effect in the world outside, which takes a moment.
async fn take_effect(key: &str, value: &str) {
    let node = Node::current();
    let (before, after) = node.draw(|random| (random.below(4), random.below(4)));
    pass(before).await;
    node.world.effect(key, value.to_owned());
    pass(after).await;
}

struct Steps;

impl Tool<()> for Steps {
    const NAME: &'static str = "steps";
    const TITLE: &'static str = "Steps";
    const DESCRIPTION: &'static str = "Only reads.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        work(call, &input).await;
        Ok(Text("done".to_owned()))
    }
}

struct Effect;

impl Tool<()> for Effect {
    const NAME: &'static str = "effect";
    const TITLE: &'static str = "Effect";
    const DESCRIPTION: &'static str = "Takes effect once per call.";
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        work(call, &input).await;
        take_effect(&input.key, "done").await;
        Ok(Text("done".to_owned()))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Form {
    /// What to do.
    value: String,
}

struct Ask;

impl Tool<()> for Ask {
    const NAME: &'static str = "ask";
    const TITLE: &'static str = "Ask";
    const DESCRIPTION: &'static str = "Asks, then takes effect.";
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        let answer = call.elicit::<Form>("first", "Which value?")?;
        work(call, &input).await;
        let Some(Form { value }) = answer.accepted() else {
            return Err(ToolError::Failed("declined".to_owned()));
        };
        take_effect(&input.key, &value).await;
        Ok(Text(value))
    }
}

struct AskTwo;

impl Tool<()> for AskTwo {
    const NAME: &'static str = "ask_two";
    const TITLE: &'static str = "Ask twice";
    const DESCRIPTION: &'static str = "Asks two questions at once, then takes effect.";
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        pass(input.pause / 4).await;
        call.progress(0.5, None, None).await;
        call.ask("first", Question::elicit::<Form>("Which value?"))?;
        call.ask("second", Question::elicit::<Form>("And which other value?"))?;
        call.settle()?;
        let first = call.elicit::<Form>("first", "Which value?")?.accepted();
        let second = call.elicit::<Form>("second", "And which other value?")?.accepted();
        work(call, &input).await;
        let (Some(first), Some(second)) = (first, second) else {
            return Err(ToolError::Failed("declined".to_owned()));
        };
        let both = format!("{} {}", first.value, second.value);
        take_effect(&input.key, &both).await;
        Ok(Text(both))
    }
}

struct Touch;

impl Tool<()> for Touch {
    const NAME: &'static str = "touch";
    const TITLE: &'static str = "Touch";
    const DESCRIPTION: &'static str = "Changes a resource.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), _: Input) -> Result<Text, ToolError> {
        let user = call.user().clone();
        call.publish(Signal::ResourceListChanged { user: user.clone() }).await;
        call.publish(Signal::ResourceUpdated { user, uri: URI.to_owned() }).await;
        Ok(Text("done".to_owned()))
    }
}

/// A job that may be lost with its worker several times.
const JOB: RunMode = RunMode::Job { timeout: Duration::from_mins(2), attempts: 6 };

/// Works from the last checkpoint on, and stores a checkpoint after each step.
async fn work_on(call: &Call, input: &Input) -> Result<(), ToolError> {
    let done: u32 = call.checkpoint().unwrap_or(0);
    for step in done + 1..=input.steps {
        pass(input.pause).await;
        call.progress(f64::from(step), Some(f64::from(input.steps)), None).await;
        call.save(&step).await?;
    }
    Ok(())
}

/// Takes effect in the transaction of a checkpoint: exactly once, however often workers die.
async fn take_effect_in_job(call: &Call, input: &Input, value: &str) -> Result<(), ToolError> {
    let (Some((job, attempt)), Some(queue)) = (call.attempt(), Node::current().queue()) else {
        return Err(ToolError::Failed("not a job".to_owned()));
    };
    // The effect is the step after the last.
    let last = input.steps + 1;
    if call.checkpoint::<u32>().is_some_and(|done| done >= last) {
        return Ok(());
    }
    match queue.effect((job, attempt), &json!(last), (&input.key, value)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ToolError::Retry("superseded".to_owned())),
        Err(_) => Err(ToolError::Retry("the database is unavailable".to_owned())),
    }
}

struct SimulatedJob;

impl Tool<()> for SimulatedJob {
    const NAME: &'static str = "job";
    const TITLE: &'static str = "Job";
    const DESCRIPTION: &'static str = "Works in a worker, then takes effect.";
    const RUN: RunMode = JOB;
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        work_on(call, &input).await?;
        take_effect_in_job(call, &input, "done").await?;
        Ok(Text("done".to_owned()))
    }
}

struct JobAsk;

impl Tool<()> for JobAsk {
    const NAME: &'static str = "job_ask";
    const TITLE: &'static str = "Job that asks";
    const DESCRIPTION: &'static str = "Works in a worker, asks, then takes effect.";
    const RUN: RunMode = JOB;
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        work_on(call, &input).await?;
        let Some(Form { value }) = call.elicit::<Form>("first", "Which value?")?.accepted() else {
            return Err(ToolError::Failed("declined".to_owned()));
        };
        take_effect_in_job(call, &input, &value).await?;
        Ok(Text(value))
    }
}

/// The key of the effect of a child.
pub(super) fn child_key(key: &str, index: u64) -> String {
    format!("{key} child {index}")
}

/// The number of children of a family with this number of steps.
pub(super) fn family_size(steps: u64) -> u64 {
    steps.clamp(1, 3)
}

struct Family;

impl Tool<()> for Family {
    const NAME: &'static str = "family";
    const TITLE: &'static str = "Family";
    const DESCRIPTION: &'static str = "Starts child jobs, waits for them, then takes effect.";
    const RUN: RunMode = JOB;
    type Input = Input;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), input: Input) -> Result<Text, ToolError> {
        let children = (0..family_size(input.steps.into())).map(|index| {
            let key = child_key(&input.key, index);
            let arguments = json!({ "key": key, "steps": 1, "pause": input.pause });
            let arguments = to_raw_value(&arguments).map_err(ToolError::internal)?;
            Ok(Child { tool: SimulatedJob::NAME.to_owned(), arguments })
        });
        let children = children.collect::<Result<_, ToolError>>()?;
        for outcome in call.children("part", children)? {
            if !matches!(outcome, JobOutcome::Result { is_error: false, .. }) {
                return Err(ToolError::Failed(format!("a child failed: {outcome:?}")));
            }
        }
        take_effect_in_job(call, &input, "done").await?;
        Ok(Text("done".to_owned()))
    }
}
