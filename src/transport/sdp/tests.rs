//! Offers of real clients (`tests/fixtures/sdp`) and what they are answered.

use super::*;
use crate::rtp::ExtensionMap;
use crate::rtp::parameters::Feedback;
use crate::transport::ice::{Candidate, Credentials, Protocol};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/sdp/",
            $name,
            ".sdp"
        ))
    };
}

const CHROMIUM_PUBLISH: &str = fixture!("chromium-publish");
const CHROMIUM_SIMULCAST: &str = fixture!("chromium-simulcast");
const CHROMIUM_STAGE: &str = fixture!("chromium-stage");
const FIREFOX_PUBLISH: &str = fixture!("firefox-publish");
const FIREFOX_OPENH264_PUBLISH: &str = fixture!("firefox-openh264-publish");
const FIREFOX_SIMULCAST: &str = fixture!("firefox-simulcast");
const FIREFOX_PLAY: &str = fixture!("firefox-play");
const OBS_PUBLISH: &str = fixture!("obs-publish");
const GSTREAMER_PUBLISH: &str = fixture!("gstreamer-publish");
const GSTREAMER_PLAY: &str = fixture!("gstreamer-play");
const AIORTC_PUBLISH: &str = fixture!("aiortc-publish");
const AIORTC_STAGE: &str = fixture!("aiortc-stage");
const WEBRTC_RS_PUBLISH: &str = fixture!("webrtc-rs-publish");

const PUBLISHERS: [&str; 9] = [
    CHROMIUM_PUBLISH,
    CHROMIUM_SIMULCAST,
    FIREFOX_PUBLISH,
    FIREFOX_OPENH264_PUBLISH,
    FIREFOX_SIMULCAST,
    OBS_PUBLISH,
    GSTREAMER_PUBLISH,
    AIORTC_PUBLISH,
    WEBRTC_RS_PUBLISH,
];
const VIEWERS: [&str; 4] = [CHROMIUM_STAGE, FIREFOX_PLAY, GSTREAMER_PLAY, AIORTC_STAGE];

fn with_local<T>(run: impl FnOnce(&Local) -> T) -> T {
    let ice = Credentials {
        ufrag: "serverfrag".into(),
        pwd: "0123456789abcdefghijkl".into(),
    };
    let candidates = [
        Candidate {
            protocol: Protocol::Udp,
            address: "192.0.2.1:50000".parse().unwrap(),
        },
        Candidate {
            protocol: Protocol::Udp,
            address: "[2001:db8::1]:50000".parse().unwrap(),
        },
        Candidate {
            protocol: Protocol::TcpPassive,
            address: "192.0.2.1:50000".parse().unwrap(),
        },
    ];
    run(&Local {
        ice: &ice,
        fingerprint: dtls::Fingerprint([0xAB; 32]),
        candidates: &candidates,
        session_id: 77,
    })
}

