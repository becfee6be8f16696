//! What of a room's program needs the mixer, as far as the control plane knows: what is reserved for it. Pure.

use crate::forward::{SourceInfo, SourceKind};
use crate::mix::layout::Layout;
use crate::mix::picture::Size;
use crate::room::{HOST_SEAT, ProgramMode, ProgramSettings};
use crate::rtp::Codec;

/// It has to be mixed. `host_size`: of the host's camera in pixels, where it is known.
pub(super) fn is_composed(
    settings: &ProgramSettings,
    layout: &Layout,
    sources: &[SourceInfo],
    host_size: Option<(u16, u16)>,
) -> bool {
    let host_size = host_size.map(|(width, height)| (usize::from(width), usize::from(height)));
    let scaled = |size: Size| host_size != Some((size.width(), size.height()));
    let scaled = settings.video.size.is_some_and(scaled);
    match settings.mode {
        ProgramMode::Off | ProgramMode::Passthrough => false,
        ProgramMode::Mixed => true,
        ProgramMode::Auto => scaled || !is_host_alone(layout, sources),
    }
}

/// The program can be the host's own packets.
pub(super) fn is_host_alone(layout: &Layout, sources: &[SourceInfo]) -> bool {
    let mut connected = sources.iter().filter(|source| source.connected);
    let (Some(host), None) = (connected.next(), connected.next()) else {
        return false;
    };
    let is_camera = host.seat == HOST_SEAT && host.kind == SourceKind::Camera;
    // viewers get both: what a host does not send, or may not, the mixer makes up for
    let is_whole = host.video == Some(Codec::H264) && host.audio == Some(Codec::Opus);
    let is_permitted = host.permission.video && host.permission.audio;
    is_camera && is_whole && is_permitted && layout.is_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{SeatIndex, SourceId};

    #[test]
    fn modes_sizes_and_guests_decide() {
        let camera = |seat: u8| SourceInfo::camera(SourceId(u64::from(seat)), SeatIndex(seat));
        let composed = |mode, size, sources: &[SourceInfo]| {
            let mut settings = ProgramSettings {
                mode,
                ..ProgramSettings::default()
            };
            settings.video.size = size;
            is_composed(&settings, &Layout::default(), sources, Some((640, 360)))
        };
        let (host, both) = ([camera(0)], [camera(0), camera(1)]);
        assert!(!composed(ProgramMode::Auto, None, &host));
        assert!(!composed(ProgramMode::Auto, Size::even(640, 360), &host));
        assert!(
            composed(ProgramMode::Auto, Size::even(1280, 720), &host),
            "it is scaled"
        );
        assert!(composed(ProgramMode::Auto, None, &both));
        assert!(composed(ProgramMode::Auto, None, &[]));
        assert!(composed(ProgramMode::Mixed, None, &host));
        for mode in [ProgramMode::Passthrough, ProgramMode::Off] {
            assert!(!composed(mode, Size::even(1280, 720), &both));
        }
    }
}
