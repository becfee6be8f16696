//! The task that sends: steps of the [`Schedule`] become HTTP calls and writes of the store. Shell.

use super::client::Client;
use super::guard::Guard;
use super::schedule::{Delivery, Outcome, Schedule, Step};
use super::setting::{self, Receiver};
use crate::api::Subnet;
use crate::room::{Moment, Refusal, RoomId};
use crate::store::{Destinations, Message, Queue, Queued, Store};
use crate::telemetry::WebhookMetrics;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{debug, warn};

/// What the configuration says of webhooks.
#[derive(Clone, Default)]
pub struct Options {
    /// Where all rooms' events go, checked by [`check_url`](super::check_url).
    pub url: Option<String>,
    /// Checked by [`check_secret`](super::check_secret).
    pub secret: Option<String>,
    /// Empty: all.
    pub events: Vec<String>,
    /// Private networks that webhooks may go to.
    pub allow: Vec<Subnet>,
}

impl From<&crate::config::Webhooks> for Options {
    fn from(configured: &crate::config::Webhooks) -> Self {
        Options {
            url: configured.url.clone(),
            secret: configured.secret.as_ref().map(|secret| secret.expose().to_owned()),
            events: configured.events.clone(),
            allow: configured.allow.clone(),
        }
    }
}

/// Cheap to clone; the last one to go ends what is being sent, which is in the store and goes on at the next start.
#[derive(Clone)]
pub struct Sender {
    /// `None`: nobody is sent anything.
    shared: Option<Arc<Shared>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("sends", &self.shared.is_some()).finish()
    }
}

struct Shared {
    core: Arc<Core>,
    node: Option<Receiver>,
    guard: Arc<Guard>,
    signed: bool,
    /// Its end is the task's.
    _alive: watch::Sender<()>,
}

