use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PROFILES: [Profile; 2] = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// A server's receiver and the sender of its client.
fn pair(profile: Profile) -> (Receiver, Sender) {
    let material: Vec<u8> = (0..60).take(profile.keying_len()).collect();
    (
        contexts(profile, &material).unwrap().0,
        client_contexts(profile, &material).1,
    )
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..=255).chain(0..50));
    packet
}

fn sealed(sender: &Sender, index: u64, ssrc: u32) -> Vec<u8> {
    let [.., high, low] = index.to_be_bytes();
    let mut packet = packet(u16::from_be_bytes([high, low]), ssrc);
    sender.protect_rtp(&mut packet, 0, RTP_HEADER, ssrc, index);
    packet
}

#[test]
fn rtp_goes_there_and_back_once() {
    for profile in PROFILES {
        let (mut receiver, sender) = pair(profile);
        for index in [0xffff, 0x1_0000, 0x1_0005, 0x1_0001] {
            let mut sealed_packet = sealed(&sender, index, 9);
            let mut again = sealed_packet.clone();
            let expected = packet(u16::from_be_bytes([sealed_packet[2], sealed_packet[3]]), 9);
            assert_ne!(sealed_packet[RTP_HEADER..expected.len()], expected[RTP_HEADER..]);
            let (plain, got) = receiver.unprotect_rtp(&mut sealed_packet).unwrap();
            assert_eq!((&*plain, got), (&expected[..], index), "{profile:?}");
            assert_eq!(receiver.unprotect_rtp(&mut again).unwrap_err(), Dropped::Replayed);
        }
    }
}

#[test]
fn rtp_is_sealed_at_an_offset_with_extensions_left_in_the_clear() {
    for profile in PROFILES {
        let (mut receiver, mut sender) = pair(profile);
        let mut plain = vec![
            0x91, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0,
        ];
        let header_len = plain.len();
        plain.extend([1, 2, 3]);
        let mut batch = b"another packet".to_vec();
        let start = batch.len();
        batch.extend_from_slice(&plain);
        sender.seal_rtp(&mut batch, start, header_len, 9, 1);
        assert_eq!(
            &batch[..start + header_len],
            [b"another packet", &plain[..header_len]].concat()
        );
        let (opened, index) = receiver.unprotect_rtp(&mut batch[start..]).unwrap();
        assert_eq!((&*opened, index), (&plain[..], 1));
    }
}

#[test]
fn rtcp_goes_there_and_back_once_at_an_offset_too() {
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
    for profile in PROFILES {
        let (mut receiver, mut sender) = pair(profile);
        let mut first = report.to_vec();
        sender.protect_rtcp(&mut first);
        let mut again = first.clone();
        assert_eq!(receiver.unprotect_rtcp(&mut first), Ok(&report[..]));
        assert_eq!(receiver.unprotect_rtcp(&mut again), Err(Dropped::Replayed));
        let mut batch = [&[7; 5][..], &report].concat();
        sender.seal_rtcp(&mut batch, 5);
        assert_eq!(batch[..5], [7; 5]);
        assert_eq!(receiver.unprotect_rtcp(&mut batch[5..]), Ok(&report[..]));
        // an unencrypted one, however well signed, is not ours to read
        let mut clear = report.to_vec();
        sender.protect_rtcp(&mut clear);
        let word_at = if profile == Profile::AeadAes128Gcm {
            clear.len() - 4
        } else {
            report.len()
        };
        clear[word_at] &= 0x7f;
        assert_eq!(receiver.unprotect_rtcp(&mut clear), Err(Dropped::Malformed));
    }
}

#[test]
fn forgery_is_told_from_replay_and_leaves_no_trace() {
    for profile in PROFILES {
        let (mut receiver, sender) = pair(profile);
        let good = sealed(&sender, 100, 9);
        for at in [1, 5, 9, 20, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(
                receiver.unprotect_rtp(&mut bad).unwrap_err(),
                Dropped::Forged,
                "byte {at}"
            );
        }
        assert!(receiver.rtp.ssrcs.is_empty());
        assert_eq!(receiver.unprotect_rtp(&mut good.clone()).unwrap().1, 100);
        // a forged packet far ahead must not move the window
        let mut ahead = good.clone();
        ahead[2..4].copy_from_slice(&20_000u16.to_be_bytes());
        assert_eq!(receiver.unprotect_rtp(&mut ahead).unwrap_err(), Dropped::Forged);
        assert_eq!(receiver.unprotect_rtp(&mut sealed(&sender, 99, 9)).unwrap().1, 99);
    }
}

#[test]
fn the_window_reaches_back_1023_packets() {
    let (mut receiver, sender) = pair(Profile::AeadAes128Gcm);
    let mut open = |index| {
        receiver
            .unprotect_rtp(&mut sealed(&sender, index, 9))
            .map(|(_, index)| index)
    };
    assert_eq!(open(5), Ok(5));
    assert_eq!(open(6), Ok(6));
    assert_eq!(open(6 + 1023), Ok(1029));
    assert_eq!(open(6), Err(Dropped::Replayed), "the oldest in the window, seen");
    assert_eq!(open(7), Ok(7));
    assert_eq!(open(7), Err(Dropped::Replayed));
    assert_eq!(open(4), Err(Dropped::Replayed), "behind the window");
    assert_eq!(open(1029 + 30_000), Ok(31_029));
    assert_eq!(open(31_028), Ok(31_028), "a leap cleared what it jumped over");
    assert_eq!(open(31_029 - 1024), Err(Dropped::Replayed));
}

