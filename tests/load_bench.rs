//! The pure parts of the load bench: what it sends is what servers expect, what it reads is what they send.
//!
//! A bench without the test harness runs no tests of its own, so they are here.

// The bench uses what these tests do not.
#[allow(dead_code)]
#[path = "../benches/load/media.rs"]
mod media;
#[allow(dead_code)]
#[path = "../benches/load/rtp.rs"]
mod rtp;
#[allow(dead_code)]
#[path = "../benches/load/sdp.rs"]
mod sdp;
#[allow(dead_code)]
#[path = "../benches/load/srtp.rs"]
mod srtp;
#[allow(dead_code)]
#[path = "../benches/load/stream.rs"]
mod stream;

mod media_tests {
    use crate::media::*;

    #[test]
    fn the_load_is_what_it_claims_to_be() {
        let mut encoder = Encoder::new(1);
        let (mut packets, mut bytes) = (0, 0);
        for n in 0..10 * GOP_FRAMES {
            let keyframe = n % GOP_FRAMES == 0;
            let frame = encoder.frame(keyframe);
            assert_eq!(starts_keyframe(&frame[0].bytes), keyframe);
            assert_eq!(frame.iter().filter(|p| p.last).count(), 1);
            packets += frame.len();
            bytes += frame.iter().map(|p| p.bytes.len()).sum::<usize>();
        }
        let seconds = 10 * (GOP_FRAMES / FRAME_RATE) as usize;
        assert!(
            (205..=219).contains(&(packets / seconds)),
            "{} video packets/s",
            packets / seconds
        );
        assert!(
            (1_450_000..=1_550_000).contains(&(bytes * 8 / seconds)),
            "{} bit/s",
            bytes * 8 / seconds
        );
    }

    #[test]
    fn stamps_are_found_again_and_not_elsewhere() {
        let mut encoder = Encoder::new(2);
        let stamp = Stamp {
            sent_ns: 5,
            index: 70_000,
        };
        for mut payload in [encoder.frame(true), encoder.frame(false), vec![encoder.audio()]].concat() {
            assert_eq!(Stamp::read(&payload.bytes), None);
            if payload.stamped {
                stamp.write(&mut payload.bytes);
                assert_eq!(Stamp::read(&payload.bytes), Some(stamp));
            }
        }
    }
}

mod rtp_tests {
    use crate::rtp::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;

    #[test]
    fn headers_round_trip() {
        let ids = ExtensionIds {
            mid: 4,
            abs_send_time: 2,
            transport_cc: 3,
            audio_level: 1,
        };
        let extras = Extras {
            mid: Some("0"),
            abs_send_time: Some(7),
            transport_cc: Some(513),
            audio_level: None,
        };
        let header = Header::new(true, 109, 65_535, 9, 3);
        let packet = write_header(&header, &ids, &extras);
        let parsed = Header::parse(&packet).unwrap();
        assert_eq!(
            (parsed.len, parsed.sequence, parsed.marker),
            (packet.len(), 65_535, true)
        );
        assert_eq!(parsed.extension(&packet, 3), Some(&[2, 1][..]));
        assert_eq!(parsed.extension(&packet, 4), Some(&b"0"[..]));
        assert_eq!(parsed.extension(&packet, 1), None);
        for cut in 0..packet.len() {
            assert_eq!(Header::parse(&packet[..cut]), None);
        }
    }

    #[test]
    fn sequence_numbers_extend_both_ways() {
        assert_eq!(extend(65_530, 3), 65_539);
        assert_eq!(extend(65_539, 65_530), 65_530);
        assert_eq!(extend(2, 65_530), 0, "nothing lies before the first roll-over");
    }

    #[test]
    fn transport_feedback_is_what_others_read() {
        let arrivals: Vec<(u64, u64)> = [0u64, 1, 2, 5, 6, 30]
            .iter()
            .map(|n| (65_530 + n, 1_000_000 + n * 3_000))
            .collect();
        let raw = write_transport_feedback(1, 2, 0, &arrivals).unwrap();
        let parsed = rtc_rtcp::packet::unmarshal(&mut &raw[..]).unwrap();
        let feedback = parsed[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
        assert_eq!(
            (feedback.base_sequence_number, feedback.packet_status_count),
            (65_530, 31)
        );
        assert_eq!(feedback.recv_deltas.len(), arrivals.len());
    }

    #[test]
    fn reports_are_what_others_read() {
        let sent = Sent {
            ssrc: 5,
            timestamp: 6,
            packets: 7,
            octets: 8,
        };
        let mut raw = write_sender_report(ntp(1_500_000_000), &sent, "load");
        let block = Received {
            ssrc: 5,
            fraction_lost: 1,
            total_lost: 2,
            highest: 3,
            last_report: 4,
            delay: 5,
        };
        raw.extend(write_receiver_report(1, &[block, block]));
        assert_eq!(rtc_rtcp::packet::unmarshal(&mut &raw[..]).unwrap().len(), 3);
        let expected = Feedback::SenderReport {
            ssrc: 5,
            ntp: (2_208_988_801 << 32) | 0x8000_0000,
        };
        assert_eq!(
            feedback(&raw).collect::<Vec<_>>(),
            [expected, Feedback::Other, Feedback::Other]
        );
    }
}

mod sdp_tests {
    use crate::sdp::*;

