use super::*;
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

const REPORT: ReportBlock = ReportBlock {
    ssrc: 9,
    fraction_lost: 3,
    total_lost: -2,
    highest_sequence: 0x1_0005,
    jitter: 77,
    last_sender_report: 0xaabb_ccdd,
    delay: 4000,
};
const INFO: SenderInfo = SenderInfo {
    ntp: 0x0102_0304_0506_0708,
    rtp: 99,
    packets: 1000,
    octets: 50_000,
};

fn everything() -> Vec<u8> {
    let mut out = vec![];
    write_sender_report(&mut out, 1, INFO, &[REPORT]);
    write_receiver_report(&mut out, 2, &[REPORT, REPORT]);
    write_cname(&mut out, 2, "costage");
    write_nack(&mut out, 2, 9, &[65_530, 65_531, 65_546, 65_547, 70_000]);
    write_pli(&mut out, 2, 9);
    write_fir(&mut out, 2, 9, 200);
    write_remb(&mut out, 2, 1_234_567, &[9, 10]);
    write_bye(&mut out, &[9]);
    out
}

#[test]
fn blocks_round_trip() {
    let out = everything();
    let mut reader = blocks(&out);
    let parsed: Vec<Block> = reader.by_ref().collect();
    assert_eq!(reader.malformed(), None);
    let [sr, rr, sdes, nack, pli, fir, remb, bye] = &parsed[..] else {
        panic!("{parsed:?}")
    };
    let Block::SenderReport {
        ssrc: 1,
        ntp,
        rtp: 99,
        packets: 1000,
        octets: 50_000,
        reports,
    } = sr
    else {
        panic!("{sr:?}")
    };
    assert_eq!(*ntp, INFO.ntp);
    assert_eq!(reports.clone().collect::<Vec<_>>(), [REPORT]);
    let Block::ReceiverReport { ssrc: 2, reports } = rr else {
        panic!("{rr:?}")
    };
    assert_eq!(reports.clone().collect::<Vec<_>>(), [REPORT, REPORT]);
    assert!(matches!(
        sdes,
        Block::Other {
            packet_type: SOURCE_DESCRIPTION
        }
    ));
    let Block::Nack { media_ssrc: 9, lost } = nack else {
        panic!("{nack:?}")
    };
    assert_eq!(lost.clone().collect::<Vec<_>>(), [65_530, 65_531, 10, 11, 4464]);
    assert!(matches!(pli, Block::Pli { media_ssrc: 9 }));
    let Block::Fir(entries) = fir else { panic!("{fir:?}") };
    assert_eq!(entries.clone().collect::<Vec<_>>(), [(9, 200)]);
    let Block::Remb { bitrate, ssrcs } = remb else {
        panic!("{remb:?}")
    };
    assert!((1_234_000..=1_234_567).contains(bitrate));
    assert_eq!(ssrcs.clone().collect::<Vec<_>>(), [9, 10]);
    let Block::Bye(ssrcs) = bye else { panic!("{bye:?}") };
    assert_eq!(ssrcs.clone().collect::<Vec<_>>(), [9]);
}

/// The independent parser of `rtc-rtcp` reads what is written here.
#[test]
fn another_implementation_agrees() {
    let packets = rtc_rtcp::packet::unmarshal(&mut Bytes::from(everything())).unwrap();
    assert_eq!(packets.len(), 8);
    let nack = packets[3].as_any().downcast_ref::<TransportLayerNack>().unwrap();
    let ids: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
    assert_eq!((nack.media_ssrc, ids), (9, vec![65_530, 65_531, 10, 11, 4464]));
    assert!(packets[4].as_any().downcast_ref::<PictureLossIndication>().is_some());
    let fir = packets[5].as_any().downcast_ref::<FullIntraRequest>().unwrap();
    assert_eq!((fir.fir[0].ssrc, fir.fir[0].sequence_number), (9, 200));
    let remb = packets[6]
        .as_any()
        .downcast_ref::<ReceiverEstimatedMaximumBitrate>()
        .unwrap();
    assert!((remb.bitrate - 1_234_567.0).abs() < 600.0);
    let rr = packets[1]
        .as_any()
        .downcast_ref::<rtc_rtcp::receiver_report::ReceiverReport>()
        .unwrap();
    assert_eq!(
        (rr.reports[0].jitter, rr.reports[0].last_sequence_number),
        (77, 0x1_0005)
    );
}

#[test]
fn an_unknown_block_does_not_hide_the_others() {
    let mut out = vec![0x81, 207, 0, 1, 1, 2, 3, 4]; // extended report
    out.extend_from_slice(&[0x8f, 205, 0, 1, 1, 2, 3, 4]); // transport feedback, far too short
    write_pli(&mut out, 1, 5);
    let kinds: Vec<bool> = blocks(&out)
        .map(|block| matches!(block, Block::Pli { media_ssrc: 5 }))
        .collect();
    assert_eq!(kinds, [false, false, true]);
}

#[test]
fn padding_is_taken_off() {
    let mut out = vec![];
    write_nack(&mut out, 1, 2, &[7]);
    out[0] |= 0x20;
    out.extend_from_slice(&[0, 0, 0, 4]);
    out[3] += 1;
    let Some(Block::Nack { lost, .. }) = blocks(&out).next() else {
        panic!()
    };
    assert_eq!(lost.collect::<Vec<_>>(), [7]);
}

#[test]
fn a_block_longer_than_the_datagram_ends_the_reading() {
    let mut out = vec![];
    write_pli(&mut out, 1, 5);
    let good = out.len();
    out.extend_from_slice(&[0x81, 206, 0, 9, 0, 0, 0, 0]);
    let mut reader = blocks(&out);
    assert_eq!(reader.by_ref().count(), 1);
    assert_eq!(reader.malformed(), Some(Malformed { at: good }));
}

#[test]
fn mutated_compounds_never_panic() {
    let mut rng = StdRng::seed_from_u64(11);
    let seed = {
        let mut out = everything();
        let mut recorder = crate::rtp::twcc::Recorder::new(std::time::Instant::now());
        for sequence in 0..60u16 {
            let at = std::time::Instant::now() + std::time::Duration::from_millis(u64::from(sequence) * 7);
            recorder.record(sequence * 2, at);
        }
        recorder.write_feedback(&mut out, 1, 2);
        out
    };
    for _ in 0..20_000 {
        let mut compound = seed.clone();
        for _ in 0..rng.random_range(1..8) {
            let at = rng.random_range(0..compound.len());
            compound[at] = rng.random();
        }
        compound.truncate(rng.random_range(0..=compound.len()));
        let mut items = 0usize;
        for block in blocks(&compound) {
            items += match block {
                Block::SenderReport { reports, .. } | Block::ReceiverReport { reports, .. } => reports.count(),
                Block::Nack { lost, .. } => lost.count(),
                Block::Fir(entries) => entries.count(),
                Block::TransportCc(feedback) => feedback.arrivals().count(),
                Block::Remb { ssrcs, .. } | Block::Bye(ssrcs) => ssrcs.count(),
                Block::Pli { .. } | Block::Other { .. } => 1,
            };
        }
        // at most one item per bit, and 2^16 per transport feedback
        assert!(items <= compound.len() * 8 + 0x1_0000 * 4);
    }
}
