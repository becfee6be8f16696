//! The same work by Debian's GStreamer and ffmpeg: ten H.264 and ten Opus files in real time, decoded, scaled into the
//! rectangles of costage's grid of ten, encoded with 2.5 Mbit/s and 96 kbit/s. Shell.
//!
//! Neither receives RTP, reorders it, conceals losses or draws labels; both are spared that. Pictures are stretched where
//! costage crops, which costs them less. Settings are costage's own where both have them (openh264's low complexity, Opus'
//! complexity 5, a keyframe every two seconds).

use crate::clips::{self, Clips, FRAME_RATE, GOP};
use crate::sys;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// From starting a pipeline to its first picture, at most: on its first start GStreamer looks at all plugins.
const START: Duration = Duration::from_secs(30);

/// x, y, width of costage's tiles for ten people on 1280×720, and the height of all.
const TILES: [(u32, u32, u32); 10] = [
    (0, 0, 316),
    (322, 0, 316),
    (644, 0, 314),
    (964, 0, 316),
    (0, 242, 316),
    (322, 242, 316),
    (644, 242, 314),
    (964, 242, 316),
    (322, 484, 316),
    (644, 484, 314),
];
const TILE_HEIGHT: u32 = 236;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rival {
    /// openh264 both ways, as costage.
    Gstreamer,
    /// libavcodec's decoder, x264 superfast.
    GstreamerX264,
    /// Its own decoder, x264 superfast.
    Ffmpeg,
}

impl Rival {
    pub fn name(self) -> &'static str {
        match self {
            Rival::Gstreamer => "GStreamer, openh264",
            Rival::GstreamerX264 => "GStreamer, libavcodec and x264 superfast",
            Rival::Ffmpeg => "ffmpeg, x264 superfast",
        }
    }

    /// What costage's cost is to be of this one's, at most.
    pub fn reach(self) -> Option<f64> {
        match self {
            Rival::Gstreamer => Some(0.70),
            Rival::GstreamerX264 => None,
            Rival::Ffmpeg => Some(1.0),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Rival::Gstreamer | Rival::GstreamerX264 => "gst-launch-1.0",
            Rival::Ffmpeg => "ffmpeg",
        }
    }

    /// What Debian calls it.
    fn packages(self) -> &'static str {
        match self {
            Rival::Gstreamer => "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-bad",
            Rival::GstreamerX264 => {
                "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
                 gstreamer1.0-libav"
            }
            Rival::Ffmpeg => "ffmpeg",
        }
    }

    fn elements(self) -> &'static [&'static str] {
        match self {
            Rival::Gstreamer => &[
                "h264parse",
                "openh264dec",
                "openh264enc",
                "compositor",
                "opusdec",
                "audiomixer",
            ],
            Rival::GstreamerX264 => &[
                "h264parse",
                "avdec_h264",
                "x264enc",
                "compositor",
                "opusdec",
                "audiomixer",
            ],
            Rival::Ffmpeg => &[],
        }
    }

    /// `Err`: how to get it.
    pub fn check(self) -> Result<(), String> {
        let runs = |program: &str, arguments: &[&str]| {
            let status = Command::new(program)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        let version = if self == Rival::Ffmpeg { "-version" } else { "--version" };
        let mut elements = self.elements().iter();
        if runs(self.program(), &[version]) && elements.all(|element| runs("gst-inspect-1.0", &["--exists", element])) {
            return Ok(());
        }
        Err(format!(
            "{} is missing: apt-get install {}",
            self.name(),
            self.packages()
        ))
    }

    fn arguments(self) -> Vec<String> {
        match self {
            Rival::Gstreamer => gstreamer(
                "openh264dec",
                &format!("openh264enc bitrate=2500000 rate-control=bitrate complexity=low gop-size={GOP}"),
            ),
            Rival::GstreamerX264 => gstreamer(
                "avdec_h264 max-threads=1",
                &format!("x264enc bitrate=2500 speed-preset=superfast tune=zerolatency key-int-max={GOP}"),
            ),
            Rival::Ffmpeg => ffmpeg(),
        }
    }
}

const VIDEO_FILE: &str = "video.h264";
const AUDIO_FILE: &str = "audio.opus";

/// Queues are short, for the sake of memory; a tile's is what decouples its decoder from the compositor.
fn gstreamer(decoder: &str, encoder: &str) -> Vec<String> {
    let queue = "queue max-size-buffers=4 max-size-bytes=0 max-size-time=0";
    let mut pipeline = String::from("-q compositor name=v background=black");
    for (input, (x, y, _)) in TILES.iter().enumerate() {
        pipeline += &format!(" sink_{input}::xpos={x} sink_{input}::ypos={y}");
    }
    pipeline += &format!(
        " ! video/x-raw,format=I420,width=1280,height=720,framerate={FRAME_RATE}/1 ! {encoder} ! h264parse \
         ! video/x-h264,stream-format=byte-stream,alignment=au ! fdsink fd=1 sync=true \
         audiomixer name=a ! audioconvert ! audio/x-raw,channels=2 ! opusenc bitrate=96000 complexity=5 \
         ! fakesink sync=true"
    );
    for (input, (_, _, width)) in TILES.iter().enumerate() {
        pipeline += &format!(
            " filesrc location={VIDEO_FILE} ! h264parse ! {decoder} ! videoscale \
             ! video/x-raw,width={width},height={TILE_HEIGHT} ! {queue} ! v.sink_{input} \
             filesrc location={AUDIO_FILE} ! oggdemux ! opusdec ! {queue} ! a."
        );
    }
    pipeline.split_whitespace().map(str::to_owned).collect()
}