fn offer(text: &str) -> Offer {
    Offer::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn publish_with(text: &str, policy: PublishPolicy) -> Result<(String, ReceiveParameters), Error> {
    let answered = with_local(|local| offer(text).answer_publisher(local, policy));
    if let Ok((answer, _)) = &answered {
        check_answer(text, answer);
    }
    answered
}

fn publish(text: &str) -> (String, ReceiveParameters) {
    publish_with(text, PublishPolicy::default()).unwrap()
}

fn view(text: &str, slots: usize) -> (String, SendParameters) {
    let mut ssrc = 1000;
    let mut next = || {
        ssrc += 1;
        ssrc
    };
    let answered = with_local(|local| offer(text).answer_viewer(local, slots, &mut next)).unwrap();
    check_answer(text, &answered.0);
    answered
}

/// The m-lines of a description, each with its `m=` line first.
fn sections(text: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![vec![]];
    for line in text.lines() {
        if line.starts_with("m=") {
            sections.push(vec![]);
        }
        sections.last_mut().unwrap().push(line);
    }
    sections
}

/// What every answer has to be, whatever was offered.
fn check_answer(offer: &str, answer: &str) {
    let parsed = SessionDescription::unmarshal(&mut Cursor::new(answer)).expect("a session description");
    assert!(answer.ends_with("\r\n") && answer.lines().count() == answer.matches("\r\n").count());
    assert!(parsed.has_attribute("ice-lite"));
    let (offered, answered) = (sections(offer), sections(answer));
    assert_eq!(offered.len(), answered.len(), "as many m-lines");
    let mut accepted = Vec::new();
    for (offered, answered) in offered.iter().zip(&answered).skip(1) {
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (ours, theirs) = (fields(answered[0]), fields(offered[0]));
        assert_eq!((&ours[0], &ours[2]), (&theirs[0], &theirs[2]), "same kind and protocol");
        assert!(ours[3..].iter().all(|format| theirs[3..].contains(format)));
        for needed in [
            "a=ice-ufrag:serverfrag",
            "a=setup:passive",
            "a=fingerprint:sha-256 AB:AB",
        ] {
            assert!(
                answered.iter().any(|line| line.starts_with(needed)),
                "{needed} on every m-line"
            );
        }
        let mid = offered.iter().find(|line| line.starts_with("a=mid:"));
        assert_eq!(answered.iter().find(|line| line.starts_with("a=mid:")), mid);
        if ours[1] == "0" {
            assert!(answered.contains(&"a=inactive"));
            continue;
        }
        accepted.extend(mid.map(|mid| &mid[6..]));
        assert!(answered.contains(&"a=rtcp-mux"));
        for extmap in answered.iter().filter(|line| line.starts_with("a=extmap:")) {
            let (id, uri) = extmap[9..].split_once(' ').unwrap();
            let same = |line: &&&str| line[9..].split(['/', ' ']).next() == Some(id) && line.ends_with(uri);
            assert!(
                offered
                    .iter()
                    .filter(|line| line.starts_with("a=extmap:"))
                    .any(|line| same(&line)),
                "{extmap}"
            );
        }
        assert!(!answered.iter().any(|line| line.contains("video-orientation")));
    }
    assert_eq!(
        parsed.attribute("group").map(String::as_str),
        Some(format!("BUNDLE {}", accepted.join(" ")).as_str())
    );
    // aiortc, when all its m-lines share a transport, takes the candidates of the last one
    let candidates = |section: &[&str]| -> Vec<String> {
        let lines = section.iter().filter(|line| line.starts_with("a=candidate:"));
        lines.map(|line| (*line).to_owned()).collect()
    };
    let mut told = answered
        .iter()
        .skip(1)
        .filter(|section| section[0].split(' ').nth(1) != Some("0"));
    let first = candidates(told.next().unwrap());
    assert!(!first.is_empty());
    assert!(told.all(|section| candidates(section) == first));
    assert_eq!(answer.matches("a=end-of-candidates").count(), accepted.len());
}

fn ids(extensions: &ExtensionMap) -> Vec<(Extension, u8)> {
    Extension::ALL
        .iter()
        .filter_map(|extension| Some((*extension, extensions.id(*extension)?)))
        .collect()
}

const ALL_WITH_TWCC: Feedback = Feedback {
    nack: true,
    pli: true,
    fir: true,
    transport_cc: true,
    remb: false,
};

#[test]
fn every_publisher_is_answered_by_one_codec_each() {
    let chosen = PUBLISHERS.map(|text| {
        let (_, parameters) = publish(text);
        let (audio, video) = (parameters.audio.unwrap(), parameters.video.unwrap());
        assert_eq!(audio.codec, Codec::Opus);
        (video.codec, video.payload_type, video.rtx_payload_type)
    });
    use Codec::{H264, Vp8};
    let expected = [
        (H264, 108, Some(109)), // 42e01f, although VP8 and 42001f come first
        (H264, 108, Some(109)),
        (Vp8, 120, Some(124)),
        (H264, 126, Some(127)),
        (Vp8, 120, Some(124)),
        (H264, 96, None),
        (H264, 96, Some(98)),
        (H264, 101, Some(102)),
        (H264, 102, None),
    ];
    assert_eq!(chosen, expected);
}

#[test]
fn chromium_publishes() {
    let (answer, parameters) = publish(CHROMIUM_PUBLISH);
    let (audio, video) = (parameters.audio.unwrap(), parameters.video.unwrap());
    assert_eq!((audio.mid.as_str(), video.mid.as_str()), ("0", "1"));
    assert_eq!(video.feedback, ALL_WITH_TWCC);
    assert_eq!(
        audio.feedback,
        Feedback {
            transport_cc: true,
            ..Feedback::default()
        }
    );
    assert_eq!(
        ids(&audio.extensions),
        [
            (Extension::Mid, 4),
            (Extension::TransportCc, 3),
            (Extension::AudioLevel, 1)
        ]
    );
    let expected = [
        (Extension::Mid, 4),
        (Extension::Rid, 10),
        (Extension::RepairedRid, 11),
        (Extension::TransportCc, 3),
        (Extension::PlayoutDelay, 5),
    ];
    assert_eq!(ids(&video.extensions), expected);
    assert_eq!(video.ssrcs, [(499422132, Some(1297679996))]);
    assert!(video.rids.is_empty());
    assert!(answer.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    assert!(answer.contains("a=extmap-allow-mixed\r\n") && answer.contains("a=ice-options:trickle\r\n"));
    assert!(answer.contains("a=rtcp-fb:108 nack pli\r\n") && answer.contains("a=fmtp:109 apt=108\r\n"));
    assert!(!answer.contains("goog-remb") && !answer.contains("VP8") && !answer.contains("a=sendonly"));
}

#[test]
fn candidates_name_udp_first_then_passive_tcp() {
    let (answer, _) = publish(CHROMIUM_PUBLISH);
    let first = &sections(&answer)[1];
    let candidates: Vec<&str> = first
        .iter()
        .copied()
        .filter(|line| line.starts_with("a=candidate:"))
        .collect();
    let expected = [
        "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 50000 typ host",
        "a=candidate:3 1 tcp 1526726143 192.0.2.1 50000 typ host tcptype passive",
    ];
    assert_eq!(candidates, expected);
}

#[test]
fn simulcast_is_answered_by_its_rids_paused_ones_included() {
    for text in [CHROMIUM_SIMULCAST, FIREFOX_SIMULCAST] {
        let (answer, parameters) = publish(text);
        let video = parameters.video.unwrap();
        assert_eq!(video.rids, ["h", "m", "l"]);
        assert!(video.extensions.id(Extension::Rid).is_some() && video.extensions.id(Extension::RepairedRid).is_some());
        assert!(answer.contains("a=rid:h recv\r\na=rid:m recv\r\na=rid:l recv\r\na=simulcast:recv h;m;l\r\n"));
    }
    let firefox = publish(FIREFOX_SIMULCAST).1.video.unwrap();
    assert_eq!(firefox.ssrcs[2], (3329207491, Some(2112953652)));
    assert_eq!(
        firefox.extensions.id(Extension::PlayoutDelay),
        None,
        "offered for receiving only"
    );
}

#[test]
fn of_simulcast_alternatives_the_first_that_exists_is_taken() {
    let offered = "a=rid:1 send\r\na=rid:2 send pt=108\r\na=rid:3 send pt=96\r\na=rid:4 recv\r\na=rid:5 send\r\n\
                   a=simulcast:recv 4 send 9,~1;2,5;3;~4\r\n";
    let text = CHROMIUM_SIMULCAST.split("a=rid:h").next().unwrap().to_owned() + offered;
    let video = publish(&text).1.video.unwrap();
    assert_eq!(video.rids, ["1", "2"], "the third is for VP8, the fourth not sent");
    // without the extension that would tell the encodings apart there is no simulcast
    let text = text.replace("sdes:rtp-stream-id", "sdes:unknown");
    let (answer, parameters) = publish(&text);
    assert!(parameters.video.unwrap().rids.is_empty() && !answer.contains("simulcast"));
}

#[test]
fn obs_offers_little_and_gets_it() {
    let offer = offer(OBS_PUBLISH);
    assert_eq!(offer.remote().ice.ufrag, "Yd0g", "from the session part");
    let (answer, parameters) = publish(OBS_PUBLISH);
    let (audio, video) = (parameters.audio.unwrap(), parameters.video.unwrap());
    assert!(ids(&audio.extensions).is_empty() && ids(&video.extensions).is_empty());
    assert_eq!(
        video.feedback,
        Feedback {
            nack: true,
            pli: true,
            remb: true,
            ..Feedback::default()
        }
    );
    assert_eq!(audio.ssrcs, [(1283647213, None)]);
    assert!(answer.contains("a=rtcp-fb:96 goog-remb\r\n") && !answer.contains("rtx"));
    assert!(
        answer.contains("a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1\r\n")
    );
}

#[test]
fn gstreamer_names_mids_bundles_by_port_0_and_says_stereo_one_way_only() {
    let (answer, parameters) = publish(GSTREAMER_PUBLISH);
    assert_eq!(parameters.video.unwrap().mid, "video0");
    assert!(parameters.audio.is_some(), "bundle-only is not rejected");
    assert!(answer.contains("a=fmtp:97 sprop-stereo=1;sprop-maxcapturerate=48000;stereo=1\r\n"));

    let (_, parameters) = view(GSTREAMER_PLAY, 10);
    let video = parameters.slots[0].video.as_ref().unwrap();
    assert_eq!(
        video.codecs,
        [SendCodec {
            codec: Codec::H264,
            payload_type: 96,
            rtx_payload_type: Some(98)
        }]
    );
}

#[test]
fn send_times_are_agreed_on_only_without_transport_wide_feedback() {
    let video = publish(AIORTC_PUBLISH).1.video.unwrap();
    assert_eq!(
        ids(&video.extensions),
        [(Extension::Mid, 1), (Extension::AbsSendTime, 3)]
    );
    assert!(video.feedback.remb && !video.feedback.transport_cc);
    // feedback lines without the extension are not enough, and the reverse
    for missing in [
        "a=extmap:3 http://www.ietf.org/id/draft-holmer",
        "a=rtcp-fb:108 transport-cc",
    ] {
        let text = CHROMIUM_PUBLISH.replace(missing, "a=x-ignored:");
        let video = publish(&text).1.video.unwrap();
        assert!(!video.feedback.transport_cc && video.feedback.remb);
        assert_eq!(video.extensions.id(Extension::TransportCc), None);
        assert_eq!(video.extensions.id(Extension::AbsSendTime), Some(2));
    }
}

#[test]
fn the_program_codec_policy_refuses_vp9_and_av1() {
    let policy = PublishPolicy {
        program_codecs_only: true,
    };
    let no_h264 = FIREFOX_PUBLISH.replace("H264/90000", "H265/90000");
    assert_eq!(publish(&no_h264).1.video.unwrap().codec, Codec::Vp8);
    let new_only = no_h264.replace("VP8/90000", "H265/90000");
    assert_eq!(publish(&new_only).1.video.unwrap().codec, Codec::Vp9);
    let refused = publish_with(&new_only, policy).unwrap().1;
    assert!(refused.video.is_none() && refused.audio.is_some());
    let av1 = new_only.replace("VP9/90000", "H265/90000");
    assert_eq!(publish(&av1).1.video.unwrap().codec, Codec::Av1);
    let nothing = av1.replace("opus/", "speex/");
    let error = publish_with(&nothing, policy).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported(why) if why.contains("codecs")),
        "{error}"
    );
}

