//! Sequence numbers and timestamps of one outgoing stream, whoever makes its packets.

use crate::rtp::{Codec, MediaKind};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where timestamps begin: a host's first frame was moment before the program began.
const LEAD: Duration = Duration::from_secs(10);
/// Sequence numbers begin in the second lap, so that what comes before the first has a place.
const FIRST_SEQUENCE: u64 = 1 << 16;
/// Host's packets that have not come and still may. Retransmissions are asked for within a second; who lost more than this
/// in that time waits for a keyframe.
const HOLES_MAX: usize = 512;
/// Frames that late packets may belong to: 1 s of 2.5 ms audio packets.
const FRAMES_MAX: usize = 400;
/// A step of the host's sequence numbers that is no loss: a new stream began. As long as its longest ring.
const JUMP_MAX: u64 = 8192;

/// How far a stream may be off its moments before it is set right, by a gap or an overlap: unnoticed between sound and
/// picture (ITU-R BT.1359 has 45 ms), and at 100 ppm once in two and a half minutes.
const SLACK: Duration = Duration::from_millis(15);

/// What a packet leaves under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Extended; the low 16 bits are the RTP sequence number.
    pub sequence: u64,
    /// RTP timestamp, in ticks of the kind's clock rate.
    pub timestamp: u32,
}

/// Why a host's packet is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is from before the first packet that was forwarded, or older than what is remembered.
    Before,
    /// It was sent already.
    Duplicate,
    /// Its number, or its time, is the mixer's.
    Overtaken,
    /// Its number is too far from the others: another stream.
    Jump,
}

/// A host's packet as far as its numbers depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) moment: Instant,
    pub(super) duration: Duration,
}

/// One outgoing stream. Its timestamps are moments on the program's clock, which is the monotonic clock of the server; they
/// rise with the sequence numbers, whoever's packets they are. A frame that is due within [`SLACK`] of where the one before
/// says it follows leaves as if it were due there: decoders of sound take every missing tick for a loss.
#[derive(Debug)]
pub(super) struct Numbering {
    clock_rate: u32,
    is_sound: bool,
    origin: Instant,
    /// One above the highest sequence number given out.
    next: u64,
    last: Option<Last>,
    /// The host's packets; while the mixer is at work, those that were forwarded before.
    run: Option<Run>,
}

/// The newest frame given out.
#[derive(Clone, Copy, Debug)]
struct Last {
    ticks: i64,
    /// Of what follows without a gap.
    end: i64,
}

/// A stretch of the host's packets under one offset, so that a gap stays one and a late packet fits in.
#[derive(Debug)]
struct Run {
    /// The host's number of the first packet, and what it left under.
    first: u64,
    first_given: u64,
    /// The host's highest number.
    top: u64,
    /// Below `top`, not come yet; ascending.
    holes: VecDeque<u64>,
    /// In order of their numbers; at least one.
    frames: VecDeque<Stamped>,
    /// No new frame is taken: the mixer goes on behind the last one.
    closing: bool,
    /// Nor the rest of the last one: the mixer has gone on.
    closed: bool,
}

/// A frame's timestamp; each frame has one, whatever the mapping of its clock became meanwhile.
#[derive(Clone, Copy, Debug)]
struct Stamped {
    /// The host's lowest and highest number known to be of the frame.
    lowest: u64,
    highest: u64,
    /// The host's.
    timestamp: u32,
    ticks: i64,
}

impl Numbering {
    pub(super) fn new(codec: Codec, origin: Instant) -> Self {
        Numbering {
            clock_rate: codec.clock_rate(),
            is_sound: codec.kind() == MediaKind::Audio,
            origin,
            next: FIRST_SEQUENCE,
            last: None,
            run: None,
        }
    }

    /// When the newest frame given out ends.
    pub(super) fn end(&self) -> Option<Instant> {
        Some(self.moment(self.last?.end))
    }

