//! A call of a job tool as a task of a modern client: it polls the task or listens to its changes,
//! answers with `tasks/update`, and cancels with `tasks/cancel`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::{Duration, timeout};

use super::{
    ANY, Request,
    call::input_responses,
    listen::TaskStream,
    wire::{Answer, Task},
};
use crate::{
    client::{Client, RETRY},
    plan::ToolKind,
    properties::Property,
    random::Random,
    record::{Fate, ModernRecord},
    tasks::PATIENCE,
    world::pass,
};

/// How often a client calls a tool again whose task handle was lost.
const MAX_ATTEMPTS: u64 = 4;

/// How often a client sends its answers again.
const MAX_UPDATES: u64 = 100;

/// The longest pause between two polls, in milliseconds.
const POLL: u64 = 900;

/// Calls a tool as a task, and follows it to its end. `cancel`: cancels it after this time in
/// milliseconds.
pub(crate) async fn task(
    client: Arc<Client>,
    part: u64,
    tool: ToolKind,
    cancel: Option<u64>,
    mut random: Random,
) {
    let (steps, pause) = (random.below(5), random.below(2_000));
    for attempt in 0..MAX_ATTEMPTS {
        let key = format!("task {part}.{attempt}");
        let params = format!(
            r#""name":"{}","arguments":{{"key":"{key}","steps":{steps},"pause":{pause}}},"#,
            tool.name()
        );
        let mut record = ModernRecord::new(key, tool, steps, 0);
        record.is_task = true;
        let request = Request {
            method: "tools/call",
            name: Some(tool.name()),
            params: &params,
            has_tasks: true,
            accept: ANY,
        };
        match client.ask_modern(&mut random, &client.user(), request).await {
            None => {}
            Some(Answer::Started(task)) => {
                client.see_task(&task.id);
                let following = Following {
                    client: Arc::clone(&client),
                    id: task.id,
                    record,
                    answered: BTreeSet::new(),
                    ended: None,
                };
                return client.record_modern(following.follow(&mut random, cancel).await);
            }
            Some(Answer::Complete(outcome @ Err(_))) => {
                record.fate = Fate::Answered;
                record.responses.push(outcome);
                return client.record_modern(record);
            }
            Some(other) => {
                let what = format!("{}: became no task: {other:?}", record.key);
                client.world().violated(Property::OneResponse, what);
            }
        }
        client.record_modern(record);
        pass(random.below(RETRY)).await;
    }
}

struct Following {
    client: Arc<Client>,
    id: String,
    record: ModernRecord,
    /// The questions whose answers were acknowledged.
    answered: BTreeSet<String>,
    /// The status in which the task has ended.
    ended: Option<String>,
}

impl Following {
    async fn follow(mut self, random: &mut Random, cancel: Option<u64>) -> ModernRecord {
        let client = Arc::clone(&self.client);
        let world = client.world();
        let mut cancel = cancel.map(|after| world.now() + after);
        let listens = random.chance(500);
        loop {
            if cancel.is_some_and(|at| world.now() >= at)
                && self.send(random, "tasks/cancel", "").await
            {
                cancel = None;
                self.record.closed_at = Some(world.now());
            }
            // A client that is about to cancel must not wait for changes.
            if listens && cancel.is_none() && self.ended.is_none() {
                self.listen(random).await;
            }
            if let Some(task) = self.get(random).await
                && let Some(outcome) = self.on_state(random, task).await
            {
                self.record.responses.push(outcome);
                self.record.fate = Fate::Answered;
                return self.record;
            }
            if world.is_calm_for(PATIENCE) {
                let what = format!("{} has not ended after {PATIENCE} ms", self.record.key);
                world.violated(Property::EveryWaitEnds, what);
                return self.record;
            }
            pass(random.between(RETRY, POLL)).await;
        }
    }