    #[test]
    fn an_answer_is_understood() {
        let text = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:u\r\n\
            a=ice-pwd:p\r\na=fingerprint:sha-256 ab:cd\r\na=candidate:1 1 udp 1 10.0.0.1 50000 typ host\r\n\
            a=candidate:2 1 UDP 1 127.0.0.1 50000 typ host\r\na=candidate:3 1 tcp 1 ::1 50000 typ host\r\n\
            a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=ssrc:7 cname:x\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 109 114\r\na=mid:1\r\n\
            a=extmap:3/sendonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
            a=ssrc-group:FID 8 9\r\na=ssrc:8 cname:x\r\n";
        let answer = Answer::parse(text).unwrap();
        assert_eq!(answer.remote, "127.0.0.1:50000".parse().unwrap());
        assert_eq!(
            (answer.fingerprint.as_str(), answer.audio.ssrc, answer.video.ssrc),
            ("AB:CD", Some(7), Some(8))
        );
        assert_eq!(
            (
                answer.audio.extensions.audio_level,
                answer.video.extensions.transport_cc
            ),
            (1, 3)
        );
        let rejected = text.replace("m=video 9", "m=video 0");
        assert_eq!(Answer::parse(&rejected), Err(Error::Rejected("video")));
        assert_eq!(Answer::parse("v=0\r\n"), Err(Error::Missing("fingerprint")));
    }
}

mod srtp_tests {
    use crate::srtp::*;

    /// Both directions in one: a server's keys are the client's the other way round.
    fn mirrored() -> (Keys, Keys) {
        const KEY: usize = 16;
        const SALT: usize = 12;
        let client: [u8; KEYING] = std::array::from_fn(|i| i as u8);
        let mut server = client;
        server[..KEY].copy_from_slice(&client[KEY..2 * KEY]);
        server[2 * KEY..2 * KEY + SALT].copy_from_slice(&client[2 * KEY + SALT..]);
        server[KEY..2 * KEY].copy_from_slice(&client[..KEY]);
        (client_keys(&client).unwrap().1, client_keys(&server).unwrap().0)
    }

    #[test]
    fn what_is_sealed_opens_and_only_that() {
        let (open, seal) = mirrored();
        let plain: Vec<u8> = (0..200u8).collect();
        let mut packet = plain.clone();
        seal.seal_rtp(&mut packet, 12, 9, 0x1_0002);
        assert_eq!(packet.len(), plain.len() + 16);
        assert!(
            open.open_rtp(&mut packet.clone(), 12, 9, 0x0_0002).is_none(),
            "another roll-over"
        );
        assert_eq!(open.open_rtp(&mut packet, 12, 9, 0x1_0002).unwrap(), &plain[12..]);
        let mut report = plain[..60].to_vec();
        seal.seal_rtcp(&mut report, 0x0405_0607, 5);
        let mut forged = report.clone();
        forged[20] ^= 1;
        assert!(open.open_rtcp(&mut forged).is_none());
        assert_eq!(open.open_rtcp(&mut report).unwrap(), &plain[..60]);
    }
}

mod stream_tests {
    use crate::media::Encoder;
    use crate::rtp::Header;
    use crate::stream::{Arrived, Keyframe, Stream};

    fn header(sequence: u64, timestamp: u32, marker: bool) -> Header {
        Header::new(marker, 109, sequence as u16, timestamp, 7)
    }

    /// A viewer whose numbers are the publisher's plus 65,500, over a roll-over, without some of the packets.
    fn stream(lost: impl Fn(u64) -> bool) -> Stream {
        let mut stream = Stream::new(109);
        for index in (1..=1000).filter(|index| !lost(*index)) {
            let Arrived { extended, is_duplicate } = stream.arrived(&header(65_500 + index, 0, false));
            assert_eq!((extended, is_duplicate), (65_500 + index, false));
            stream.identify(extended, index);
        }
        stream
    }

    #[test]
    fn what_is_lost_is_missed() {
        assert_eq!(stream(|_| false).count(&(100..900)), 800);
        assert_eq!(stream(|index| index % 10 == 5).count(&(100..900)), 720);
        assert_eq!(stream(|index| index > 500).count(&(100..900)), 401);
        assert_eq!(Stream::new(109).count(&(100..900)), 0);
    }

    #[test]
    fn a_repetition_counts_once() {
        let mut stream = stream(|_| false);
        assert!(stream.arrived(&header(65_500 + 400, 0, false)).is_duplicate);
        assert_eq!(stream.count(&(100..900)), 800);
    }

    /// A server that drops packets and numbers on without a gap.
    #[test]
    fn hidden_loss_is_found() {
        let mut stream = Stream::new(109);
        for sequence in 1..=800u64 {
            let index = if sequence <= 400 { sequence } else { sequence + 200 };
            let extended = stream.arrived(&header(sequence, 0, false)).extended;
            if sequence % 10 == 0 {
                stream.identify(extended, index);
            }
        }
        assert_eq!(stream.count(&(100..900)), 600);
    }

    #[test]
    fn only_a_whole_keyframe_counts() {
        let mut encoder = Encoder::new(3);
        let (delta, key) = (encoder.frame(false), encoder.frame(true));
        let run = |frames: &[(u32, &[crate::media::Payload])], lost: Option<u64>| {
            let (mut state, mut sequence, mut complete) = (Keyframe::default(), 0, None);
            for (timestamp, frame) in frames {
                for payload in *frame {
                    sequence += 1;
                    if lost != Some(sequence) {
                        let header = header(sequence, *timestamp, payload.last);
                        complete = complete.or(state.advance(&header, sequence, &payload.bytes));
                    }
                }
            }
            complete
        };
        assert_eq!(run(&[(0, &key)], None), Some(false));
        assert_eq!(
            run(&[(0, &delta), (1, &key)], None),
            Some(true),
            "video before the keyframe"
        );
        assert_eq!(run(&[(0, &key)], Some(9)), None, "a packet is missing");
        assert_eq!(run(&[(0, &key), (1, &delta), (2, &key)], Some(9)), Some(false));
        assert_eq!(run(&[(0, &delta)], None), None);
    }
}