fn ffmpeg() -> Vec<String> {
    let (mut inputs, mut scaled, mut placed, mut sounds) = (String::new(), String::new(), String::new(), String::new());
    for (input, (_, _, width)) in TILES.iter().enumerate() {
        inputs += &format!("-re -framerate {FRAME_RATE} -f h264 -i {VIDEO_FILE} ");
        scaled += &format!("[{input}:v]scale={width}:{TILE_HEIGHT}[v{input}];");
        placed += &format!("[v{input}]");
        sounds += &format!("[{}:a]", TILES.len() + input);
    }
    inputs += &format!("-re -i {AUDIO_FILE} ").repeat(TILES.len());
    let places: Vec<String> = TILES.iter().map(|(x, y, _)| format!("{x}_{y}")).collect();
    let graph = format!(
        "{scaled}{placed}xstack=inputs={count}:fill=black:layout={}[v];{sounds}amix=inputs={count}:normalize=0[a]",
        places.join("|"),
        count = TILES.len(),
    );
    let all = format!(
        "-hide_banner -loglevel error -nostdin {inputs} -filter_complex {graph} \
         -map [v] -r {FRAME_RATE} -c:v libx264 -preset superfast -tune zerolatency -b:v 2500k -g {GOP} -f h264 pipe:1 \
         -map [a] -ac 2 -c:a libopus -b:a 96k -compression_level 5 -f null -"
    );
    all.split_whitespace().map(str::to_owned).collect()
}

/// The files all pipelines read; they are removed when dropped.
pub struct Inputs {
    folder: PathBuf,
}

impl Inputs {
    /// Long enough for a run with `seconds` after its first picture.
    pub fn write(clips: &Clips, seconds: u64) -> io::Result<Inputs> {
        let folder = std::env::temp_dir().join(format!("costage-mix-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let inputs = Inputs { folder };
        let seconds = seconds + START.as_secs();
        std::fs::write(inputs.folder.join(VIDEO_FILE), clips::video_file(&clips.talk, seconds))?;
        std::fs::write(inputs.folder.join(AUDIO_FILE), clips::audio_file(&clips.talk, seconds))?;
        Ok(inputs)
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running pipeline; it is killed when dropped.
pub struct Pipeline {
    child: Child,
    /// Pictures it has put out.
    pub pictures: Arc<AtomicU64>,
}

impl Pipeline {
    /// Start it on `core` and wait for its first picture.
    pub fn start(rival: Rival, inputs: &Inputs, core: usize) -> io::Result<Pipeline> {
        let mut command = Command::new(rival.program());
        command
            .args(rival.arguments())
            .current_dir(&inputs.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        sys::confine(&mut command, core);
        let mut child = command.spawn()?;
        let output = child.stdout.take();
        let pictures = Arc::new(AtomicU64::new(0));
        let mut pipeline = Pipeline {
            child,
            pictures: pictures.clone(),
        };
        let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        // It ends with the pipeline.
        std::thread::Builder::new()
            .name("rival".into())
            .spawn(move || count_pictures(output, &pictures))?;
        let deadline = Instant::now() + START;
        while pipeline.pictures.load(Relaxed) == 0 {
            if let Some(status) = pipeline.child.try_wait()? {
                return Err(io::Error::other(format!("{} ended at once: {status}", rival.name())));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{} puts out no picture", rival.name())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(pipeline)
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        sys::process_cpu(libc::pid_t::try_from(self.child.id()).map_err(io::Error::other)?)
    }

    pub fn resident_kib(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the first slices of pictures in a byte stream (H.264 Annex B) until it ends.
fn count_pictures(mut stream: impl Read, pictures: &AtomicU64) {
    let mut buffer = [0u8; 1 << 16];
    // The last five bytes: start code, NAL header, the slice header's first byte.
    let mut last = [0u8; 5];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for byte in buffer.iter().take(count) {
            last.rotate_left(1);
            last[4] = *byte;
            let [0, 0, 1, header, slice] = last else { continue };
            // `first_mb_in_slice` is exp-Golomb coded: a leading 1 bit is zero.
            if matches!(header & 0x1f, 1 | 5) && slice & 0x80 != 0 {
                pictures.fetch_add(1, Relaxed);
            }
        }
    }
}
