//! The server's binary as a child process, and the calls of those who use it.

use reqwest::Method;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Far more than a loaded machine needs; only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running `costage serve --dev`; killed without warning when dropped.
pub struct Server {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Server {
    /// With this store, on free ports. Returns once it listens.
    pub fn start(store: &Path) -> Self {
        let settings = [
            "http.listen=127.0.0.1:0".to_owned(),
            "admin.listen=127.0.0.1:0".to_owned(),
            "media.base_port=0".to_owned(),
            "media.addresses=127.0.0.1".to_owned(),
            "media.workers=1".to_owned(),
            format!("store.path={}", store.display()),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_costage"));
        command.args(["serve", "--dev"]);
        for setting in &settings {
            command.args(["--set", setting]);
        }
        // The settings of whoever runs the tests are not the tests'.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COSTAGE_")) {
            command.env_remove(name);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        let url = stdout
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once(" on ")?.1.split_once(',')?.0.to_owned()))
            .expect("it says where it listens");
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Server {
            child,
            url,
            client: client.expect("a client"),
        }
    }

    /// `kill -9`: nothing of the process runs any more when this returns.
    pub fn kill(mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("an ended process");
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub async fn token(&self, room: &str, user: &str, role: &str) -> String {
        let body = json!({"room": room, "user": user, "role": role, "name": user.to_uppercase()});
        let request = self.client.post(format!("{}/v1/tokens", self.url)).json(&body);
        let issued: Value = request.send().await.unwrap().json().await.unwrap();
        issued["token"].as_str().expect("a token").to_owned()
    }

    pub fn request(&self, token: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.request(method, url).bearer_auth(token)
    }

    /// The JSON of an answer that must be a success.
    pub async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> Value {
        let mut request = self.request(token, method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn get(&self, token: &str, path: &str) -> Value {
        self.call(token, Method::GET, path, Value::Null).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of one test, empty at its start.
pub fn directory(test: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stage-{test}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}