#[test]
fn window_agrees_with_a_set() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..50 {
        let first = rng.random_range(0..70_000);
        let (mut window, mut seen) = (Window::new(first), std::collections::BTreeSet::from([first]));
        for _ in 0..3_000 {
            let top = *seen.last().unwrap();
            let reach = if rng.random_bool(0.01) { 3_000 } else { 40 };
            let index = rng.random_range(top.saturating_sub(1_100)..top + reach);
            let fresh = index > top || (top - index < WINDOW && !seen.contains(&index));
            assert_eq!(window.is_fresh(index), fresh, "{index} with top {top}");
            if fresh {
                window.accept(index);
                seen.insert(index);
            }
        }
    }
}

#[test]
fn sequence_numbers_before_the_first_of_all_mean_nothing() {
    let window = Window::new(3);
    assert_eq!((window.guess(65_535), window.guess(4)), (None, Some(4)));
    assert_eq!(Window::new(MAX_INDEX).guess(0), None, "the last index of all");
    assert_eq!(Window::new(0x1_0003).guess(0xffff), Some(0xffff));
}

#[test]
fn the_number_of_ssrcs_is_bounded() {
    let (mut receiver, sender) = pair(Profile::AeadAes128Gcm);
    let most = u32::try_from(MAX_SSRCS).unwrap();
    for ssrc in 0..most {
        assert!(receiver.unprotect_rtp(&mut sealed(&sender, 1, ssrc)).is_ok());
    }
    assert_eq!(
        receiver.unprotect_rtp(&mut sealed(&sender, 1, most)).unwrap_err(),
        Dropped::Replayed
    );
    assert!(receiver.unprotect_rtp(&mut sealed(&sender, 2, 0)).is_ok());
}

#[test]
fn garbage_never_panics() {
    let mut rng = StdRng::seed_from_u64(3);
    for profile in PROFILES {
        let (mut receiver, mut sender) = pair(profile);
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
        sender.protect_rtcp(&mut report);
        let corpus = [sealed(&sender, 7, 9), report];
        for round in 0..20_000 {
            let mut bytes = corpus[round % 2].clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(0..=bytes.len()));
            let rtp = receiver.unprotect_rtp(&mut bytes.clone()).is_ok();
            let rtcp = receiver.unprotect_rtcp(&mut bytes.clone()).is_ok();
            assert!((!rtp || bytes == corpus[0]) && (!rtcp || bytes == corpus[1]));
        }
    }
}

/// RFC 3711 B.2: the AES-CM key stream.
#[test]
fn rfc_3711_key_stream() {
    let aes = Aes128::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let salt: [u8; MAX_SALT] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let mut stream = [0; 48];
    aes_ctr(&aes, cm_iv(&salt, 0, 0), &mut stream);
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream.to_vec(), hex(expected));
}

/// RFC 3711 B.3: key derivation.
#[test]
fn rfc_3711_key_derivation() {
    let prf = Aes128::new_from_slice(&hex("E1F97A0D3E018BE0D64FA32C06DE4139")).unwrap();
    let salt: [u8; MAX_SALT] = hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap();
    assert_eq!(
        derived::<16>(&prf, &salt, 0).to_vec(),
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derived::<14>(&prf, &salt, 2).to_vec(),
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    assert_eq!(
        derived::<20>(&prf, &salt, 1).to_vec(),
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
}

/// RFC 7714 16.1: a packet sealed with AEAD_AES_128_GCM, session keys given.
#[test]
fn rfc_7714_packet() {
    let key: [u8; KEY] = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
    let keys = || SessionKeys {
        profile: Profile::AeadAes128Gcm,
        rtp: Cipher::gcm(&key).unwrap(),
        rtp_salt: hex("517569642070726f2071756f0000").try_into().unwrap(),
        rtcp: Cipher::gcm(&key).unwrap(),
        rtcp_salt: [0; MAX_SALT],
    };
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 \
        73207472 6573",
    );
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b \
        36de3adf 8833 899d7f27 beb16a91 52cf765e e4390cce",
    );
    let sender = Sender {
        keys: keys(),
        rtcp_index: 0,
    };
    let mut packet = plain.clone();
    sender.protect_rtp(&mut packet, 0, RTP_HEADER, 0x5501_a0b2, 0xf17b);
    assert_eq!(packet, expected);
    let mut receiver = Receiver {
        keys: keys(),
        rtp: Windows::default(),
        rtcp: Windows::default(),
    };
    assert_eq!(&*receiver.unprotect_rtp(&mut packet).unwrap().0, &plain[..]);
}