    /// Sends a request about the task that is only acknowledged. `false`: it must be repeated.
    async fn send(&self, random: &mut Random, method: &'static str, params: &str) -> bool {
        let params = format!(r#""taskId":"{}",{params}"#, self.id);
        let request =
            Request { method, name: Some(&self.id), params: &params, has_tasks: true, accept: ANY };
        match self.client.ask_modern(random, &self.client.user(), request).await {
            Some(Answer::Complete(Ok(_))) => true,
            Some(Answer::Complete(Err(_))) | None => false,
            Some(other) => {
                let what = format!("{}: {method}: {other:?}", self.record.key);
                self.client.world().violated(Property::OneResponse, what);
                false
            }
        }
    }

    async fn get(&self, random: &mut Random) -> Option<Task> {
        let params = format!(r#""taskId":"{}","#, self.id);
        let request = Request {
            method: "tasks/get",
            name: Some(&self.id),
            params: &params,
            has_tasks: true,
            accept: ANY,
        };
        match self.client.ask_modern(random, &self.client.user(), request).await? {
            Answer::Read(task) => Some(task),
            other => {
                let what = format!("{}: tasks/get: {other:?}", self.record.key);
                self.client.world().violated(Property::OnlyLostWithInstance, what);
                None
            }
        }
    }

    /// Listens until the task has ended, or the stream has. Answers questions.
    async fn listen(&mut self, random: &mut Random) {
        let client = Arc::clone(&self.client);
        let Some(mut stream) = TaskStream::open(&client, random, &self.id).await else {
            return;
        };
        let id = self.id.clone();
        let listening = async {
            while let Some(task) = stream.next(&client, &id).await {
                if self.on_state(random, task).await.is_some() || self.ended.is_some() {
                    return;
                }
            }
        };
        // The end of a task is sent even if its signal was lost.
        if timeout(Duration::from_millis(PATIENCE), listening).await.is_err()
            && client.world().is_calm()
        {
            let what = format!("{} has no news for {PATIENCE} ms", self.record.key);
            client.world().violated(Property::EveryWaitEnds, what);
        }
    }

    /// Checks and answers. Returns the outcome once the task has been seen twice in its last state.
    async fn on_state(
        &mut self,
        random: &mut Random,
        task: Task,
    ) -> Option<Result<String, String>> {
        let world = Arc::clone(self.client.world());
        if let Some(before) = &self.ended
            && *before != task.status
        {
            let what = format!("{}: {} after {before}", self.record.key, task.status);
            world.violated(Property::OneEnd, what);
        }
        if task.has_ended() {
            let is_known = self.ended.replace(task.status.clone()).is_some();
            return is_known.then(|| task.outcome());
        }
        if self.record.closed_at.is_some() {
            let what = format!("{}: {} after its cancellation", self.record.key, task.status);
            world.violated(Property::CancelledIsSilent, what);
        }
        let open = task.questions();
        if let Some(again) = open.iter().find(|key| self.answered.contains(*key)) {
            let what = format!("{}: the question {again} is asked twice", self.record.key);
            world.violated(Property::OneAnswer, what);
        }
        if !open.is_empty() {
            self.answer(random, &open).await;
        }
        None
    }

    async fn answer(&mut self, random: &mut Random, open: &[String]) {
        let mut params = || {
            let answers: BTreeMap<_, _> =
                open.iter().map(|key| (key.clone(), format!("v{}", random.below(1_000)))).collect();
            self.record.answers.extend(answers.values().cloned());
            format!(r#""inputResponses":{},"#, input_responses(&answers))
        };
        let (one, other) = (params(), params());
        let is_twice = random.chance(250);
        pass(random.below(2_000)).await;
        let mut randoms = [Random::new(random.next()), Random::new(random.next())];
        let [first, second] = &mut randoms;
        let mut is_acknowledged = if is_twice {
            let (one, other) = tokio::join!(
                self.send(first, "tasks/update", &one),
                self.send(second, "tasks/update", &other),
            );
            one || other
        } else {
            self.send(first, "tasks/update", &one).await
        };
        // A client that listens for changes of the task is not asked again.
        for _ in 0..MAX_UPDATES {
            if is_acknowledged {
                break;
            }
            pass(RETRY).await;
            is_acknowledged = self.send(first, "tasks/update", &one).await;
        }
        if is_acknowledged {
            self.answered.extend(open.iter().cloned());
        }
    }
}