#[test]
fn the_better_of_several_formats_is_chosen() {
    let ranked = |fmtps: &[&str], name: &str| {
        let mut text = String::from(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
             a=fingerprint:sha-256 ",
        );
        text += &dtls::Fingerprint([1; 32]).to_string();
        text += "\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\na=mid:0\r\n";
        for (at, fmtp) in fmtps.iter().enumerate() {
            text += &format!("a=rtpmap:{} {name}/90000\r\n", 96 + at);
            if !fmtp.is_empty() {
                text += &format!("a=fmtp:{} {fmtp}\r\n", 96 + at);
            }
        }
        let chosen = publish(&text).1.video.unwrap().payload_type;
        fmtps[usize::from(chosen - 96)].to_owned()
    };
    let best = "packetization-mode=1; Profile-Level-Id=42E01F";
    assert_eq!(
        ranked(&["packetization-mode=1;profile-level-id=640c1f", best, "", "x"], "H264"),
        best
    );
    let baseline = "packetization-mode=1;profile-level-id=42001f";
    assert_eq!(
        ranked(
            &[
                "profile-level-id=42e01f",
                "packetization-mode=1;profile-level-id=640c1f",
                baseline
            ],
            "h264"
        ),
        baseline
    );
    assert_eq!(ranked(&["profile-level-id=42e01f", ""], "H264"), "");
    assert_eq!(ranked(&["profile-id=2", "profile-id=0"], "VP9"), "profile-id=0");
    assert_eq!(ranked(&["profile=1", ""], "AV1"), "");
}

