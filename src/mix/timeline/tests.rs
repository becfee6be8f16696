use super::*;

const VIDEO: Track = Track::Video(LayerIndex(0));
const START_MS: u64 = 10_000;

/// xorshift64*: one seed is one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Milliseconds of an exponential distribution.
    fn jitter(&mut self, mean_ms: f64) -> f64 {
        -mean_ms * (1.0 - self.next()).ln()
    }
}

#[derive(Clone, Copy)]
struct Sender {
    rate: f64,
    /// Media time from one packet to the next.
    interval_ms: f64,
    report_every_ms: f64,
    /// From capture to the network: encoding.
    encode_ms: f64,
    jitter_ms: f64,
    loss: f64,
    /// Of the media clock against true time.
    drift: f64,
    first_rtp: u32,
    starts_ms: f64,
}

const SOUND: Sender = Sender {
    rate: 48_000.0,
    interval_ms: 20.0,
    report_every_ms: 5_000.0,
    encode_ms: 22.0,
    jitter_ms: 4.0,
    loss: 0.01,
    drift: 0.0,
    first_rtp: u32::MAX - 100_000,
    starts_ms: 0.0,
};
const PICTURE: Sender = Sender {
    rate: 90_000.0,
    interval_ms: 1000.0 / 30.0,
    report_every_ms: 1_000.0,
    encode_ms: 60.0,
    jitter_ms: 8.0,
    loss: 0.01,
    drift: 0.0,
    first_rtp: 12_345,
    starts_ms: 0.0,
};

enum What {
    Packet,
    Report,
}

struct Event {
    arrival_ms: f64,
    captured_ms: f64,
    track: Track,
    what: What,
}

/// A publisher in virtual time; `true` milliseconds are those of the server.
struct World {
    random: Random,
    origin: Instant,
    clock: NtpClock,
    timeline: Timeline,
    sound: Sender,
    picture: Sender,
    path_ms: f64,
    /// Added to the NTP time of reports: wrong clocks.
    report_error: Box<dyn Fn(Track, f64) -> f64>,
    reports: bool,
    /// What reports take longer than packets.
    report_late_ms: f64,
    /// Media time stood still so long before this true time.
    paused: Box<dyn Fn(f64) -> f64>,
}

/// What came out for one moment of media.
struct Presented {
    at_ms: f64,
    /// due(sound) − due(picture) of the same moment.
    skew_ms: f64,
    delay_ms: f64,
    /// Time from capture until due.
    latency_ms: f64,
    /// The packet came after it was due, by this.
    late_ms: f64,
    track: Track,
}

impl World {
    fn new(seed: u64) -> Self {
        let origin = Instant::now();
        let clock = NtpClock::new(origin, 0xe000_0000_0000_0000);
        World {
            random: Random(seed),
            origin,
            clock,
            // the first second is replayed
            timeline: Timeline::new(clock, origin + Duration::from_millis(START_MS + 1_000)),
            sound: SOUND,
            picture: PICTURE,
            path_ms: 30.0,
            report_error: Box::new(|_, _| 0.0),
            reports: true,
            report_late_ms: 0.0,
            paused: Box::new(|_| 0.0),
        }
    }

    fn instant(&self, ms: f64) -> Instant {
        self.origin + Duration::from_millis(START_MS) + Duration::from_secs_f64(ms / 1000.0)
    }

    fn ms(&self, at: Instant) -> f64 {
        at.duration_since(self.origin).as_secs_f64() * 1000.0 - START_MS as f64
    }

    fn sender(&self, track: Track) -> Sender {
        if track == Track::Audio {
            self.sound
        } else {
            self.picture
        }
    }

    fn rtp(&self, track: Track, captured_ms: f64) -> u32 {
        let sender = self.sender(track);
        let media_ms = (captured_ms - (self.paused)(captured_ms)) * (1.0 + sender.drift);
        sender
            .first_rtp
            .wrapping_add((media_ms * sender.rate / 1000.0).round() as i64 as u32)
    }