struct Core {
    /// A mutex, since rooms hand over without waiting and nothing may be dropped or queued twice: it is held for a few
    /// look-ups per message, never across an await.
    schedule: Mutex<Schedule>,
    changed: Notify,
    store: Store,
    client: Client,
    metrics: WebhookMetrics,
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This moment.
fn moment() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment {
        now: Instant::now(),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Sender {
    /// Nobody is sent anything.
    pub fn none() -> Sender {
        Sender { shared: None }
    }

    /// Within a tokio runtime. `queues`: what the store had at the start.
    pub fn start(
        options: Options,
        store: Store,
        queues: Vec<(Queue, Value)>,
        metrics: WebhookMetrics,
    ) -> Result<Sender, String> {
        let node = match &options.url {
            None => None,
            Some(url) => Some(Receiver {
                url: url.parse().map_err(|error| format!("webhooks.url {url}: {error}"))?,
                secret: options.secret.clone(),
                events: options.events.clone(),
            }),
        };
        let guard = Arc::new(Guard::new(options.allow));
        let signed = options.secret.is_some();
        let client = Client::new(guard.clone(), options.secret).map_err(|error| format!("webhooks: {error}"))?;
        let mut schedule = Schedule::new(node.clone(), moment().wall_ms);
        for (queue, setting) in queues {
            schedule.handle_found(queue, Receiver::of_room(&setting));
        }
        let core = Arc::new(Core {
            schedule: Mutex::new(schedule),
            changed: Notify::new(),
            store,
            client,
            metrics,
        });
        let (alive, ended) = watch::channel(());
        tokio::spawn(run(core.clone(), ended));
        Ok(Sender {
            shared: Some(Arc::new(Shared {
                core,
                node,
                guard,
                signed,
                _alive: alive,
            })),
        })
    }

    /// Whether a room may have this `webhook` setting; a refusal names the field.
    pub fn check(&self, room_webhook: &Value) -> Result<(), Refusal> {
        match &self.shared {
            Some(shared) => setting::check(room_webhook, &shared.guard, shared.signed),
            None => setting::check(room_webhook, &Guard::default(), true),
        }
    }

    /// Who wants an event of this name, in a room with this `webhook` setting (`null`: none of its own). `None`: nobody, so
    /// that its body need not be written.
    pub fn destinations(&self, room_webhook: &Value, event: &str) -> Option<Destinations> {
        let shared = self.shared.as_ref()?;
        let to = Destinations {
            node: shared.node.as_ref().is_some_and(|node| node.wants(event)),
            room: Receiver::of_room(room_webhook).is_some_and(|own| own.wants(event)),
        };
        (to != Destinations::default()).then_some(to)
    }

    /// Sends messages that are stored already, in order. Never waits. Also called, with no messages, once a room's own
    /// setting has changed.
    pub fn deliver(&self, room: &RoomId, room_webhook: &Value, messages: &[Message]) {
        if let Some(shared) = &self.shared {
            let own = Receiver::of_room(room_webhook);
            shared.core.lock().handle_messages(room, own, messages);
            shared.core.changed.notify_one();
        }
    }

    /// A queue has got back something that was given up.
    pub fn resume(&self, queue: Queue, room_webhook: &Value) {
        if let Some(shared) = &self.shared {
            let own = Receiver::of_room(room_webhook);
            shared.core.lock().handle_found(queue, own);
            shared.core.changed.notify_one();
        }
    }
}

/// What a task of the set came to.
enum Done {
    Delivered(Box<Delivery>, Outcome),
    Refilled(Queue, Option<Vec<Queued>>, usize),
    Buried(usize),
}

async fn run(core: Arc<Core>, mut ended: watch::Receiver<()>) {
    // Bounded by the schedule: its deliveries, and one look into the store per queue.
    let mut tasks = JoinSet::new();
    loop {
        let deadline = {
            let mut schedule = core.lock();
            while let Some(step) = schedule.poll_step(Instant::now()) {
                begin(&core, step, &mut tasks);
            }
            schedule.poll_timeout()
        };
        let timeout = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ended.changed() => return,
            () = core.changed.notified() => {}
            () = timeout => {}
            Some(done) = tasks.join_next() => if let Ok(done) = done {
                finish(&core, done);
            },
        }
    }
}

fn begin(core: &Arc<Core>, step: Step, tasks: &mut JoinSet<Done>) {
    match step {
        Step::Send(delivery) => {
            let client = core.client.clone();
            tasks.spawn(async move {
                let outcome = client.deliver(&delivery, moment().wall_ms).await;
                Done::Delivered(Box::new(delivery), outcome)
            });
        }
        // Should this be lost, the message is sent again after a restart, with the same id.
        Step::Sent { queue, position } => drop(core.store.sent(&queue, position)),
        Step::Refill { queue, after, limit } => {
            let page = core.store.waiting(&queue, after, limit);
            tasks.spawn(async move {
                let page = page.await.ok().and_then(Result::ok);
                Done::Refilled(queue, page, limit)
            });
        }
        Step::Bury { queue, until_ms, why } => {
            warn!(room = queue.room.as_str(), receiver = ?queue.receiver, why, "webhooks are given up");
            let buried = core.store.bury(&queue, until_ms, moment().wall_ms, &why);
            tasks.spawn(async move { Done::Buried(buried.await.ok().and_then(Result::ok).unwrap_or_default()) });
        }
    }
}

fn finish(core: &Core, done: Done) {
    match done {
        Done::Delivered(delivery, outcome) => {
            match &outcome {
                Outcome::Taken => core.metrics.taken(),
                Outcome::Gone => core.metrics.gone(),
                Outcome::Failed { why, .. } => {
                    core.metrics.failed();
                    let (room, seq) = (delivery.queue.room.as_str(), delivery.position.1);
                    debug!(room, seq, why, "a webhook failed");
                }
            }
            let chance = rand::random::<f64>();
            core.lock().handle_outcome(&delivery, outcome, moment(), chance);
        }
        Done::Refilled(queue, page, limit) => core.lock().handle_refill(&queue, page, limit, Instant::now()),
        Done::Buried(letters) => core.metrics.dead(letters),
    }
}
