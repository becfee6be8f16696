//! The server under load: a child process on a core of its own, or a process that already runs; its CPU time and memory;
//! and the way to its WHIP and WHEP doors. Shell.

use crate::client::Identity;
use crate::sdp::{self, Answer, Direction, Local};
use crate::sys;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What `--dev` accepts.
const KEY_ID: &str = "devkey";
const SECRET: &str = "devsecret-devsecret-devsecret-00";
/// A server that takes longer to listen has failed.
const START: Duration = Duration::from_secs(10);
/// Longer than any answer takes on loopback, however busy the machine is.
const CALL: Duration = Duration::from_secs(10);
/// Who hosts the room.
pub const HOST: &str = "host";

/// Which server to load.
#[derive(Clone, Debug)]
pub enum Target {
    /// costage: started anew for each run.
    Costage {
        binary: String,
        /// `NAME=VALUE` each, over those of the bench.
        settings: Vec<String>,
        /// The room's `program`; `null`: as it is by default.
        program: Value,
    },
    /// Any other that speaks WHIP and WHEP: started anew with these arguments, `{room}` in its URLs replaced.
    Other {
        binary: String,
        arguments: Vec<String>,
        whip_url: String,
        whep_url: String,
    },
    /// One that runs already, by process id.
    Running {
        pid: libc::pid_t,
        whip_url: String,
        whep_url: String,
    },
}

/// The URLs of one room.
struct Doors {
    whip: String,
    whep: String,
    /// The base of costage's own interface; `None`: there is nothing but the two doors.
    api: Option<String>,
}

/// A server under load; a child is killed when dropped.
pub struct Server {
    child: Option<Child>,
    pid: libc::pid_t,
    doors: Doors,
    http: reqwest::Client,
    room: String,
}

/// Of the server's process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident: u64,
    /// Its share of anonymous pages: heap and stacks, without code and page cache.
    pub anonymous: u64,
}

/// A session that a WHIP or WHEP POST opened.
pub struct Session {
    pub answer: Answer,
    /// Absolute URL of the resource.
    pub location: String,
    /// When the POST began, nanoseconds since the Unix epoch.
    pub posted_ns: u64,
}

impl Server {
    /// Start (or find) the server, keep it on `core` and wait until it listens.
    pub async fn start(target: &Target, core: usize, room: &str) -> io::Result<Server> {
        let fill = |url: &str| url.replace("{room}", room);
        let (child, pid, doors, listens) = match target {
            Target::Costage { binary, settings, .. } => {
                let (http, admin, media) = (free_port()?, free_port()?, free_udp_port()?);
                let child = spawn(binary, &costage_arguments(http, admin, media, settings), core)?;
                let api = format!("http://{http}/v1");
                let base = format!("{api}/rooms/{room}");
                let doors = Doors {
                    whip: format!("{base}/whip"),
                    whep: format!("{base}/whep/program"),
                    api: Some(api),
                };
                (Some(child), None, doors, Some(http))
            }
            Target::Other {
                binary,
                arguments,
                whip_url,
                whep_url,
            } => {
                let child = spawn(binary, arguments, core)?;
                (
                    Some(child),
                    None,
                    Doors {
                        whip: fill(whip_url),
                        whep: fill(whep_url),
                        api: None,
                    },
                    authority(whip_url),
                )
            }
            Target::Running {
                pid,
                whip_url,
                whep_url,
            } => {
                pin_all(*pid, core)?;
                (
                    None,
                    Some(*pid),
                    Doors {
                        whip: fill(whip_url),
                        whep: fill(whep_url),
                        api: None,
                    },
                    authority(whip_url),
                )
            }
        };
        let pid = match (&child, pid) {
            (Some(child), _) => libc::pid_t::try_from(child.id()).map_err(io::Error::other)?,
            (None, pid) => pid.unwrap_or(0),
        };
        let http = reqwest::Client::builder()
            .timeout(CALL)
            .build()
            .map_err(io::Error::other)?;
        let mut server = Server {
            child,
            pid,
            doors,
            http,
            room: room.to_owned(),
        };
        if let Some(address) = listens {
            server.wait_until_listening(address).await?;
        }
        if let Target::Costage { program, .. } = target {
            let mut body = json!({ "room": room, "host": HOST });
            if !program.is_null() {
                body["program"] = program.clone();
            }
            server.command("POST", "/rooms", &body).await?;
        }
        Ok(server)
    }

