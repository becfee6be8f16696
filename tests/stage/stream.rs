//! One event stream over WebSocket, and the picture of the room it adds up to.

use crate::server::{PATIENCE, Server};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// `(epoch, seq)`
pub type Position = (u64, u64);

pub struct Stream {
    socket: WebSocketStream<TcpStream>,
}

/// What happened on a stream.
#[derive(Debug)]
pub enum Received {
    Message(Value),
    Closed(Option<u16>),
}

impl Stream {
    pub async fn open(server: &Server, token: &str, room: &str, after: Option<Position>) -> Self {
        let after = after
            .map(|(epoch, seq)| format!("?after={epoch}.{seq}"))
            .unwrap_or_default();
        let uri = format!("ws://{}/v1/rooms/{room}/events{after}", server.authority());
        let mut request = uri.into_client_request().unwrap();
        let authorization = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", authorization);
        let tcp = TcpStream::connect(server.authority()).await.unwrap();
        let opening = timeout(PATIENCE, client_async(request, tcp));
        let (socket, _) = opening.await.expect("an answer in time").expect("an open stream");
        Stream { socket }
    }

    pub async fn next(&mut self) -> Received {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match next {
                Some(Ok(Message::Text(text))) => {
                    return Received::Message(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(frame))) => return Received::Closed(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Received::Closed(None),
            }
        }
    }

    pub async fn message(&mut self) -> Value {
        match self.next().await {
            Received::Message(message) => message,
            Received::Closed(code) => panic!("closed with {code:?}"),
        }
    }

    /// Reads on until a message of this type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.message().await;
            if message["type"] == kind {
                return message;
            }
        }
    }
}

/// What somebody who only listens knows of a room.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub position: Option<Position>,
    pub version: u64,
    pub seats: BTreeMap<u64, Value>,
    /// Ids of pending requests; kept by hosts only.
    pub requests: BTreeSet<String>,
    pub snapshots: u32,
    pub resumed: u32,
}

/// What of a seat adds up from events.
pub fn seat_view(seat: &Value) -> (u64, Value) {
    let number = seat["seat"].as_u64().expect("a number");
    let mut view = serde_json::Map::new();
    for field in [
        "state",
        "locked",
        "audio_locked",
        "video_locked",
        "audio_muted",
        "video_muted",
    ] {
        view.insert(field.to_owned(), seat[field].clone());
    }
    view.insert("user".to_owned(), seat["user"]["user"].clone());
    (number, Value::Object(view))
}

pub fn request_ids(room: &Value) -> BTreeSet<String> {
    let lists = ["applications", "invitations"].map(|list| room[list].as_array().cloned().unwrap_or_default());
    let ids = lists.iter().flatten().filter_map(|request| request["id"].as_str());
    ids.map(str::to_owned).collect()
}

impl Picture {
    /// Takes the next message; panics where something is missing.
    pub fn take(&mut self, message: &Value) {
        let position = (message["epoch"].as_u64().unwrap(), message["seq"].as_u64().unwrap());
        let data = &message["data"];
        if message["type"] == "snapshot" {
            let room = &data["room"];
            self.seats = room["seats"].as_array().unwrap().iter().map(seat_view).collect();
            self.requests = request_ids(room);
            self.snapshots += 1;
        } else {
            let (epoch, last) = self.position.expect("a snapshot comes first");
            assert_eq!(epoch, position.0, "an epoch begins with a snapshot");
            assert_eq!(message["prev"].as_u64(), Some(last), "a gap before {message}");
            assert!(position.1 > last, "backwards: {message}");
            self.event(message["type"].as_str().unwrap(), data);
        }
        self.position = Some(position);
        let version = message["version"].as_u64().unwrap();
        assert!(
            version >= self.version || message["type"] == "snapshot",
            "versions never fall"
        );
        self.version = version;
    }

    fn event(&mut self, kind: &str, data: &Value) {
        let mut set = |seat: &Value, field: &str, value: Value| {
            if let Some(seat) = seat.as_u64().and_then(|seat| self.seats.get_mut(&seat)) {
                seat[field] = value;
            }
        };
        match kind {
            "seats.changed" => {
                self.seats = data["seats"].as_array().unwrap().iter().map(seat_view).collect();
            }
            "seat.updated" => {
                for flag in ["locked", "audio_locked", "video_locked", "audio_muted", "video_muted"] {
                    set(&data["seat"], flag, data[flag].clone());
                }
            }
            "seat.connected" | "seat.resumed" => set(&data["seat"], "state", "occupied".into()),
            "seat.suspended" => set(&data["seat"], "state", "held".into()),
            "application.received" => {
                let id = data["request"]["id"].as_str().unwrap();
                self.requests.insert(id.to_owned());
            }
            "application.cancelled" | "application.processed" | "application.closed" => {
                self.requests.remove(data["request"]["id"].as_str().unwrap());
            }
            _ => {}
        }
    }
}