    fn events(&mut self, from_ms: f64, to_ms: f64) -> Vec<Event> {
        let mut events = vec![];
        for track in [Track::Audio, VIDEO] {
            let sender = self.sender(track);
            let mut captured_ms = from_ms.max(sender.starts_ms);
            while captured_ms < to_ms {
                let jitter = self.random.jitter(sender.jitter_ms).min(120.0);
                if self.random.next() >= sender.loss {
                    events.push(Event {
                        arrival_ms: captured_ms + sender.encode_ms + self.path_ms + jitter,
                        captured_ms,
                        track,
                        what: What::Packet,
                    });
                }
                captured_ms += sender.interval_ms;
            }
            let mut report_ms = from_ms.max(sender.starts_ms) + 700.0;
            while self.reports && report_ms < to_ms {
                let jitter = self.random.jitter(4.0);
                events.push(Event {
                    arrival_ms: report_ms + self.path_ms + jitter + self.report_late_ms,
                    captured_ms: report_ms,
                    track,
                    what: What::Report,
                });
                report_ms += sender.report_every_ms;
            }
        }
        events.sort_by(|one, other| one.arrival_ms.total_cmp(&other.arrival_ms));
        events
    }

    fn run(&mut self, from_ms: f64, to_ms: f64) -> Vec<Presented> {
        let mut presented = vec![];
        for event in self.events(from_ms, to_ms) {
            let now = self.instant(event.arrival_ms);
            let rtp = self.rtp(event.track, event.captured_ms);
            if let What::Report = event.what {
                // reports are a millisecond or two off, as browsers' are
                let error = (self.report_error)(event.track, event.captured_ms) + 2.0 * self.random.next() - 1.0;
                let reported = START_MS as f64 + event.captured_ms + error;
                let ntp = self
                    .clock
                    .at(self.origin)
                    .wrapping_add(ntp_duration(Duration::from_secs_f64(reported / 1000.0)));
                self.timeline.handle_clock(event.track, ntp, rtp, now);
                continue;
            }
            self.timeline.handle_arrival(event.track, rtp, now);
            let due = |track| {
                let due = self.timeline.due(track, self.rtp(track, event.captured_ms));
                due.map(|due| self.ms(due))
            };
            let (sound, picture) = (due(Track::Audio), due(VIDEO));
            let own = if event.track == Track::Audio { sound } else { picture }.expect("it arrived");
            presented.push(Presented {
                at_ms: event.arrival_ms,
                skew_ms: sound.zip(picture).map_or(0.0, |(sound, picture)| sound - picture),
                delay_ms: self.timeline.delay().as_secs_f64() * 1000.0,
                latency_ms: own - event.captured_ms,
                late_ms: event.arrival_ms - own,
                track: event.track,
            });
        }
        presented
    }
}

fn worst_skew(presented: &[Presented], from_ms: f64) -> f64 {
    let after = presented.iter().filter(|presented| presented.at_ms >= from_ms);
    after.map(|presented| presented.skew_ms.abs()).fold(0.0, f64::max)
}

/// Share of packets that came after they were due.
fn late(presented: &[Presented], track: Track) -> f64 {
    let of_track = || presented.iter().filter(|presented| presented.track == track);
    of_track().filter(|presented| presented.late_ms > 0.0).count() as f64 / of_track().count() as f64
}

/// The largest change of the latency of sound from one packet to the next.
fn worst_step(presented: &[Presented]) -> f64 {
    let latencies: Vec<f64> = presented
        .iter()
        .filter(|presented| presented.track == Track::Audio)
        .map(|presented| presented.latency_ms)
        .collect();
    let steps = latencies.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f64::max)
}

#[test]
fn lip_sync_holds_for_ten_minutes_of_jitter_loss_and_drift() {
    for (seed, sound_drift, picture_drift) in [(1, 100e-6, -100e-6), (2, -100e-6, 0.0), (3, 0.0, 100e-6)] {
        let mut world = World::new(seed);
        world.sound.drift = sound_drift;
        world.picture.drift = picture_drift;
        let presented = world.run(0.0, 600_000.0);
        assert!(
            worst_skew(&presented, 3_000.0) < 10.0,
            "{}",
            worst_skew(&presented, 3_000.0)
        );
        assert!(
            worst_skew(&presented, 500.0) < 60.0,
            "{}",
            worst_skew(&presented, 500.0)
        );
        let (sound, picture) = (late(&presented, Track::Audio), late(&presented, VIDEO));
        assert!(sound < 0.005 && picture < 0.03, "{sound} {picture}");
        let settled: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 10_000.0).collect();
        assert!(worst_step(&settled) < 1.0, "sound is slewed: {}", worst_step(&settled));
        for one in &settled {
            assert!((20.0..=120.0).contains(&one.delay_ms), "{}", one.delay_ms);
        }
    }
}

