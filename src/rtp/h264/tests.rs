use super::parameters::{SPS_MAX, without_emulation_prevention};
use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// 1280×720, baseline 3.1 (Chromium's OpenH264).
pub(crate) const SPS_720: [u8; 14] = [
    0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x00, 0xf0, 0x88, 0x46,
];

/// Builds parameter sets for tests.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    used: usize,
}

impl Writer {
    fn bits(mut self, value: u32, count: u32) -> Self {
        for i in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> i & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
        self
    }
    fn ue(self, value: u32) -> Self {
        let len = 32 - (value + 1).leading_zeros();
        self.bits(0, len - 1).bits(value + 1, len)
    }
}

/// The NAL unit of a parameter set with this size.
pub(crate) fn sps_of(profile: u32, mbs: (u32, u32), frames_only: bool, crop: Option<[u32; 4]>) -> Vec<u8> {
    let mut writer = Writer::default()
        .bits(0x67, 8)
        .bits(profile, 8)
        .bits(0, 8)
        .bits(31, 8)
        .ue(0);
    if profile == 100 {
        writer = writer.ue(1).ue(0).ue(0).bits(0, 2);
    }
    writer = writer.ue(0).ue(0).ue(4).ue(1).bits(0, 1).ue(mbs.0 - 1).ue(mbs.1 - 1);
    writer = writer.bits(u32::from(frames_only), 1);
    if !frames_only {
        writer = writer.bits(0, 1);
    }
    writer = writer.bits(1, 1).bits(u32::from(crop.is_some()), 1);
    for edge in crop.into_iter().flatten() {
        writer = writer.ue(edge);
    }
    writer.bits(0, 1).bits(1, 1).bytes
}

#[test]
fn sizes_with_profiles_fields_and_cropping() {
    assert_eq!(keyframe_size(&SPS_720), Some((1280, 720)));
    assert_eq!(keyframe_size(&sps_of(66, (40, 30), true, None)), Some((640, 480)));
    assert_eq!(
        keyframe_size(&sps_of(100, (120, 68), true, Some([0, 0, 0, 4]))),
        Some((1920, 1080))
    );
    assert_eq!(
        keyframe_size(&sps_of(100, (120, 34), false, Some([0, 0, 0, 2]))),
        Some((1920, 1080))
    );
    assert_eq!(keyframe_size(&sps_of(66, (1, 1), true, Some([9, 9, 0, 0]))), None);
    assert_eq!(keyframe_size(&SPS_720[..6]), None);
}

#[test]
fn emulation_prevention_is_undone() {
    let mut buffer = [0; SPS_MAX];
    assert_eq!(
        without_emulation_prevention(&[1, 0, 0, 3, 1, 0, 0, 3], &mut buffer),
        [1, 0, 0, 1, 0, 0]
    );
    assert_eq!(without_emulation_prevention(&[5; 1000], &mut buffer).len(), SPS_MAX);
}

#[test]
fn starts_are_where_parameters_are() {
    assert!(starts_keyframe(&SPS_720));
    let mut stap = vec![0x78];
    for unit in [&[0x09, 0x10][..], &SPS_720, &[0x68, 0xce], &[0x65, 1, 2]] {
        stap.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        stap.extend_from_slice(unit);
    }
    assert!(starts_keyframe(&stap));
    assert_eq!(keyframe_size(&stap), Some((1280, 720)));
    assert!(starts_keyframe(&[0x7c, 0x87, 1, 2]));
    // a later fragment, an IDR slice alone, a delta slice, parameters of the picture, nothing
    for payload in [
        &[0x7c, 0x07, 1][..],
        &[0x65, 1],
        &[0x41, 1],
        &[0x68, 1],
        &[0x7c],
        &[0x78, 0, 9, 0x67],
        &[],
    ] {
        assert!(!starts_keyframe(payload), "{payload:x?}");
    }
}

