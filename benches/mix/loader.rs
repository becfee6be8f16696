//! The thread with everybody outside the server: participants who send and a viewer who counts. Shell.

use crate::client::Client;
use crate::publisher::Publisher;
use crate::sdp::Answer;
use crate::sys::{self, Batch, Epoll};
use crate::viewer::Viewer;
use costage::demo::Clip;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Handshakes, feedback and newcomers are looked after this often.
const TICK: Duration = Duration::from_millis(10);

/// Read by other threads while the loader runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transports that are up, the viewer's too.
    pub connected: AtomicU64,
    pub closed: AtomicU64,
    /// Of all participants.
    pub keyframe_requests: AtomicU64,
    /// Of the program: different RTP times of video, keyframes among them, packets of sound, bytes of both.
    pub pictures: AtomicU64,
    pub keyframes: AtomicU64,
    pub sounds: AtomicU64,
    pub bytes: AtomicU64,
    /// Packets of the program that did not come, by its sequence numbers.
    pub lost: AtomicU64,
    /// Packets of the program that were not authentic.
    pub forged: AtomicU64,
}

enum Newcomer {
    Publisher {
        seat: u8,
        client: Box<Client>,
        answer: Box<Answer>,
        clip: Arc<Clip>,
    },
    Viewer {
        client: Box<Client>,
        answer: Box<Answer>,
    },
}

/// It stops when dropped.
pub struct Loader {
    pub counters: Arc<Counters>,
    newcomers: Sender<Newcomer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    pub fn start() -> io::Result<Loader> {
        let (counters, stop) = (Arc::new(Counters::default()), Arc::new(AtomicBool::new(false)));
        let (newcomers, inbox) = channel();
        let mut serving = Serving {
            epoll: Epoll::new()?,
            publishers: Vec::new(),
            viewers: Vec::new(),
            counters: counters.clone(),
            epoch: Instant::now(),
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("loader".into()).spawn(move || {
            sys::make_punctual();
            let (mut batch, mut ready) = (Batch::new(false), Vec::new());
            while !stopped.load(Relaxed) {
                serving.turn(&inbox, &mut batch, &mut ready);
            }
        })?;
        Ok(Loader {
            counters,
            newcomers,
            stop,
            thread: Some(thread),
        })
    }

    /// The person on `seat` sends `clip` from now on.
    pub fn publish(&self, seat: u8, client: Client, answer: Answer, clip: Arc<Clip>) {
        let _ = self.newcomers.send(Newcomer::Publisher {
            seat,
            client: Box::new(client),
            answer: Box::new(answer),
            clip,
        });
    }

    /// Somebody watches the program from now on.
    pub fn watch(&self, client: Client, answer: Answer) {
        let _ = self.newcomers.send(Newcomer::Viewer {
            client: Box::new(client),
            answer: Box::new(answer),
        });
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    epoll: Epoll,
    publishers: Vec<Publisher>,
    viewers: Vec<Viewer>,
    counters: Arc<Counters>,
    /// What the participants' phases are counted from.
    epoch: Instant,
}

impl Serving {
    /// Wait for the next thing to do or to read, and do it.
    fn turn(&mut self, inbox: &Receiver<Newcomer>, batch: &mut Batch, ready: &mut Vec<u64>) {
        let due = self.publishers.iter().filter_map(Publisher::due).min();
        let wait = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        self.epoll.wait(wait, ready);
        let now = Instant::now();
        for fd in ready.iter().filter_map(|token| RawFd::try_from(*token).ok()) {
            if let Some(publisher) = self.publishers.iter_mut().find(|publisher| publisher.fd() == fd) {
                publisher.receive(batch, &self.counters, now);
            } else if let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.fd() == fd) {
                viewer.receive(batch, &self.counters, now);
            }
        }
        while let Ok(newcomer) = inbox.try_recv() {
            self.take_in(newcomer, now);
        }
        for publisher in &mut self.publishers {
            publisher.poll(now);
        }
        for viewer in &mut self.viewers {
            viewer.poll(&self.counters, now);
        }
    }

    fn take_in(&mut self, newcomer: Newcomer, now: Instant) {
        let fd = match &newcomer {
            Newcomer::Publisher { client, .. } | Newcomer::Viewer { client, .. } => client.fd(),
        };
        if self.epoll.add(fd, u64::try_from(fd).unwrap_or_default()).is_err() {
            self.counters.closed.fetch_add(1, Relaxed);
            return;
        }
        match newcomer {
            Newcomer::Publisher {
                seat,
                client,
                answer,
                clip,
            } => self
                .publishers
                .push(Publisher::new(*client, &answer, clip, seat, self.epoch)),
            Newcomer::Viewer { client, answer } => self.viewers.push(Viewer::new(*client, &answer, now)),
        }
    }
}