#[test]
fn a_publisher_whose_whole_clock_drifts_is_followed() {
    let mut world = World::new(4);
    // its NTP time runs 100 ppm fast, as its media do
    (world.sound.drift, world.picture.drift) = (100e-6, 100e-6);
    world.report_error = Box::new(|_, at_ms| at_ms * 100e-6);
    let presented = world.run(0.0, 600_000.0);
    assert!(worst_skew(&presented, 3_000.0) < 10.0);
    let latency = |at_ms: f64| {
        let near = presented.iter().filter(|one| (one.at_ms - at_ms).abs() < 5_000.0);
        let near: Vec<f64> = near.map(|one| one.latency_ms).collect();
        near.iter().sum::<f64>() / near.len() as f64
    };
    assert!(
        (latency(590_000.0) - latency(60_000.0)).abs() < 25.0,
        "{} {}",
        latency(60_000.0),
        latency(590_000.0)
    );
    assert!(late(&presented, Track::Audio) < 0.005);
}

#[test]
fn the_delay_follows_the_jitter_up_fast_and_down_slowly() {
    let mut world = World::new(5);
    (world.sound.jitter_ms, world.picture.jitter_ms) = (0.5, 0.5);
    let calm = world.run(0.0, 20_000.0);
    let before = calm.last().expect("ran").delay_ms;
    assert!((20.0..30.0).contains(&before), "{before}");
    (world.sound.jitter_ms, world.picture.jitter_ms) = (25.0, 25.0);
    let rough = world.run(20_000.0, 40_000.0);
    let reached = rough.iter().find(|one| one.delay_ms > 60.0).expect("it grows").at_ms - 20_000.0;
    assert!(reached < 1_500.0, "{reached}");
    let settled: Vec<Presented> = rough.into_iter().filter(|one| one.at_ms > 25_000.0).collect();
    assert!(late(&settled, Track::Audio) < 0.03, "{}", late(&settled, Track::Audio));
    assert!(settled.iter().all(|one| one.delay_ms <= 201.0));
    let peak = settled.last().expect("ran").delay_ms;
    (world.sound.jitter_ms, world.picture.jitter_ms) = (0.5, 0.5);
    let calm = world.run(40_000.0, 100_000.0);
    let after = |ms: f64| {
        calm.iter()
            .find(|one| one.at_ms >= 40_000.0 + ms)
            .expect("ran")
            .delay_ms
    };
    assert!(after(3_000.0) > peak - 20.0, "not at once: {peak} {}", after(3_000.0));
    assert!((20.0..30.0).contains(&after(50_000.0)), "{}", after(50_000.0));
    let down: Vec<Presented> = calm.into_iter().filter(|one| one.at_ms > 41_000.0).collect();
    assert!(worst_step(&down) < 0.5, "slewed: {}", worst_step(&down));
}

#[test]
fn without_reports_tracks_are_aligned_by_arrival() {
    let mut world = World::new(6);
    world.reports = false;
    world.sound.drift = 100e-6;
    let presented = world.run(0.0, 300_000.0);
    // the picture's encoder takes 38 ms longer, which nobody tells
    assert!(
        worst_skew(&presented, 5_000.0) < 45.0,
        "{}",
        worst_skew(&presented, 5_000.0)
    );
    assert!(late(&presented, Track::Audio) < 0.01 && late(&presented, VIDEO) < 0.03);
    // and once reports come, the skew goes without a jump of the sound
    world.reports = true;
    let presented = world.run(300_000.0, 360_000.0);
    assert!(
        worst_skew(&presented, 308_000.0) < 10.0,
        "{}",
        worst_skew(&presented, 308_000.0)
    );
    assert!(worst_step(&presented) < 1.0, "{}", worst_step(&presented));
}

#[test]
fn reports_of_one_track_only_do_not_tear_it_from_the_other() {
    let mut world = World::new(7);
    world.picture.report_every_ms = 1e9;
    world.picture.starts_ms = 4_000.0;
    let presented = world.run(0.0, 60_000.0);
    assert!(
        worst_skew(&presented, 6_000.0) < 50.0,
        "{}",
        worst_skew(&presented, 6_000.0)
    );
    assert!(late(&presented, VIDEO) < 0.03);
}

#[test]
fn a_picture_that_joins_late_is_in_sync_after_its_first_report() {
    let mut world = World::new(8);
    world.picture.starts_ms = 20_000.0;
    let presented = world.run(0.0, 60_000.0);
    assert!(
        worst_skew(&presented, 21_000.0) < 45.0,
        "{}",
        worst_skew(&presented, 21_000.0)
    );
    assert!(
        worst_skew(&presented, 30_000.0) < 10.0,
        "{}",
        worst_skew(&presented, 30_000.0)
    );
    let late_pictures: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 24_000.0).collect();
    assert!(late(&late_pictures, VIDEO) < 0.03);
}

