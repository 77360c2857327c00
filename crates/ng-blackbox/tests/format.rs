//! The bytes of a file are where the README's tables put them: read here without the crate's reader.

use ng_blackbox::{Event, Kind, Recorder, Severity};

mod rig;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_file_is_as_the_readme_draws_it() {
    const LANES: usize = 2;
    const EVENTS: usize = 128;
    let dir = tempfile::tempdir().unwrap();
    let names = [(Kind::new(0x1234), "Twelve")];
    let recorder = Recorder::open(&dir, rig::config(LANES as u32, EVENTS as u32), &names).unwrap();
    recorder.record(Event::text(Kind::CUSTOM, Severity::WARN, "häh"));
    let numbers = [1, 0x0102_0304_0506_0708, 3, u64::MAX];
    let fly = || {
        let mut lane = recorder.lane();
        let event = Event::numbers(names[0].0, Severity::FATAL, numbers);
        (0..EVENTS + 3).for_each(|_| lane.record(event));
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new().name("pilot".into()).spawn_scoped(scope, fly).unwrap();
    });
    let file = std::fs::read(recorder.path().unwrap()).unwrap();

    let rings_at = (20480 + (3 + LANES) * 128_usize).next_multiple_of(4096);
    assert_eq!(file.len(), rings_at + 32768 + (1 + LANES) * EVENTS * 64);

    assert_eq!(file[..8], *b"NGBBOX\r\n");
    let header = [1, std::process::id(), 2, 128, 64, 256, 4096, 20480, 128, 0];
    assert!(header.into_iter().enumerate().all(|(i, v)| u32_at(&file, 8 + i * 4) == v));
    assert!(u64_at(&file, 48) > 1_600_000_000_000_000_000, "wall time");
    assert_eq!(u32_at(&file, 124), crc32c::crc32c(&file[..124]));
    assert!(file[128..4096].iter().all(|b| *b == 0));

    let name = &file[4096 + 7 * 64..][..64];
    assert_eq!(name[..10], *b"\x34\x12\x06\0Twelve");
    assert_eq!(u32_at(name, 60), crc32c::crc32c(&name[..60]));
    assert!(file[4096 + 8 * 64..20480].iter().all(|b| *b == 0));

    let lane_3 = &file[20480 + 3 * 128..][..128];
    assert_eq!(u64_at(lane_3, 0), EVENTS as u64 + 3);
    assert_eq!(lane_3[12..22], *b"\x05\0\0\0pilot\0");
    assert_eq!(u64_at(lane_3, 48), u64::from(crc32c::crc32c(&lane_3[8..48])));

    // Number 131 of ring 3 stands in slot 2.
    let event = &file[rings_at + 32768 + EVENTS * 64 + 2 * 64..][..64];
    assert_eq!(u64_at(event, 0), 131);
    assert_eq!(event[16..20], [0x34, 0x12, 5, 255]);
    assert_eq!(u32_at(event, 20), u32_at(lane_3, 8), "the thread that has the lane");
    assert!((0..4).all(|i| u64_at(event, 24 + i * 8) == numbers[i]));
    assert_eq!(u32_at(event, 56), crc32c::crc32c_append(3, &event[..56]));
    assert_eq!(u32_at(event, 60), 0);

    let text = &file[rings_at + 32768..][..64];
    assert_eq!((u64_at(text, 0), &text[16..20]), (1, &[4, 0, 3, 4][..]));
    assert_eq!(
        text[24..56],
        *b"h\xc3\xa4h\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );

    let anchor = &file[rings_at + 64..][..64];
    assert_eq!(u32_at(anchor, 16) & 0xffff, 3);
    assert!(u64_at(anchor, 24) >= u64_at(&file, 48), "wall time");
}