#[test]
fn mutated_payloads_never_panic() {
    let mut rng = StdRng::seed_from_u64(3);
    let seeds = [
        SPS_720.to_vec(),
        sps_of(100, (120, 34), false, Some([0, 0, 0, 2])),
        [&[0x78, 0, 14][..], &SPS_720].concat(),
    ];
    for round in 0..20_000 {
        let mut payload = seeds[round % seeds.len()].clone();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..payload.len());
            payload[at] = rng.random();
        }
        payload.truncate(rng.random_range(0..=payload.len()));
        let size = keyframe_size(&payload);
        assert!(size.is_none() || starts_keyframe(&payload));
    }
}

/// A main profile set with picture order count type 0; `reorder`: what the usability information says, if it is there.
fn sps_with_order(profile: u32, constraints: u32, order_count_type: u32, reorder: Option<u32>) -> Vec<u8> {
    let mut writer = Writer::default()
        .bits(0x67, 8)
        .bits(profile, 8)
        .bits(constraints, 8)
        .bits(31, 8);
    writer = writer.ue(0);
    if profile == 100 {
        writer = writer.ue(1).ue(0).ue(0).bits(0, 2);
    }
    writer = writer.ue(0).ue(order_count_type);
    if order_count_type == 0 {
        writer = writer.ue(4);
    }
    writer = writer.ue(1).bits(0, 1).ue(39).ue(22).bits(1, 1).bits(1, 1).bits(0, 1);
    writer = writer.bits(u32::from(reorder.is_some()), 1);
    if let Some(reorder) = reorder {
        writer = writer.bits(1, 1).bits(255, 8).bits(1, 16).bits(1, 16); // aspect ratio
        writer = writer.bits(1, 1).bits(0, 1); // overscan
        writer = writer.bits(1, 1).bits(5, 3).bits(0, 1).bits(1, 1).bits(0x01_0101, 24); // video signal
        writer = writer.bits(1, 1).ue(0).ue(0); // chroma location
        writer = writer.bits(1, 1).bits(1, 32).bits(60, 32).bits(1, 1); // timing
        for _ in 0..2 {
            writer = writer.bits(1, 1).ue(1).bits(0, 8);
            writer = writer.ue(5).ue(5).bits(0, 1).ue(5).ue(5).bits(0, 1).bits(0, 20);
        }
        writer = writer.bits(0, 1).bits(0, 1); // low delay, picture structure
        writer = writer.bits(1, 1).bits(1, 1).ue(0).ue(0).ue(11).ue(11).ue(reorder).ue(4);
    }
    escaped(&writer.bits(1, 1).bytes)
}