    async fn wait_until_listening(&mut self, address: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(io::Error::other(format!("the server ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("nothing listens on {address}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A call of costage's own interface by the service, `path` behind `/v1`; it must succeed.
    pub async fn command(&self, method: &str, path: &str, body: &Value) -> io::Result<()> {
        let api = self.doors.api.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let method = method.parse::<reqwest::Method>().map_err(io::Error::other)?;
        let request = self
            .http
            .request(method, format!("{api}{path}"))
            .json(body)
            .bearer_auth(token("*", "load", "service")?);
        let response = request.send().await.map_err(call_failed)?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            return Err(io::Error::other(format!("/v1{path}: {status}: {text}")));
        }
        Ok(())
    }

    /// Open a publisher's session; `user` is the host or has a seat.
    pub async fn publish(&self, identity: &Identity, user: &str, direction: Direction) -> io::Result<Session> {
        let role = if user == HOST { "host" } else { "member" };
        self.post(&self.doors.whip, user, role, &offer(identity, direction))
            .await
    }

    /// Open a viewer's session; each viewer is a user of its own, since a repeated POST replaces.
    pub async fn view(&self, identity: &Identity, viewer: usize) -> io::Result<Session> {
        let user = format!("viewer-{viewer}");
        self.post(&self.doors.whep, &user, "member", &offer(identity, Direction::Receive))
            .await
    }

    async fn post(&self, url: &str, user: &str, role: &str, offer: &str) -> io::Result<Session> {
        let mut request = self
            .http
            .post(url)
            .header("content-type", "application/sdp")
            .body(offer.to_owned());
        if self.doors.api.is_some() {
            request = request.bearer_auth(token(&self.room, user, role)?);
        }
        let posted_ns = sys::now_ns();
        let response = request.send().await.map_err(call_failed)?;
        let status = response.status();
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(call_failed)?;
        if !status.is_success() {
            return Err(io::Error::other(format!("POST {url}: {status}: {text}")));
        }
        let answer = Answer::parse(&text).map_err(|error| io::Error::other(format!("{error}:\n{text}")))?;
        let base = reqwest::Url::parse(url).map_err(io::Error::other)?;
        let location = base.join(&location.unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Session {
            answer,
            location: location.into(),
            posted_ns,
        })
    }

    /// Close a session as a browser does.
    pub async fn close(&self, session: &str, viewer: usize) -> io::Result<()> {
        let mut request = self.http.delete(session);
        if self.doors.api.is_some() {
            request = request.bearer_auth(token(&self.room, &format!("viewer-{viewer}"), "member")?);
        }
        request.send().await.map_err(call_failed)?;
        Ok(())
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        sys::process_cpu(self.pid)
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let kib = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Ok(Memory {
            resident: kib("Rss:").unwrap_or(0),
            anonymous: kib("Pss_Anon:").unwrap_or(0),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// With its causes, which reqwest does not print.
fn call_failed(error: reqwest::Error) -> io::Error {
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    io::Error::other(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// One media worker, loopback only, quiet, no demo.
fn costage_arguments(http: SocketAddr, admin: SocketAddr, media: SocketAddr, more: &[String]) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned(), "--dev".to_owned()];
    let settings = [
        format!("http.listen={http}"),
        format!("admin.listen={admin}"),
        format!("media.addresses={}", media.ip()),
        format!("media.base_port={}", media.port()),
        "media.workers=1".to_owned(),
        "log.level=warn".to_owned(),
    ];
    for setting in settings.iter().chain(more).cloned() {
        arguments.extend(["--set".to_owned(), setting]);
    }
    arguments
}

fn spawn(binary: &str, arguments: &[String], core: usize) -> io::Result<Child> {
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    sys::confine(&mut command, core);
    command
        .spawn()
        .map_err(|error| io::Error::other(format!("{binary}: {error}")))
}

fn pin_all(pid: libc::pid_t, core: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Ok(thread) = entry?.file_name().to_string_lossy().parse() {
            sys::pin(thread, core)?;
        }
    }
    Ok(())
}

/// A TCP port of the loopback interface that nobody listens on.
pub fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn free_udp_port() -> io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The address an `http://IP:PORT/…` URL leads to.
fn authority(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.split('/').next()?.parse().ok()
}

fn offer(identity: &Identity, direction: Direction) -> String {
    let local = Local {
        ufrag: &identity.ufrag,
        pwd: &identity.pwd,
        fingerprint: &identity.fingerprint,
    };
    sdp::write_offer(direction, &local)
}

/// A token that the development key signs.
fn token(room: &str, user: &str, role: &str) -> io::Result<String> {
    const VALID: Duration = Duration::from_secs(3600);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let claims = json!({ "iss": KEY_ID, "sub": user, "exp": (now + VALID).as_secs(), "room": room, "role": role });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)
}
