//! The thread that owns the database: everything that waits goes into one transaction, then everybody is answered.

use super::database::{Database, Medium};
use super::job::{Job, Outcome};
use super::{Error, JOBS_WAITING, Loaded, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc;
use tracing::{error, warn};

/// Jobs of one transaction at most: so many records are a few MiB, written in milliseconds, and the first of them waits no
/// longer for the last.
const BATCH: usize = 1_024;

/// Starts the thread; returns once the database is read.
pub(super) fn start(medium: Medium) -> Result<(Store, Loaded), Error> {
    let (jobs, waiting) = mpsc::channel(JOBS_WAITING);
    let (opened, result) = std::sync::mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || run(medium, waiting, opened));
    spawned.map_err(|error| Error(format!("starting the store's thread: {error}")))?;
    let loaded = result
        .recv()
        .map_err(|_| Error("the store's thread ended".to_owned()))??;
    Ok((Store { jobs }, loaded))
}

/// redb may panic on a file that was damaged from outside; that must not look like anything but a damaged file.
fn guarded<T>(medium: &Medium, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error(format!("{medium}: the database is damaged"))))
}

fn run(medium: Medium, mut jobs: mpsc::Receiver<Job>, opened: SyncSender<Result<Loaded, Error>>) {
    let mut database = match guarded(&medium, || Database::open(&medium)) {
        Ok((database, loaded)) => {
            let _ = opened.send(Ok(loaded));
            Some(database)
        }
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    drop(opened);
    let mut batch = Vec::new();
    while let Some(first) = jobs.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        match guarded(&medium, || perform(&medium, &mut database, &batch)) {
            Ok(outcomes) => {
                for (job, outcome) in batch.drain(..).zip(outcomes) {
                    job.reply.answer(outcome);
                }
            }
            Err(why) => {
                error!(error = %why, jobs = batch.len(), "nothing is stored");
                // After a failed write redb wants the file opened anew.
                database = None;
                for job in batch.drain(..) {
                    job.reply.refuse(why.clone());
                }
            }
        }
    }
}

fn perform(medium: &Medium, database: &mut Option<Database>, batch: &[Job]) -> Result<Vec<Outcome>, Error> {
    let database = match database {
        Some(database) => database,
        None => {
            let (opened, _) = Database::open(medium)?;
            warn!(store = %medium, "opened anew");
            database.insert(opened)
        }
    };
    database
        .perform(batch.iter().map(|job| &job.work))
        .map_err(|error| medium.failed("writing", &error))
}