/// With emulation prevention (H.264 §7.4.1.1).
fn escaped(nal: &[u8]) -> Vec<u8> {
    let (mut out, mut zeros) = (vec![], 0);
    for byte in nal {
        if zeros == 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

#[test]
fn order_is_what_the_parameter_set_promises() {
    const BASELINE: u32 = 66;
    const MAIN: u32 = 77;
    const HIGH: u32 = 100;
    assert_eq!(may_reorder(&SPS_720), Some(false));
    assert_eq!(may_reorder(&sps_with_order(BASELINE, 0xc0, 0, None)), Some(false));
    assert_eq!(may_reorder(&sps_with_order(MAIN, 0, 0, None)), Some(true));
    assert_eq!(may_reorder(&sps_with_order(MAIN, 0, 2, None)), Some(false));
    assert_eq!(may_reorder(&sps_with_order(MAIN, 0, 0, Some(0))), Some(false));
    assert_eq!(may_reorder(&sps_with_order(MAIN, 0, 0, Some(1))), Some(true));
    assert_eq!(may_reorder(&sps_with_order(HIGH, 0, 0, Some(0))), Some(false));
    assert_eq!(may_reorder(&sps_with_order(HIGH, 0, 0, Some(2))), Some(true));
    assert_eq!(
        may_reorder(&sps_with_order(HIGH, 0x10, 0, None)),
        Some(false),
        "intra only"
    );
    // cut off before the promise
    let mut cut = sps_with_order(MAIN, 0, 0, Some(0));
    cut.truncate(30);
    assert_eq!((may_reorder(&cut), keyframe_size(&cut)), (Some(true), Some((640, 368))));
    assert_eq!(may_reorder(&[0x41, 1]), None);
}

#[test]
fn nal_units_are_between_start_codes() {
    let units = |stream: &'static [u8]| nal_units(stream).collect::<Vec<_>>();
    assert_eq!(
        units(&[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65]),
        [&[0x67, 1][..], &[0x68], &[0x65]]
    );
    assert_eq!(
        units(&[9, 9, 0, 0, 1, 0x65, 7, 0, 0, 0]),
        [[0x65, 7]],
        "without what is around"
    );
    assert_eq!(
        units(&[0, 0, 1, 0, 0, 1, 0x65, 0, 2, 0, 0, 3, 1]),
        [[0x65, 0, 2, 0, 0, 3, 1]]
    );
    assert!(units(&[0, 0, 1]).is_empty() && units(&[0x65, 1]).is_empty() && units(&[]).is_empty());
}

fn packetized(access_unit: &[u8], payload_max: usize) -> Vec<(Vec<u8>, bool)> {
    let mut packets = vec![];
    Packetizer::new(payload_max).packetize(access_unit, |payload, marker| packets.push((payload.to_vec(), marker)));
    packets
}

#[test]
fn small_units_share_a_packet_and_large_ones_are_cut() {
    let mut keyframe = [
        &[0, 0, 0, 1][..],
        &SPS_720,
        &[0, 0, 0, 1, 0x68, 0xce, 0x3c],
        &[0, 0, 1, 0x65],
    ]
    .concat();
    keyframe.extend((0..2500u32).map(|i| (i % 250) as u8 + 1));
    let packets = packetized(&keyframe, 1200);
    let shape: Vec<_> = packets
        .iter()
        .map(|(payload, marker)| (payload.len(), *marker))
        .collect();
    assert_eq!(
        shape,
        [
            (1 + 2 + 14 + 2 + 3, false),
            (1200, false),
            (1200, false),
            (2 + 104, true)
        ]
    );
    let (aggregate, _) = &packets[0];
    assert_eq!(aggregate[..3], [0x78, 0, 14], "as important as the parameter sets");
    assert!(starts_keyframe(aggregate));
    let headers: Vec<_> = packets[1..]
        .iter()
        .map(|(payload, _)| (payload[0], payload[1]))
        .collect();
    assert_eq!(headers, [(0x7c, 0x85), (0x7c, 0x05), (0x7c, 0x45)]);

    assert_eq!(packetized(&[0, 0, 1, 0x41, 5], 1200), [(vec![0x41, 5], true)]);
    let exact = [&[0, 0, 1, 0x41][..], &[7; 1199], &[0, 0, 1, 0x41, 8]].concat();
    let shape: Vec<_> = packetized(&exact, 1200)
        .iter()
        .map(|(payload, marker)| (payload.len(), *marker))
        .collect();
    assert_eq!(shape, [(1200, false), (2, true)], "no aggregate beyond the limit");
    assert!(packetized(&[], 1200).is_empty());
    for limit in [0, 16, 17, 40] {
        assert!(
            packetized(&keyframe, limit)
                .iter()
                .all(|(payload, _)| payload.len() <= limit.max(16))
        );
    }
}

#[test]
fn a_packetizer_that_is_warm_writes_into_the_same_buffer() {
    let mut packetizer = Packetizer::default();
    let unit = [&[0, 0, 1, 0x65][..], &[7; 5000]].concat();
    let mut buffers = vec![];
    for _ in 0..2 {
        packetizer.packetize(&unit, |payload, _| buffers.push(payload.as_ptr()));
    }
    assert!(buffers.len() == 10 && buffers.windows(2).all(|pair| pair[0] == pair[1]));
}
