//! How a program is made: `program` of a room, `PATCH …/program`.

use crate::room::{ProgramMode, ProgramPatch, ProgramSei, ProgramSettings, Refusal, Side, Snapshot};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// How the program is made. What is absent stays as it is; in a new room it is as written here.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Program)]
pub struct ProgramForm {
    /// `auto`.
    mode: Option<ModeName>,
    video: Option<VideoForm>,
    audio: Option<AudioForm>,
    /// `on_demand`.
    idle: Option<IdleName>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProgramMode)]
enum ModeName {
    /// The host's own media while nothing has to be composed, else mixed.
    Auto,
    Mixed,
    /// The host's own media, whoever else is there.
    Passthrough,
    Off,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProgramIdle)]
enum IdleName {
    /// Nothing is decoded or encoded while nobody takes of it.
    OnDemand,
    Always,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramVideo)]
struct VideoForm {
    /// In pixels: even, up to 1920 × 1080 or 1080 × 1920. `auto` (with `height`): what the host's
    /// camera keeps for its first 2 s, at the latest after 5 s; it stays until this is changed. Without a picture of the
    /// host: 1280 × 720.
    width: Option<Amount>,
    height: Option<Amount>,
    /// 30.
    #[schema(minimum = 15, maximum = 60)]
    fps: Option<u64>,
    /// 100 to 20000. `auto`: by size and frame rate.
    bitrate_kbps: Option<Amount>,
    /// The longest time between two keyframes; 2000.
    #[schema(minimum = 500, maximum = 10_000)]
    gop_ms: Option<u64>,
    /// `none`.
    sei: Option<SeiName>,
}

/// What each mixed picture says of itself: JSON in a `user_data_unregistered` SEI message (H.264 annex D) of the UUID
/// `6f1d7c2a-9b54-4e0f-8a37-c05746e9d1b3`. `timestamp`: `{"utc_ms": …}`, milliseconds since 1970, the time in the program that
/// the picture is of. `layout`: also, with each keyframe and with each picture that has another layout, `"canvas": [width,
/// height], "tiles": [{"seat", "source", "x", "y", "w", "h"}]`, in pixels and in drawing order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProgramSei)]
enum SeiName {
    None,
    Timestamp,
    Layout,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramAudio)]
struct AudioForm {
    /// 96.
    #[schema(minimum = 16, maximum = 510)]
    bitrate_kbps: Option<u64>,
    /// 2.
    #[schema(minimum = 1, maximum = 2)]
    channels: Option<u64>,
}

/// A number, or `auto`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "it is a number or \"auto\"")]
enum Amount {
    Number(u64),
    Word(AutoWord),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AutoWord {
    Auto,
}

impl Amount {
    fn number(self) -> Option<u64> {
        match self {
            Amount::Number(number) => Some(number),
            Amount::Word(AutoWord::Auto) => None,
        }
    }