#[test]
fn a_dependency_descriptor_travels_only_where_viewers_never_change_layers() {
    let extmap = format!("a=extmap:12 {}\r\na=rid:h", Extension::DependencyDescriptor.uri());
    let simulcast = CHROMIUM_SIMULCAST.replacen("a=rid:h", &extmap, 1);
    assert_eq!(
        publish(&simulcast)
            .1
            .video
            .unwrap()
            .extensions
            .id(Extension::DependencyDescriptor),
        None
    );
    let only_av1 = |text: &str| {
        text.replace("H264/", "H265/")
            .replace("VP8/", "H265/")
            .replace("VP9/", "H265/")
    };
    let without =
        only_av1(CHROMIUM_PUBLISH).replacen("a=extmap:13 urn:3gpp:video-orientation", &extmap[..extmap.len() - 9], 1);
    let video = publish(&without).1.video.unwrap();
    assert_eq!(
        (video.codec, video.extensions.id(Extension::DependencyDescriptor)),
        (Codec::Av1, Some(12))
    );
    assert_eq!(
        publish(&only_av1(&simulcast))
            .1
            .video
            .unwrap()
            .extensions
            .id(Extension::DependencyDescriptor),
        None
    );
}

#[test]
fn a_viewer_gets_a_slot_for_every_pair_with_all_shared_codecs() {
    let (answer, parameters) = view(CHROMIUM_STAGE, 10);
    assert_eq!(parameters.slots.len(), 2);
    let (first, second) = (&parameters.slots[0], &parameters.slots[1]);
    let mids = |slot: &SendSlot| {
        (
            slot.audio.as_ref().unwrap().mid.clone(),
            slot.video.as_ref().unwrap().mid.clone(),
        )
    };
    assert_eq!(
        (mids(first), mids(second)),
        (("0".into(), "1".into()), ("2".into(), "3".into()))
    );
    let video = first.video.as_ref().unwrap();
    let codecs: Vec<Codec> = video.codecs.iter().map(|codec| codec.codec).collect();
    assert_eq!(codecs, [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1]);
    assert!(video.codecs.iter().all(|codec| codec.rtx_payload_type.is_some()));
    assert_eq!(video.codecs[0].payload_type, 108, "42e01f of all H.264");
    assert_eq!(video.feedback, ALL_WITH_TWCC);
    assert_eq!(video.extensions.id(Extension::Rid), None, "viewers get one encoding");
    assert!(video.extensions.id(Extension::PlayoutDelay).is_some());

    let mut ssrcs: Vec<u32> = Vec::new();
    for track in parameters
        .slots
        .iter()
        .flat_map(|slot| [slot.audio.as_ref(), slot.video.as_ref()])
        .flatten()
    {
        ssrcs.extend([track.ssrc, track.rtx_ssrc]);
    }
    ssrcs.sort_unstable();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 8);
    assert!(answer.contains("a=msid:slot-1 slot-1-video\r\n") && answer.contains("a=msid:slot-1 slot-1-audio\r\n"));
    assert!(answer.contains(&format!("a=ssrc-group:FID {} {}\r\n", video.ssrc, video.rtx_ssrc)));
    assert!(answer.contains(&format!("a=ssrc:{} cname:{}\r\n", video.ssrc, parameters.cname)));
    assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    let video_section = &sections(&answer)[2];
    assert!(
        video_section.contains(&"a=sendonly")
            && !video_section.iter().any(|line| line.contains("packetization-mode=0"))
    );
    assert!(video_section[0].contains(" 102 ") && video_section.contains(&"a=rtpmap:102 H264/90000"));
}

