//! A store's end without a store: the test takes what is to be written, and answers.

use super::job::{Job, Reply, Work};
use super::{Change, Error, JOBS_WAITING, Store};
use tokio::sync::{mpsc, oneshot};

/// What a fake store was asked.
pub struct FakeStore(mpsc::Receiver<Job>);

type Answer = oneshot::Sender<Result<(), Error>>;

impl Store {
    pub fn fake() -> (Store, FakeStore) {
        let (jobs, taken) = mpsc::channel(JOBS_WAITING);
        (Store { jobs }, FakeStore(taken))
    }
}

impl FakeStore {
    /// The next change, and who waits for it.
    pub async fn change(&mut self) -> (Change, Answer) {
        loop {
            let job = self.0.recv().await.expect("somebody who writes");
            if let Some(change) = change(job) {
                return change;
            }
        }
    }

    /// One that is there.
    pub fn try_change(&mut self) -> Option<(Change, Answer)> {
        std::iter::from_fn(|| self.0.try_recv().ok()).find_map(change)
    }
}

fn change(job: Job) -> Option<(Change, Answer)> {
    match (job.work, job.reply) {
        (Work::Change(change), Reply::Done(answer)) => Some((*change, answer)),
        _ => None,
    }
}
