//! The server under load, a child process on a core of its own with its store on disk. Shell.

use crate::sys;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What `--dev` accepts.
const KEY_ID: &str = "devkey";
const SECRET: &str = "devsecret-devsecret-devsecret-00";
/// A server that takes longer to listen has failed.
const START: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(20);

/// Killed, and its store removed, when dropped.
pub struct Server {
    child: Child,
    http: SocketAddr,
    client: reqwest::Client,
    store: PathBuf,
}

impl Server {
    pub async fn start(binary: &str, core: usize) -> io::Result<Server> {
        sys::raise_file_limit()?;
        let (http, admin, media) = (free_port()?, free_port()?, free_port()?);
        let store = std::env::temp_dir().join(format!("costage-bench-{}.redb", http.port()));
        let settings = [
            format!("http.listen={http}"),
            format!("admin.listen={admin}"),
            format!("media.addresses={}", media.ip()),
            format!("media.base_port={}", media.port()),
            "media.workers=1".to_owned(),
            "log.level=warn".to_owned(),
            "limits.rooms=2000".to_owned(),
            format!("store.path={}", store.display()),
        ];
        let mut command = Command::new(binary);
        command
            .args(["serve", "--dev"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        for setting in &settings {
            command.args(["--set", setting]);
        }
        sys::confine(&mut command, core);
        let child = command
            .spawn()
            .map_err(|error| io::Error::other(format!("{binary}: {error}")))?;
        let client = reqwest::Client::builder().no_proxy().timeout(CALL).build();
        let mut server = Server {
            child,
            http,
            client: client.map_err(io::Error::other)?,
            store,
        };
        server.wait_until_listening().await?;
        Ok(server)
    }

    async fn wait_until_listening(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect_timeout(&self.http, Duration::from_millis(200)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("nothing listens on {}", self.http)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// A room of this id, hosted by `host`.
    pub async fn create(&self, room: &str) -> io::Result<()> {
        let service = self.token("*", "load", "service")?;
        self.call(&service, "POST", "/v1/rooms", json!({"room": room, "host": "host"}))
            .await
    }

    /// A call that must succeed.
    pub async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> io::Result<()> {
        let method = method.parse::<reqwest::Method>().map_err(io::Error::other)?;
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.http))
            .bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(io::Error::other)?;
        let status = response.status();
        let text = response.text().await.map_err(io::Error::other)?;
        if status.is_success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{path}: {status}: {text}")))
    }

    /// A token that the development key signs.
    pub fn token(&self, room: &str, user: &str, role: &str) -> io::Result<String> {
        const VALID: Duration = Duration::from_secs(3600);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let claims = json!({ "iss": KEY_ID, "sub": user, "exp": (now + VALID).as_secs(), "room": room, "role": role });
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)
    }

    /// Resident memory.
    pub fn resident_kib(&self) -> io::Result<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| io::Error::other("no Rss in smaps_rollup"))
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        let pid = libc::pid_t::try_from(self.child.id()).map_err(io::Error::other)?;
        sys::process_cpu(pid)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.store);
    }
}

fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