#[test]
fn slots_end_at_the_limit_and_keep_their_index_over_gaps() {
    let (answer, parameters) = view(CHROMIUM_STAGE, 1);
    assert_eq!(parameters.slots.len(), 1);
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    // the first video line has no codec for us, the second has
    let mut parts: Vec<String> = CHROMIUM_STAGE.split("m=video").map(str::to_owned).collect();
    for name in ["VP8/", "VP9/", "H264/", "AV1/"] {
        parts[1] = parts[1].replace(name, "H265/");
    }
    let (_, parameters) = view(&parts.join("m=video"), 10);
    assert!(parameters.slots[0].video.is_none() && parameters.slots[1].video.is_some());
}

#[test]
fn directions_are_respected() {
    for text in VIEWERS {
        let result = with_local(|local| offer(text).answer_publisher(local, PublishPolicy::default()));
        assert!(matches!(result, Err(Error::Unsupported(why)) if why.contains("send")));
    }
    for text in [CHROMIUM_PUBLISH, FIREFOX_PUBLISH, OBS_PUBLISH, GSTREAMER_PUBLISH] {
        let result = with_local(|local| offer(text).answer_viewer(local, 10, &mut || 1));
        assert!(matches!(result, Err(Error::Unsupported(why)) if why.contains("receive")));
    }
    for text in VIEWERS {
        view(text, 10);
    }
    view(AIORTC_PUBLISH, 10); // sendrecv
    let shared = OBS_PUBLISH
        .replace("a=sendonly\r\n", "")
        .replace("a=setup", "a=recvonly\r\na=setup");
    view(&shared, 10);
}