    fn of(number: Option<u64>) -> Self {
        number.map_or(Amount::Word(AutoWord::Auto), Amount::Number)
    }
}

impl From<ProgramForm> for ProgramPatch {
    fn from(form: ProgramForm) -> Self {
        let (video, audio) = (form.video.unwrap_or_default(), form.audio.unwrap_or_default());
        let side = |amount: Amount| amount.number().map_or(Side::Auto, Side::Fixed);
        ProgramPatch {
            mode: form.mode.map(|mode| match mode {
                ModeName::Auto => ProgramMode::Auto,
                ModeName::Mixed => ProgramMode::Mixed,
                ModeName::Passthrough => ProgramMode::Passthrough,
                ModeName::Off => ProgramMode::Off,
            }),
            width: video.width.map(side),
            height: video.height.map(side),
            fps: video.fps,
            video_bitrate_kbps: video.bitrate_kbps.map(Amount::number),
            gop_ms: video.gop_ms,
            sei: video.sei.map(|sei| match sei {
                SeiName::None => ProgramSei::None,
                SeiName::Timestamp => ProgramSei::Timestamp,
                SeiName::Layout => ProgramSei::Layout,
            }),
            audio_bitrate_kbps: audio.bitrate_kbps,
            channels: audio.channels,
            always: form.idle.map(|idle| matches!(idle, IdleName::Always)),
        }
    }
}

impl From<&ProgramSettings> for ProgramForm {
    fn from(settings: &ProgramSettings) -> Self {
        let ProgramSettings {
            mode,
            video,
            audio,
            always,
        } = settings;
        let side = |pixels: Option<usize>| Amount::of(pixels.and_then(|pixels| u64::try_from(pixels).ok()));
        ProgramForm {
            mode: Some(match mode {
                ProgramMode::Auto => ModeName::Auto,
                ProgramMode::Mixed => ModeName::Mixed,
                ProgramMode::Passthrough => ModeName::Passthrough,
                ProgramMode::Off => ModeName::Off,
            }),
            video: Some(VideoForm {
                width: Some(side(video.size.map(|size| size.width()))),
                height: Some(side(video.size.map(|size| size.height()))),
                fps: Some(video.fps.into()),
                bitrate_kbps: Some(Amount::of(video.bitrate_kbps.map(u64::from))),
                gop_ms: Some(video.gop_ms.into()),
                sei: Some(match video.sei {
                    ProgramSei::None => SeiName::None,
                    ProgramSei::Timestamp => SeiName::Timestamp,
                    ProgramSei::Layout => SeiName::Layout,
                }),
            }),
            audio: Some(AudioForm {
                bitrate_kbps: Some(audio.bitrate_kbps.into()),
                channels: Some(audio.channels.into()),
            }),
            idle: Some(if *always { IdleName::Always } else { IdleName::OnDemand }),
        }
    }
}

/// As they are outside, also in the store.
impl Serialize for ProgramSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ProgramForm::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ProgramSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = ProgramForm::deserialize(deserializer)?;
        let settings = ProgramSettings::default().patched(&form.into());
        settings.map_err(|refusal: Refusal| serde::de::Error::custom(refusal.detail))
    }
}

/// How the program is made from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramChanged {
    pub version: u64,
    pub program: ProgramForm,
}

impl From<&Snapshot> for ProgramChanged {
    fn from(snapshot: &Snapshot) -> Self {
        ProgramChanged {
            version: snapshot.version,
            program: ProgramForm::from(&snapshot.settings.program),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<ProgramSettings, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        let plain = serde_json::to_value(ProgramSettings::default()).expect("serialises");
        let written = json!({"mode": "auto",
            "video": {"width": "auto", "height": "auto", "fps": 30, "bitrate_kbps": "auto", "gop_ms": 2000, "sei": "none"},
            "audio": {"bitrate_kbps": 96, "channels": 2}, "idle": "on_demand"});
        assert_eq!(plain, written);
        assert_eq!(read(plain), Ok(ProgramSettings::default()));
        for (mode, sei) in ["auto", "mixed", "passthrough", "off"]
            .iter()
            .zip(["none", "timestamp", "layout", "none"])
        {
            let all = json!({"mode": mode,
                "video": {"width": 720, "height": 1280, "fps": 60, "bitrate_kbps": 4000, "gop_ms": 1000, "sei": sei},
                "audio": {"bitrate_kbps": 64, "channels": 1}, "idle": "always"});
            let settings = read(all.clone()).expect("fits");
            assert_eq!(serde_json::to_value(settings).expect("serialises"), all);
        }
        assert_eq!(read(json!({})), Ok(ProgramSettings::default()));
        assert!(read(json!({"video": {"fps": 61}})).is_err_and(|why| why.contains("video.fps is 15 to 60")));
        let word = read(json!({"video": {"width": "wide"}}));
        assert!(word.is_err_and(|why| why.contains("a number or \"auto\"")));
    }
}
