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
        Server::start_with(store, &[])
    }

    /// With these settings besides.
    pub fn start_with(store: &Path, more: &[&str]) -> Self {
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
        for setting in settings.iter().map(String::as_str).chain(more.iter().copied()) {
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

    /// The problem of an answer that must be a refusal, once its status and `Retry-After` are what the problem says.
    pub async fn refused(&self, token: &str, method: Method, path: &str, body: Value) -> Value {
        let response = self.request(token, method, path).json(&body).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let problem: Value = response.json().await.unwrap();
        assert_eq!(headers["content-type"], "application/problem+json", "{problem}");
        assert_eq!(problem["status"], status.as_u16(), "{problem}");
        let wait = problem["retry_after_ms"]
            .as_u64()
            .map(|ms| ms.div_ceil(1_000).to_string());
        let header = headers
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header, wait, "{problem}");
        assert_eq!(problem["retryable"], wait.is_some(), "{problem}");
        problem
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