#[test]
fn only_the_first_of_each_kind_is_published_and_rejected_lines_stay_out() {
    let twice = CHROMIUM_STAGE.replace("a=recvonly", "a=sendonly");
    let (answer, parameters) = publish(&twice);
    assert_eq!(
        (parameters.audio.unwrap().mid, parameters.video.unwrap().mid),
        ("0".into(), "1".into())
    );
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    let rejected = CHROMIUM_PUBLISH.replace("m=audio 9 ", "m=audio 0 ");
    assert!(publish(&rejected).1.audio.is_none());
    let plain = CHROMIUM_PUBLISH.replacen("UDP/TLS/RTP/SAVPF", "RTP/AVP", 1);
    assert!(publish(&plain).1.audio.is_none());
    let alone = CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 0");
    assert!(publish(&alone).1.video.is_none(), "on a transport of its own");
}

#[test]
fn missing_mids_are_not_invented_in_the_answer() {
    let text = OBS_PUBLISH
        .replace("a=mid:0\r\n", "")
        .replace("a=mid:1\r\n", "")
        .replace("a=group:BUNDLE 0 1\r\n", "");
    let (answer, parameters) =
        with_local(|local| offer(&text).answer_publisher(local, PublishPolicy::default())).unwrap();
    assert_eq!(
        (parameters.audio.unwrap().mid, parameters.video.unwrap().mid),
        ("0".into(), "1".into())
    );
    assert!(!answer.contains("a=mid") && !answer.contains("BUNDLE"));
}

