//! Members with an event stream each. Shell.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// One event stream.
pub struct Listener {
    socket: WebSocketStream<TcpStream>,
}

impl Listener {
    pub async fn open(server: &Server, room: &str, token: &str) -> io::Result<Listener> {
        let uri = format!("ws://{}/v1/rooms/{room}/events", server.address());
        let mut request = uri.into_client_request().map_err(io::Error::other)?;
        let authorization = format!("Bearer {token}").parse().map_err(io::Error::other)?;
        request.headers_mut().insert("authorization", authorization);
        let tcp = TcpStream::connect(server.address()).await?;
        tcp.set_nodelay(true)?;
        // A thousand of them in one process.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let (socket, _) = client_async_with_config(request, tcp, Some(config))
            .await
            .map_err(io::Error::other)?;
        Ok(Listener { socket })
    }

    /// The text of the next event, and when it was read.
    async fn next(&mut self) -> io::Result<(String, Instant)> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok((text.as_str().to_owned(), Instant::now())),
                Some(Ok(Message::Close(frame))) => return Err(io::Error::other(format!("closed: {frame:?}"))),
                // Answers to pings leave with the next flush.
                Some(Ok(_)) => self.socket.flush().await.map_err(io::Error::other)?,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other("the stream ended")),
            }
        }
    }

    /// When an event of this type was read.
    pub async fn until(&mut self, kind: &str) -> io::Result<Instant> {
        let wanted = format!("\"type\":\"{kind}\"");
        loop {
            let (text, at) = self.next().await?;
            if text.contains(&wanted) {
                return Ok(at);
            }
        }
    }
}

/// Many listeners, read by tasks of their own.
pub struct Audience {
    /// By change: when each of them read its event.
    heard: Rc<RefCell<Vec<Vec<Instant>>>>,
    count: usize,
    tasks: tokio::task::LocalSet,
}

impl Audience {
    pub async fn open(server: &Server, room: &str, count: usize) -> io::Result<Audience> {
        let heard: Rc<RefCell<Vec<Vec<Instant>>>> = Rc::default();
        let tasks = tokio::task::LocalSet::new();
        for number in 0..count {
            let token = server.token(room, &format!("member-{number}"), "member")?;
            let opening = Listener::open(server, room, &token);
            let mut listener = tasks.run_until(opening).await?;
            let heard = heard.clone();
            tasks.spawn_local(async move {
                for change in 0.. {
                    let Ok(at) = listener.until("seat.updated").await else {
                        return;
                    };
                    let mut heard = heard.borrow_mut();
                    if heard.len() <= change {
                        heard.resize_with(change + 1, Vec::new);
                    }
                    if let Some(times) = heard.get_mut(change) {
                        times.push(at);
                    }
                }
            });
        }
        Ok(Audience { heard, count, tasks })
    }

    /// Lets everybody read until `what` is done.
    pub async fn listen<T>(&self, what: impl Future<Output = T>) -> T {
        self.tasks.run_until(what).await
    }

    /// When each of them read the event of the `change`-th change; gives up on the rest after `patience`.
    pub async fn heard(&self, change: usize, patience: Duration) -> Vec<Instant> {
        let ends = Instant::now() + patience;
        loop {
            let times = self.heard.borrow().get(change - 1).cloned().unwrap_or_default();
            if times.len() >= self.count || Instant::now() >= ends {
                return times;
            }
            self.listen(tokio::time::sleep(Duration::from_millis(1))).await;
        }
    }
}
