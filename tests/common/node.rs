//! A node in this process on free ports, and the calls a signalling server makes.

use costage::config::{Config, flag_entry};
use costage::serve::Server;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

pub const ROOM: &str = "peers";
pub const HOST: &str = "host";
/// Far more than a loaded machine needs; only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    server: Server,
    client: reqwest::Client,
    service: String,
}

impl Node {
    /// With one room, hosted by [`HOST`], its `guests` on seats 1 and up.
    pub async fn start(workers: usize, guests: &[&str]) -> Self {
        Self::with_room(workers, json!({}), guests).await
    }

    /// The same; its program is the host's own packets, whatever they are and whoever else is there.
    pub async fn forwarding(workers: usize, guests: &[&str]) -> Self {
        let program = json!({ "program": { "mode": "passthrough" } });
        Self::with_room(workers, program, guests).await
    }

    /// The room is made with these `fields`.
    pub async fn with_room(workers: usize, fields: Value, guests: &[&str]) -> Self {
        Self::with_settings(workers, &[], fields, guests).await
    }

    /// The same; the node has these settings besides.
    pub async fn with_settings(workers: usize, more: &[&str], fields: Value, guests: &[&str]) -> Self {
        let workers = format!("media.workers={workers}");
        let settings = [
            "http.listen=127.0.0.1:0",
            "admin.listen=127.0.0.1:0",
            "media.base_port=0",
            "media.addresses=127.0.0.1",
            &workers,
        ];
        let settings = settings.iter().chain(more);
        let entries: Vec<_> = settings.map(|setting| flag_entry(setting).unwrap()).collect();
        let config = Config::from_entries(true, &entries).unwrap();
        let server = Server::start(&config).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut node = Self {
            server,
            client,
            service: String::new(),
        };
        node.service = node.token("backend", "service").await;
        let mut room = json!({ "room": ROOM, "host": HOST });
        let fields = fields.as_object().expect("fields of a room").clone();
        room.as_object_mut().unwrap().extend(fields);
        node.call(Method::POST, "/v1/rooms", Some(room)).await;
        node.seat(guests).await;
        node
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.local_url())
    }

    /// Below the room's path.
    pub fn room_url(&self, path: &str) -> String {
        self.url(&format!("/v1/rooms/{ROOM}/{path}"))
    }

    pub async fn token(&self, user: &str, role: &str) -> String {
        let body = json!({ "room": ROOM, "user": user, "role": role });
        let request = self.client.post(self.url("/v1/tokens")).json(&body);
        let issued: Value = request.send().await.unwrap().json().await.unwrap();
        issued["token"].as_str().expect("a token").to_owned()
    }

    /// With the service's token; the JSON of an answer that must be a success.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.call_with(&self.service, method, path, body).await
    }

    async fn call_with(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            self.url(path)
        };
        let mut request = self.client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The status and the JSON of the answer to an offer that is refused.
    pub async fn refused(&self, path: &str, offer: String) -> (u16, Value) {
        let request = self.client.post(self.room_url(path)).bearer_auth(&self.service);
        let request = request.header("content-type", "application/sdp").body(offer);
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        (status.as_u16(), serde_json::from_str(&text).expect("a problem as JSON"))
    }

    pub async fn put_layout(&self, layout: Value) {
        let path = format!("/v1/rooms/{ROOM}/layout");
        self.call(Method::PUT, &path, Some(layout)).await;
    }

    pub async fn patch_program(&self, program: Value) {
        let path = format!("/v1/rooms/{ROOM}/program");
        self.call(Method::PATCH, &path, Some(program)).await;
    }

    /// Why that seat's camera is black or silent.
    pub async fn explain(&self, seat: u8) -> Value {
        let path = format!("/v1/rooms/{ROOM}/explain?seat={seat}");
        self.call(Method::GET, &path, None).await
    }

    /// What the room says from now on, to the backend.
    pub async fn listen(&self) -> reqwest::Response {
        // For as long as it lasts.
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(self.room_url("events")).bearer_auth(&self.service);
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    }

    /// What `/metrics` says of this name, of all labels together.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.server.admin());
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        let named = samples.filter(|(sample, _)| sample.split('{').next() == Some(name));
        named.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// As a browser's page does that is left.
    pub async fn end(&self, resource: &str) {
        self.call(Method::DELETE, resource, None).await;
    }

    /// The complete assignment of the guest seats, in one step.
    pub async fn seat(&self, guests: &[&str]) {
        let numbered = (1..).zip(guests).map(|(seat, user)| (format!("{seat}"), json!(user)));
        let seats: serde_json::Map<_, _> = numbered.collect();
        let path = format!("/v1/rooms/{ROOM}/seats");
        self.call(Method::PUT, &path, Some(json!({ "seats": seats }))).await;
    }

    pub async fn patch_seat(&self, seat: u8, flags: Value) {
        self.patch_seat_as("backend", "service", seat, flags).await;
    }

    pub async fn patch_seat_as(&self, user: &str, role: &str, seat: u8, flags: Value) {
        let path = format!("/v1/rooms/{ROOM}/seats/{seat}");
        let token = self.token(user, role).await;
        self.call_with(&token, Method::PATCH, &path, Some(flags)).await;
    }

    pub async fn unseat(&self, seat: u8) {
        let path = format!("/v1/rooms/{ROOM}/seats/{seat}");
        self.call(Method::DELETE, &path, None).await;
    }

    pub async fn stop(self) {
        timeout(PATIENCE, self.server.stop()).await.expect("the node stops");
    }
}
