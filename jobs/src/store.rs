//! The queue as an implementation of the engine's job store.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use mcp::{
    ClientAnswer, StoreError, UserId,
    job::{Job, JobId, JobPage, NewJob, NotEnqueued},
};
use serde_json::Value;

use crate::{answer, cancel, convert::store_error, enqueue::enqueue, queue::Queue, read};

/// The engine's view of a queue.
pub fn store(queue: &Queue) -> Arc<dyn mcp::job::Jobs> {
    Arc::new(Store(queue.clone()))
}

struct Store(Queue);

#[async_trait]
impl mcp::job::Jobs for Store {
    async fn enqueue(&self, job: NewJob) -> Result<Job, NotEnqueued> {
        enqueue(&self.0, job).await
    }

    async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        read::get(&self.0, user, id).await.map_err(store_error)
    }

    async fn list_of_tools(
        &self,
        user: &UserId,
        tools: Option<&[&str]>,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        read::list(&self.0, user, tools, after, max).await.map_err(store_error)
    }

    async fn find_unfinished(
        &self,
        user: &UserId,
        tool: &str,
        arguments: &Value,
    ) -> Result<Option<Job>, StoreError> {
        read::find_unfinished(&self.0, user, tool, arguments).await.map_err(store_error)
    }

    async fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, ClientAnswer>,
    ) -> Result<Option<Job>, StoreError> {
        answer::answer(&self.0, user, id, answers).await.map_err(store_error)
    }

    async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        cancel::cancel(&self.0, user, id).await.map_err(store_error)
    }
}
