//! RTP payloads of one access unit, in order → Annex B.

use super::{AggregatedUnits, FU_A, FU_END, FU_START, IMPORTANCE, SINGLE_MAX, STAP_A, TYPE};

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Puts an access unit together. Any fault of a payload is one of the whole unit, for a decoder would show it.
#[derive(Debug, Default)]
pub(crate) struct Depacketizer {
    /// Type of the NAL unit whose fragments are coming in.
    fragmented: Option<u8>,
}

impl Depacketizer {
    /// Appends what the payload holds. `None`: it is malformed, or does not go on where the last one ended.
    pub(crate) fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (header, rest) = payload.split_first()?;
        let kind = header & TYPE;
        if self.fragmented.is_some() && kind != FU_A {
            return None;
        }
        match kind {
            1..=SINGLE_MAX => {
                out.extend_from_slice(&START_CODE);
                out.extend_from_slice(payload);
                Some(())
            }
            STAP_A => {
                let mut units = AggregatedUnits { rest };
                for unit in units.by_ref() {
                    if !unit
                        .first()
                        .is_some_and(|header| (1..=SINGLE_MAX).contains(&(header & TYPE)))
                    {
                        return None;
                    }
                    out.extend_from_slice(&START_CODE);
                    out.extend_from_slice(unit);
                }
                (units.rest.is_empty() && !rest.is_empty()).then_some(())
            }
            FU_A => self.fragment(header & IMPORTANCE, rest, out),
            // packetization-mode 2 and undefined ones
            _ => None,
        }
    }

    /// Whether the access unit can end here: not within a fragmented NAL unit.
    pub(crate) fn is_whole(&self) -> bool {
        self.fragmented.is_none()
    }

    fn fragment(&mut self, importance: u8, rest: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (header, body) = rest.split_first()?;
        let kind = header & TYPE;
        if header & FU_START != 0 {
            if self.fragmented.is_some() || !(1..=SINGLE_MAX).contains(&kind) {
                return None;
            }
            out.extend_from_slice(&START_CODE);
            out.push(importance | kind);
        } else if self.fragmented != Some(kind) {
            return None;
        }
        out.extend_from_slice(body);
        self.fragmented = (header & FU_END == 0).then_some(kind);
        Some(())
    }
}