#[test]
fn reports_that_come_late_are_as_good() {
    let mut world = World::new(15);
    (world.sound.drift, world.report_late_ms) = (100e-6, 3_000.0);
    let presented = world.run(0.0, 60_000.0);
    assert!(
        worst_skew(&presented, 6_000.0) < 10.0,
        "{}",
        worst_skew(&presented, 6_000.0)
    );
    // so late that the clock they were moved to is no longer known: none at all
    let mut world = World::new(16);
    world.report_late_ms = 10_000.0;
    let presented = world.run(0.0, 60_000.0);
    assert!(
        worst_skew(&presented, 1_000.0) < 45.0,
        "{}",
        worst_skew(&presented, 1_000.0)
    );
}

#[test]
fn wrong_reports_change_nothing() {
    type Error = fn(Track, f64) -> f64;
    let errors: [Error; 4] = [
        // one report in the future, one far in the past
        |_, at_ms| {
            if (30_000.0..35_000.0).contains(&at_ms) {
                3_600_000.0
            } else {
                0.0
            }
        },
        |track, at_ms| {
            if track == VIDEO && (30_000.0..31_000.0).contains(&at_ms) {
                -300.0
            } else {
                0.0
            }
        },
        // a track that is always 3 s off has no clock to go by
        |track, _| if track == VIDEO { 3_000.0 } else { 0.0 },
        |track, _| if track == VIDEO { -800.0 } else { 0.0 },
    ];
    for (index, error) in errors.into_iter().enumerate() {
        let mut world = World::new(9);
        world.report_error = Box::new(error);
        let presented = world.run(0.0, 60_000.0);
        assert!(
            worst_skew(&presented, 8_000.0) < 45.0,
            "{index}: {}",
            worst_skew(&presented, 8_000.0)
        );
        assert!(late(&presented, Track::Audio) < 0.01, "{index}");
        assert!(
            presented
                .iter()
                .all(|one| one.delay_ms <= 201.0 && one.latency_ms < 400.0),
            "{index}"
        );
    }
}

#[test]
fn a_publisher_who_sets_the_clock_is_not_heard_to_do_so() {
    for step_ms in [400.0, -400.0, 120.0] {
        let mut world = World::new(10);
        world.report_error = Box::new(move |_, at_ms| if at_ms > 30_000.0 { step_ms } else { 0.0 });
        let presented = world.run(0.0, 90_000.0);
        assert!(
            worst_skew(&presented, 8_000.0) < 45.0,
            "{step_ms}: {}",
            worst_skew(&presented, 8_000.0)
        );
        let settled: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 10_000.0).collect();
        assert!(worst_step(&settled) < 1.0, "{step_ms}: {}", worst_step(&settled));
    }
}

#[test]
fn a_headset_that_shifts_the_sound_alone_is_believed() {
    let mut world = World::new(11);
    world.report_error = Box::new(|track, at_ms| {
        if track == Track::Audio && at_ms > 30_000.0 {
            -120.0
        } else {
            0.0
        }
    });
    let presented = world.run(0.0, 90_000.0);
    let last = presented.last().expect("ran");
    assert!((last.skew_ms + 120.0).abs() < 10.0, "{}", last.skew_ms);
    let settled: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 10_000.0).collect();
    // but for the few milliseconds that the delay grows by when a packet is late
    assert!(
        worst_step(&settled) < 15.0,
        "the pictures move: {}",
        worst_step(&settled)
    );
}

#[test]
fn a_paused_tab_resumes_within_a_second() {
    // timestamps go on with the time, or stand still
    for stands_still in [false, true] {
        let mut world = World::new(12);
        world.run(0.0, 20_000.0);
        if stands_still {
            world.paused = Box::new(|at_ms| if at_ms >= 50_000.0 { 30_000.0 } else { 0.0 });
        }
        let presented = world.run(50_000.0, 80_000.0);
        let resumed: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 51_000.0).collect();
        assert!(worst_skew(&resumed, 0.0) < 60.0, "{}", worst_skew(&resumed, 0.0));
        assert!(
            worst_skew(&resumed, 57_000.0) < 10.0,
            "{}",
            worst_skew(&resumed, 57_000.0)
        );
        assert!(late(&resumed, Track::Audio) < 0.01 && late(&resumed, VIDEO) < 0.03);
        for one in &resumed {
            assert!(one.latency_ms < 300.0, "{}", one.latency_ms);
        }
    }
}

