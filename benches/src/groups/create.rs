//! Group `create`: one token after the other into an empty store, read back and counted. Fresh rows include making the
//! store; warm ones begin with memory that has been written before.

use std::{hint::black_box, time::Instant};

use ng_core::ArenaConfig;

use crate::{
    peers::{Peer, peer_rows},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{arena, both, check, fill, fill_plain, mapping, refused, sample, thin_out},
    tokens,
};

/// What the row with committing ahead takes ahead: two chunks.
const AHEAD_BYTES: u64 = 4 << 20;
/// Tokens of the small run that the large one is compared with.
const SMALL: u64 = 1_000_000;

pub(crate) fn group() -> Group {
    let ours = |name, measure: fn(&Work) -> Result<Sample, Failure>| {
        Row::new(name, Kind::Ours, env!("CARGO_PKG_VERSION"), measure)
    };
    let floor = |name, measure: fn(&Work) -> Result<Sample, Failure>| {
        Row::new(name, Kind::Floor, "", measure)
    };
    let mut rows = vec![
        ours("neurograph", |work| fresh(work, |_| ())),
        ours("neurograph:ahead", |work| fresh(work, |c| c.commit_ahead_bytes = AHEAD_BYTES)),
        ours("neurograph:warm", warm),
        ours("neurograph:1M", |work| {
            fresh(&Work { tokens: work.tokens.min(SMALL), ..*work }, |_| ())
        }),
        ours("neurograph:small_pages", |work| fresh(work, |c| c.huge_pages = false)),
        floor("floor:fill_huge", fill_huge),
        floor("floor:rewrite", rewrite),
        floor("generator", generator),
    ];
    for (name, measure) in
        ["neurograph:first_tenth", "neurograph:last_tenth"].into_iter().zip(both(tenths))
    {
        rows.push(Row::new(name, Kind::Ours, env!("CARGO_PKG_VERSION"), measure));
    }
    rows.extend(peer_rows!(insert: Vec<crate::peers::Plain>;
        slab::Slab<crate::peers::Plain>,
        slotmap::SlotMap<slotmap::DefaultKey, crate::peers::Plain>,
        thunderdome::Arena<crate::peers::Plain>,
        sharded_slab::Slab<crate::peers::Plain>,
        boxcar::Vec<crate::peers::Plain>));
    let bar =
        |id, over, under, side, bar, goal| Bar { id, over, under, side, bar, goal: Some(goal) };
    // No goal: how far ours may get ahead of a peer is a matter of the floor.
    let beside_peer = |id, over, bar| {
        let (under, side) = ("neurograph", Side::AtLeast);
        Bar { id, over, under, side, bar, goal: None }
    };
    let bars = vec![
        bar("P1", "neurograph", "floor:fill_huge", Side::AtMost, 1.35, 1.1),
        bar("P1:ahead", "neurograph:ahead", "floor:fill_huge", Side::AtMost, 1.05, 0.7),
        bar("P1w", "neurograph:warm", "floor:rewrite", Side::AtMost, 1.5, 1.15),
        beside_peer("P1b:slotmap", "slotmap", 3.0),
        beside_peer("P1b:slotmap+thp", "slotmap+thp", 1.05),
        beside_peer("P1b:sharded-slab", "sharded-slab", 10.0),
        bar(
            "linear:tenths",
            "neurograph:last_tenth",
            "neurograph:first_tenth",
            Side::AtMost,
            1.05,
            1.0,
        ),
        bar("linear:size", "neurograph", "neurograph:1M", Side::AtMost, 1.05, 1.0),
    ];
    Group::in_memory("create", "Create tokens one by one", rows, bars)
}

fn fresh(work: &Work, change: impl FnOnce(&mut ArenaConfig)) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let arena = arena(work, change)?;
    let mut writer = arena.writer();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        black_box(writer.create(&token).map_err(refused)?);
    }
    let sample = sample(begin, work.tokens);
    check(work, "neurograph", || arena.iter().map(|(_, token)| token.to_words()).collect())?;
    Ok(sample)
}

/// Time of the first and the last tenth of the creates.
fn tenths(work: &Work) -> Result<[Sample; 2], Failure> {
    let begin = Instant::now();
    let arena = arena(work, |_| ())?;
    let mut writer = arena.writer();
    let tenth = work.tokens / 10;
    let mut create = |numbers| {
        for token in tokens::stream(work.seed, numbers) {
            black_box(writer.create(&token).map_err(refused)?);
        }
        Ok(())
    };
    create(0..tenth)?;
    let first = sample(begin, tenth);
    create(tenth..work.tokens - tenth)?;
    let begin = Instant::now();
    create(work.tokens - tenth..work.tokens)?;
    let last = sample(begin, tenth);
    check(work, "neurograph", || arena.iter().map(|(_, token)| token.to_words()).collect())?;
    Ok([first, last])
}

/// All but one token of each chunk are deleted and created again.
fn warm(work: &Work) -> Result<Sample, Failure> {
    let arena = arena(work, |_| ())?;
    let mut writer = arena.writer();
    let ids = fill(&mut writer, work, 0..work.tokens)?;
    let operations = thin_out(&mut writer, &ids)?;
    drop(ids);
    let begin = Instant::now();
    for token in tokens::stream(work.seed, work.tokens..work.tokens + operations) {
        black_box(writer.create(&token).map_err(refused)?);
    }
    let sample = sample(begin, operations);
    if arena.len() != work.tokens {
        return Err(Failure::Check(format!("neurograph:warm holds {} tokens", arena.len())));
    }
    Ok(sample)
}

fn fill_huge(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let mut mapping = mapping(work)?;
    fill_plain(mapping.tokens(), work.seed, 0);
    let sample = sample(begin, work.tokens);
    check(work, "floor:fill_huge", || mapping.tokens().iter().copied().collect())?;
    Ok(sample)
}

fn rewrite(work: &Work) -> Result<Sample, Failure> {
    let mut mapping = mapping(work)?;
    fill_plain(mapping.tokens(), !work.seed, 0);
    let begin = Instant::now();
    fill_plain(mapping.tokens(), work.seed, 0);
    let sample = sample(begin, work.tokens);
    check(work, "floor:rewrite", || mapping.tokens().iter().copied().collect())?;
    Ok(sample)
}

/// What making the tokens costs in each of the rows.
fn generator(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        black_box(&token);
    }
    Ok(sample(begin, work.tokens))
}

fn insert<P: Peer>(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let mut peer = P::with_room(work.tokens as usize);
    for token in tokens::stream(work.seed, 0..work.tokens) {
        black_box(peer.insert(token.to_words()));
    }
    let sample = sample(begin, work.tokens);
    check(work, P::NAME, || {
        let mut all = Vec::new();
        peer.each(|words| all.push(*words));
        all.into_iter().collect()
    })?;
    Ok(sample)
}