    /// The host's packets are forwarded from here on.
    pub(super) fn is_forwarding(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.closing)
    }

    /// The mixer goes on behind the frame that the host began last.
    pub(super) fn close(&mut self) {
        if let Some(run) = &mut self.run {
            run.closing = true;
        }
    }

    /// The host's numbers mean nothing any more.
    pub(super) fn forget_host(&mut self) {
        self.run = None;
    }

    /// Forward the host's packets from this one on.
    pub(super) fn begin(&mut self, first: &Incoming) -> Numbers {
        let ticks = self.ticks_behind(first.moment);
        // a mapping that was set back must not set back the stream
        let ticks = self.last.map_or(ticks, |last| ticks.max(last.ticks + 1));
        let frame = Stamped {
            lowest: first.sequence,
            highest: first.sequence,
            timestamp: first.timestamp,
            ticks,
        };
        self.run = Some(Run {
            first: first.sequence,
            first_given: self.next,
            top: first.sequence,
            holes: VecDeque::new(),
            frames: VecDeque::from([frame]),
            closing: false,
            closed: false,
        });
        let sequence = self.next;
        self.give(sequence, ticks, ticks + self.span(first.duration));
        numbers(sequence, ticks)
    }

    /// Number a packet of the host.
    pub(super) fn forward(&mut self, packet: &Incoming) -> Result<Numbers, Refusal> {
        let (ticks, slack) = (self.ticks(packet.moment), self.span(SLACK));
        let run = self.run.as_mut().ok_or(Refusal::Overtaken)?;
        let behind_first = packet.sequence.checked_sub(run.first).ok_or(Refusal::Before)?;
        let ticks = if packet.sequence > run.top {
            run.append(packet, (ticks, slack))?
        } else {
            run.fill(packet, (ticks, slack))?
        };
        let sequence = run.first_given + behind_first;
        self.give(sequence, ticks, ticks + self.span(packet.duration));
        Ok(numbers(sequence, ticks))
    }

    /// Number `packets` packets of a frame of the mixer; the first one's. `None`: it is not later than what was given out.
    pub(super) fn mix(&mut self, moment: Instant, duration: Duration, packets: u64) -> Option<Numbers> {
        let ticks = self.ticks_behind(moment);
        if packets == 0 || self.last.is_some_and(|last| ticks <= last.ticks) {
            return None;
        }
        if let Some(run) = &mut self.run {
            run.closed = true;
        }
        let first = self.next;
        self.give(first + packets - 1, ticks, ticks + self.span(duration));
        Some(numbers(first, ticks))
    }

    fn give(&mut self, sequence: u64, ticks: i64, end: i64) {
        self.next = self.next.max(sequence + 1);
        if self.last.is_none_or(|last| last.ticks <= ticks) {
            self.last = Some(Last { ticks, end });
        }
    }

    /// Ticks in so much time.
    fn span(&self, duration: Duration) -> i64 {
        let ticks = (duration.as_nanos() * u128::from(self.clock_rate) + 500_000_000) / 1_000_000_000;
        // saturates after two million years
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    fn ticks(&self, moment: Instant) -> i64 {
        let lead = self.span(LEAD);
        match moment.checked_duration_since(self.origin) {
            Some(later) => lead.saturating_add(self.span(later)),
            None => lead - self.span(self.origin.saturating_duration_since(moment)),
        }
    }

    /// What [`ticks`](Self::ticks) turns into these, to the nearest nanosecond.
    fn moment(&self, ticks: i64) -> Instant {
        let ticks = ticks - self.span(LEAD);
        let rate = u128::from(self.clock_rate);
        let nanos = (u128::from(ticks.unsigned_abs()) * 1_000_000_000 + rate / 2) / rate;
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if ticks < 0 {
            self.origin.checked_sub(span).unwrap_or(self.origin)
        } else {
            self.origin + span
        }
    }

    /// Of a frame behind the newest one: pictures may be any time apart, sound has no gaps that are not meant.
    fn ticks_behind(&self, moment: Instant) -> i64 {
        let ticks = self.ticks(moment);
        let last = self.last.filter(|_| self.is_sound);
        last.map_or(ticks, |last| steadied(ticks, last.end, self.span(SLACK)))
    }
}