#[test]
fn restarted_timestamps_are_anchored_anew() {
    for first_rtp in [7, 0x8000_0000, SOUND.first_rtp.wrapping_add(3 * 48_000)] {
        let mut world = World::new(13);
        world.run(0.0, 20_000.0);
        world.sound.first_rtp = first_rtp;
        let presented = world.run(20_000.0, 50_000.0);
        let resumed: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 21_000.0).collect();
        assert!(worst_skew(&resumed, 0.0) < 60.0, "{}", worst_skew(&resumed, 0.0));
        assert!(
            worst_skew(&resumed, 30_000.0) < 10.0,
            "{}",
            worst_skew(&resumed, 30_000.0)
        );
        assert!(late(&resumed, Track::Audio) < 0.01, "{}", late(&resumed, Track::Audio));
    }
}

#[test]
fn a_longer_path_is_taken_for_what_it_is() {
    let mut world = World::new(14);
    world.run(0.0, 20_000.0);
    world.path_ms += 350.0;
    let presented = world.run(20_000.0, 40_000.0);
    let later: Vec<Presented> = presented.into_iter().filter(|one| one.at_ms > 22_000.0).collect();
    assert!(late(&later, Track::Audio) < 0.01, "{}", late(&later, Track::Audio));
    assert!(worst_skew(&later, 0.0) < 10.0, "{}", worst_skew(&later, 0.0));
    world.path_ms -= 350.0;
    let presented = world.run(40_000.0, 60_000.0);
    let latency = presented.last().expect("ran").latency_ms;
    assert!(latency < 200.0, "and short again: {latency}");
}

#[test]
fn random_numbers_leave_the_delay_in_bounds() {
    for seed in 1..30 {
        let mut random = Random(seed);
        let origin = Instant::now();
        let clock = NtpClock::new(origin, 1 << 60);
        let mut timeline = Timeline::new(clock, origin);
        let mut elapsed_ms = 0.0;
        for _ in 0..2_000 {
            let mut upto = |limit: f64| random.next() * limit;
            elapsed_ms += if upto(1.0) < 0.02 { upto(1e7) } else { upto(60.0) };
            let mut now = origin + Duration::from_secs_f64(elapsed_ms / 1000.0);
            if upto(1.0) < 0.05 {
                now -= Duration::from_secs_f64(upto(elapsed_ms.min(9_000.0)) / 1000.0);
            }
            let track = [Track::Audio, VIDEO, Track::Video(LayerIndex(1))][upto(3.0) as usize];
            let rtp = match upto(1.0) {
                0.0..0.1 => upto(4_294_967_296.0) as u32,
                _ => (elapsed_ms * if track == Track::Audio { 48.0 } else { 90.0 }) as u64 as u32,
            };
            match upto(1.0) {
                0.0..0.1 => timeline.handle_clock(track, upto(1.8e19) as u64, rtp, now),
                0.1..0.3 => timeline.handle_clock(track, clock.at(now).wrapping_add(upto(3e10) as u64), rtp, now),
                _ => timeline.handle_arrival(track, rtp, now),
            }
            assert!(timeline.delay() <= Duration::from_millis(401), "{:?}", timeline.delay());
            let _ = timeline.due(track, rtp.wrapping_add(upto(4_294_967_296.0) as u32));
        }
    }
}

#[test]
fn nothing_is_known_of_tracks_that_never_came() {
    let now = Instant::now();
    let mut timeline = Timeline::new(NtpClock::new(now, 0), now);
    assert_eq!(timeline.due(Track::Audio, 0), None);
    timeline.handle_arrival(Track::Video(LayerIndex(200)), 0, now);
    timeline.handle_clock(Track::Video(LayerIndex(200)), 0, 0, now);
    assert_eq!(timeline.due(Track::Video(LayerIndex(200)), 0), None);
    timeline.handle_arrival(Track::Video(LayerIndex(7)), 90_000, now);
    assert_eq!(
        timeline.due(Track::Video(LayerIndex(7)), 90_000),
        Some(now + Duration::from_millis(40)),
        "the first waits for those that took longer"
    );
    assert_eq!(timeline.delay(), Duration::from_millis(40));
    assert_eq!(timeline.due(VIDEO, 90_000), None);
}
