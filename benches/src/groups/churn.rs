//! Group `churn`: a store that is 90 % full deletes a random token and creates another, over and over. The first and the
//! last tenth of a round are told apart: a store that wears out shows it there.

use std::{hint::black_box, time::Instant};

use crate::{
    peers::{Peer, peer_rows},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{arena, both, fill, refused, sample},
    tokens,
};

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let mut rows: Vec<Row> = ["neurograph:first_tenth", "neurograph:last_tenth"]
        .into_iter()
        .zip(both(ours))
        .map(|(name, measure)| Row::new(name, Kind::Ours, version, measure))
        .collect();
    rows.extend(peer_rows!(peer: ;
        slab::Slab<crate::peers::Plain>,
        slotmap::SlotMap<slotmap::DefaultKey, crate::peers::Plain>));
    let (over, under) = ("neurograph:last_tenth", "neurograph:first_tenth");
    let bars =
        vec![Bar { id: "churn", over, under, side: Side::AtMost, bar: 1.2, goal: Some(1.0) }];
    Group::in_memory("churn", "Delete and create at 90 % full, a pair", rows, bars)
}

fn ours(work: &Work) -> Result<[Sample; 2], Failure> {
    let slots = work.tokens.next_multiple_of(u64::from(ng_core::CHUNK_SLOTS));
    let arena = arena(work, |config| config.max_slots = slots)?;
    let mut writer = arena.writer();
    let live = slots * 9 / 10;
    let mut ids = fill(&mut writer, work, 0..live)?;
    let mut random = fastrand::Rng::with_seed(work.seed);
    let mut churn = |pairs: u64| {
        let begin = Instant::now();
        for token in tokens::stream(work.seed, 0..pairs) {
            let victim = &mut ids[random.usize(..live as usize)];
            writer.delete(*victim).map_err(|error| Failure::Check(error.to_string()))?;
            *victim = black_box(writer.create(&token).map_err(refused)?);
        }
        Ok(sample(begin, pairs))
    };
    let tenth = (work.churn / 10).max(1);
    let first = churn(tenth)?;
    churn(work.churn.saturating_sub(2 * tenth))?;
    let last = churn(tenth)?;
    // No slot was lost: the rest of them can be filled, and no more.
    let rest = fill(&mut writer, work, live..slots)?;
    if arena.len() != slots || writer.create(&tokens::one(work.seed, 0)).is_ok() {
        return Err(Failure::Check(format!(
            "churn ended with {} tokens in {slots} slots, {} of them filled at the end",
            arena.len(),
            rest.len()
        )));
    }
    Ok([first, last])
}

// Without the feature there is no peer that can remove.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
fn peer<P: Peer>(work: &Work) -> Result<Sample, Failure> {
    let live = work.tokens * 9 / 10;
    let mut peer = P::with_room(work.tokens as usize);
    let stream = tokens::stream(work.seed, 0..live);
    let mut keys: Vec<_> = stream.map(|token| peer.insert(token.to_words())).collect();
    let mut random = fastrand::Rng::with_seed(work.seed);
    let begin = Instant::now();
    for token in tokens::stream(work.seed, 0..work.churn) {
        let victim = &mut keys[random.usize(..live as usize)];
        if !peer.remove(*victim) {
            return Err(Failure::Check(format!("{} lost a token", P::NAME)));
        }
        *victim = black_box(peer.insert(token.to_words()));
    }
    Ok(sample(begin, work.churn))
}