/// `expected`, if `ticks` is near.
fn steadied(ticks: i64, expected: i64, slack: i64) -> i64 {
    if (ticks - expected).abs() <= slack {
        expected
    } else {
        ticks
    }
}

impl Stamped {
    /// Where a frame with this timestamp is, if nothing moved since. By the host's timestamps, which wrap.
    fn expects(&self, timestamp: u32) -> i64 {
        self.ticks + i64::from(timestamp.wrapping_sub(self.timestamp).cast_signed())
    }
}

impl Run {
    /// Takes a packet in behind all others; the ticks of its frame.
    fn append(&mut self, packet: &Incoming, (ticks, slack): (i64, i64)) -> Result<i64, Refusal> {
        let newest = self.frames.back_mut();
        // a mapping that was set back must not set back the stream
        let next_ticks = newest.as_ref().map_or(ticks, |newest| {
            steadied(ticks, newest.expects(packet.timestamp), slack).max(newest.ticks + 1)
        });
        let last = newest.filter(|last| last.timestamp == packet.timestamp);
        if self.closed || (self.closing && last.is_none()) {
            return Err(Refusal::Overtaken);
        }
        if packet.sequence - self.top > JUMP_MAX {
            return Err(Refusal::Jump);
        }
        let ticks = match last {
            Some(last) => {
                last.highest = packet.sequence;
                last.ticks
            }
            None => {
                if self.frames.len() == FRAMES_MAX {
                    self.frames.pop_front();
                }
                self.frames.push_back(Stamped {
                    lowest: packet.sequence,
                    highest: packet.sequence,
                    timestamp: packet.timestamp,
                    ticks: next_ticks,
                });
                next_ticks
            }
        };
        let skipped = self.top + 1..packet.sequence;
        let remembered = packet.sequence.saturating_sub(HOLES_MAX as u64);
        self.holes.extend(skipped.start.max(remembered)..skipped.end);
        let surplus = self.holes.len().saturating_sub(HOLES_MAX);
        self.holes.drain(..surplus);
        self.top = packet.sequence;
        Ok(ticks)
    }

    /// Takes a late packet in; the ticks of its frame. One of which nothing else has come has its place between its
    /// neighbours.
    fn fill(&mut self, packet: &Incoming, (ticks, slack): (i64, i64)) -> Result<i64, Refusal> {
        let sequence = packet.sequence;
        let hole = self.holes.binary_search(&sequence).map_err(|_| Refusal::Duplicate)?;
        let behind = self.frames.partition_point(|frame| frame.lowest < sequence);
        let before = behind.checked_sub(1).ok_or(Refusal::Before)?;
        let (earlier, later) = (self.frames[before], self.frames.get(behind).copied());
        let ticks = if earlier.timestamp == packet.timestamp {
            self.frames[before].highest = earlier.highest.max(sequence);
            earlier.ticks
        } else if earlier.highest > sequence {
            // in the middle of another frame
            return Err(Refusal::Overtaken);
        } else if let Some(later) = later {
            if later.timestamp == packet.timestamp {
                self.frames[behind].lowest = sequence;
                later.ticks
            } else {
                let room = earlier.ticks + 1..later.ticks;
                if room.is_empty() {
                    return Err(Refusal::Overtaken);
                }
                let ticks = steadied(ticks, earlier.expects(packet.timestamp), slack);
                let ticks = ticks.clamp(room.start, room.end - 1);
                let frame = Stamped {
                    lowest: sequence,
                    highest: sequence,
                    timestamp: packet.timestamp,
                    ticks,
                };
                self.frames.insert(behind, frame);
                if self.frames.len() > FRAMES_MAX {
                    self.frames.pop_front();
                }
                ticks
            }
        } else {
            // the highest packet is of a frame, so there is one behind every hole
            return Err(Refusal::Overtaken);
        };
        self.holes.remove(hole);
        Ok(ticks)
    }
}

fn numbers(sequence: u64, ticks: i64) -> Numbers {
    Numbers {
        sequence,
        // RTP timestamps wrap
        timestamp: ticks as u32,
    }
}