#[test]
fn what_is_wrong_is_said() {
    let drop_line = |text: &str, start: &str| {
        text.lines()
            .filter(|line| !line.starts_with(start))
            .map(|line| format!("{line}\r\n"))
            .collect::<String>()
    };
    let chromium = CHROMIUM_PUBLISH;
    let media_less = chromium.split("m=audio").next().unwrap().to_owned();
    let cases = [
        ("".to_owned(), "not a session description"),
        ("hello".to_owned(), "not a session description"),
        (media_less, "no media"),
        (drop_line(chromium, "a=ice-ufrag"), "ice-ufrag"),
        (drop_line(chromium, "a=ice-pwd"), "ice-pwd"),
        (drop_line(chromium, "a=fingerprint"), "no a=fingerprint"),
        (chromium.replace("sha-256", "sha-512"), "sha-512 is not supported"),
        (chromium.replace("4D:52", "4D:5"), "32 hexadecimal"),
        (chromium.replace("setup:actpass", "setup:passive"), "passive"),
        (chromium.replace("setup:actpass", "setup:holdconn"), "holdconn"),
        (chromium.replace("ice-ufrag:le6j", "ice-ufrag:le6"), "4 to 256"),
        (
            chromium.replace("ice-ufrag:le6j", &format!("ice-ufrag:{}", "x".repeat(257))),
            "4 to 256",
        ),
        (chromium.replace("ice-ufrag:le6j", "ice-ufrag:le:6j"), "4 to 256"),
        (chromium.replace("ice-pwd:", "ice-pwd:short\r\na=x:"), "22 to 256"),
        (chromium.replace("a=mid:1", "a=mid:0"), "two media lines"),
        (chromium.replace("a=mid:1", "a=mid:a b"), "token"),
        (chromium.replace("a=mid:1", "a=mid:1\ra=x"), "control"),
        (chromium.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"), "ICE-lite"),
        (chromium.to_owned() + &"a=x\r\n".repeat(MAX_TEXT / 5), "longer than"),
        (
            chromium.to_owned() + &"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(63),
            "64 media",
        ),
    ];
    for (text, expected) in cases {
        match Offer::parse(&text) {
            Err(Error::Invalid(why)) => assert!(why.contains(expected), "`{why}` instead of `{expected}`"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(
        Offer::parse(&chromium.replace("\r\n", "\n")).is_ok(),
        "bare line feeds are taken"
    );
    assert!(Offer::parse(&drop_line(chromium, "a=setup")).is_ok());
    let data_only = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=ice-ufrag:abcd\r\n";
    let data_only = drop_line(
        &CHROMIUM_PUBLISH
            .replace("m=audio", data_only)
            .split("m=video")
            .next()
            .unwrap()
            .replace(" 9 UDP/TLS/RTP/SAVPF 111", "x"),
        "x",
    );
    let result =
        Offer::parse(&data_only).map(|offer| with_local(|local| offer.answer_viewer(local, 1, &mut || 1)).map(|_| ()));
    assert!(matches!(
        result,
        Ok(Err(Error::Unsupported(_))) | Err(Error::Invalid(_))
    ));
}

#[test]
fn payload_types_that_look_like_rtcp_are_left_out() {
    let text = CHROMIUM_PUBLISH.replace("108", "72");
    assert_ne!(publish(&text).1.video.unwrap().payload_type, 72);
}

#[test]
fn mutated_offers_neither_panic_nor_make_broken_answers() {
    let mut rng = StdRng::seed_from_u64(5);
    let corpus: Vec<&str> = PUBLISHERS.into_iter().chain(VIEWERS).collect();
    let mut answered = 0;
    for round in 0..1_500 {
        let mut lines: Vec<String> = corpus[round % corpus.len()].lines().map(str::to_owned).collect();
        for _ in 0..rng.random_range(1..8) {
            let at = rng.random_range(0..lines.len());
            match rng.random_range(0..5) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[rng.random_range(0..lines.len())].clone()),
                2 => {
                    let other = rng.random_range(0..lines.len());
                    lines.swap(at, other);
                }
                _ => {
                    let mut chars: Vec<char> = lines[at].chars().collect();
                    let place = rng.random_range(0..=chars.len());
                    let noise = ['0', '9', ' ', ':', ';', '=', '/', '~', ',', 'é', '\0', 'a'];
                    let noise = noise[rng.random_range(0..noise.len())];
                    if place < chars.len() && rng.random_bool(0.5) {
                        chars[place] = noise;
                    } else {
                        chars.insert(place, noise);
                    }
                    lines[at] = chars.into_iter().collect();
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        let text = lines.join("\r\n");
        let Ok(offer) = Offer::parse(&text) else { continue };
        let receive = with_local(|local| offer.answer_publisher(local, PublishPolicy::default())).map(|(text, _)| text);
        let send = with_local(|local| offer.answer_viewer(local, 3, &mut || 1)).map(|(text, _)| text);
        for answer in [receive, send].into_iter().flatten() {
            SessionDescription::unmarshal(&mut Cursor::new(&answer)).expect("a session description");
            assert!(answer.starts_with("v=0\r\n"));
            answered += 1;
        }
    }
    assert!(answered > 400, "{answered} were still offers");
}

#[test]
fn fragments_of_trickle_and_of_restarts() {
    let trickle = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:audio1\r\n\
                   a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n\
                   a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(trickle).unwrap();
    let ice = Credentials {
        ufrag: "EsAw".into(),
        pwd: "P2uYro0UCOQ4zxjKXaWCBui1".into(),
    };
    assert_eq!(
        fragment,
        Fragment {
            ice: Some(ice.clone()),
            candidates: 2,
            mid: Some("audio1".into())
        }
    );

    let candidates = [Candidate {
        protocol: Protocol::Udp,
        address: "192.0.2.1:5".parse().unwrap(),
    }];
    let answer = fragment.answer(&ice, &candidates);
    assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:audio1\r\na=ice-ufrag:EsAw\r\n"));
    assert!(answer.ends_with("typ host\r\na=end-of-candidates\r\n"));
    assert_eq!(
        Fragment::parse(&answer),
        Ok(Fragment {
            candidates: 1,
            ..fragment
        })
    );
    assert!(Fragment::write(&ice, &candidates).contains("a=mid:0\r\n"));

    assert_eq!(Fragment::parse("a=end-of-candidates\r\n").unwrap().ice, None);
    let twice = format!("{trickle}m=video 9 RTP/AVP 0\r\na=mid:1\r\na=ice-ufrag:EsAw\r\n");
    assert!(Fragment::parse(&twice).is_ok(), "the same again on another m-line");
    let other = format!("{trickle}a=ice-ufrag:EsAx\r\n");
    let long = "a=x\r\n".repeat(MAX_TEXT / 5 + 1);
    for bad in [
        "a=ice-ufrag:EsAw\r\n",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "a=ice-ufrag:E\na=ice-pwd:x",
        "{}",
        &other,
        &long,
    ] {
        assert!(matches!(Fragment::parse(bad), Err(Error::Invalid(_))), "{bad:.40}");
    }
}
