//! Group `create`: one token after the other into an empty store, read back and counted. Fresh rows include making the
//! store; warm ones begin with memory that has been written before.

use std::{hint::black_box, time::Instant};

use ng_core::{Arena, ArenaConfig, CHUNK_SLOTS, TokenId};

use crate::{
    mapping::Mapping,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    tokens::{self, Checksum, Words},
};

pub(crate) fn group() -> Group {
    let ours = env!("CARGO_PKG_VERSION");
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, ours, arena_fresh),
        Row::new("neurograph:warm", Kind::Ours, ours, arena_warm),
        Row::new("floor:fill_huge", Kind::Floor, "", fill_huge),
        Row::new("floor:rewrite", Kind::Floor, "", rewrite),
        Row::new("generator", Kind::Floor, "", generator),
    ];
    rows.extend(peers::rows());
    let bar = |id, over, under, side, bar, goal| Bar { id, over, under, side, bar, goal };
    let bars = vec![
        bar("P1", "neurograph", "floor:fill_huge", Side::AtMost, 1.35, 1.1),
        bar("P1:ahead", "neurograph:ahead", "floor:fill_huge", Side::AtMost, 0.9, 0.7),
        bar("P1w", "neurograph:warm", "floor:rewrite", Side::AtMost, 1.5, 1.15),
        bar("P1b:slotmap", "slotmap", "neurograph", Side::AtLeast, 5.0, 8.0),
        bar("P1b:slotmap+thp", "slotmap+thp", "neurograph", Side::AtLeast, 1.5, 2.0),
        bar("P1b:sharded-slab", "sharded-slab", "neurograph", Side::AtLeast, 15.0, 30.0),
    ];
    Group { id: "create", title: "Create tokens one by one", rows, bars }
}

fn arena_fresh(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let arena = arena(work)?;
    let mut writer = arena.writer();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        black_box(writer.create(&token).map_err(refused)?);
    }
    let sample = sample(begin, work.tokens);
    check(work, "neurograph", || arena.iter().map(|(_, token)| token.to_words()).collect())?;
    Ok(sample)
}

/// All but one token of each chunk are deleted and created again: an empty chunk's memory may go back to the kernel.
fn arena_warm(work: &Work) -> Result<Sample, Failure> {
    let arena = arena(work)?;
    let mut writer = arena.writer();
    let mut ids: Vec<TokenId> = Vec::new();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        ids.push(writer.create(&token).map_err(refused)?);
    }
    let stays = |number: u64| number.is_multiple_of(u64::from(CHUNK_SLOTS));
    let gone: Vec<u64> = (0..work.tokens).filter(|number| !stays(*number)).collect();
    for number in &gone {
        writer.delete(ids[*number as usize]).map_err(|error| Failure::Check(error.to_string()))?;
    }
    let operations = gone.len() as u64;
    drop((gone, ids));
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

fn arena(work: &Work) -> Result<Arena, Failure> {
    let mut config = ArenaConfig::default();
    config.max_slots = work.tokens + u64::from(CHUNK_SLOTS);
    Arena::new(config).map_err(|error| Failure::Environment(error.to_string()))
}

fn refused(error: ng_core::CreateError) -> Failure {
    Failure::Check(format!("a create was refused: {error}"))
}

fn fill_huge(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let mut mapping = mapping(work)?;
    fill(mapping.tokens(), work.seed);
    let sample = sample(begin, work.tokens);
    check(work, "floor:fill_huge", || mapping.tokens().iter().copied().collect())?;
    Ok(sample)
}

fn rewrite(work: &Work) -> Result<Sample, Failure> {
    let mut mapping = mapping(work)?;
    fill(mapping.tokens(), !work.seed);
    let begin = Instant::now();
    fill(mapping.tokens(), work.seed);
    let sample = sample(begin, work.tokens);
    check(work, "floor:rewrite", || mapping.tokens().iter().copied().collect())?;
    Ok(sample)
}

fn mapping(work: &Work) -> Result<Mapping, Failure> {
    Mapping::new(work.tokens)
        .map_err(|error| Failure::Environment(format!("cannot map memory: {error}")))
}

fn fill(slots: &mut [Words], seed: u64) {
    for (slot, token) in slots.iter_mut().zip(tokens::stream(seed, 0..u64::MAX)) {
        *slot = token.to_words();
    }
}

/// What making the tokens costs in each of the rows.
fn generator(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        black_box(&token);
    }
    Ok(sample(begin, work.tokens))
}

fn sample(begin: Instant, operations: u64) -> Sample {
    Sample { elapsed_ns: begin.elapsed().as_nanos() as u64, operations }
}

/// Compares what `read` gives with what was to be written, where this round verifies.
fn check(work: &Work, name: &str, read: impl FnOnce() -> Checksum) -> Result<(), Failure> {
    if !work.verify || read() == tokens::checksum(work.seed, 0..work.tokens) {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} does not hold the tokens that were written")))
}

mod peers {
    //! What else could hold the tokens: on the heap as it comes, and on one that asks for huge pages.

    use super::*;

    /// The token as any other crate would hold it.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Plain(Words);

    pub(super) fn rows() -> Vec<Row> {
        let mut rows = vec![Row::new("Vec", Kind::Peer, "std", vec_with_capacity)];
        if crate::child::HUGE_HEAP {
            rows.push(Row::new("Vec+thp", Kind::Peer, "std", vec_with_capacity).on_huge_heap());
        }
        #[cfg(feature = "peers")]
        rows.extend(slotmap_rows());
        rows
    }

    fn vec_with_capacity(work: &Work) -> Result<Sample, Failure> {
        let begin = Instant::now();
        let mut vec = Vec::with_capacity(work.tokens as usize);
        for token in tokens::stream(work.seed, 0..work.tokens) {
            vec.push(Plain(token.to_words()));
        }
        let sample = sample(begin, work.tokens);
        check(work, "Vec", || vec.iter().map(|plain| plain.0).collect())?;
        Ok(sample)
    }

    #[cfg(feature = "peers")]
    fn slotmap_rows() -> Vec<Row> {
        let version = crate::machine::version_in_lock("slotmap");
        let mut rows = vec![Row::new("slotmap", Kind::Peer, version, slotmap_with_capacity)];
        if crate::child::HUGE_HEAP {
            let row = Row::new("slotmap+thp", Kind::Peer, version, slotmap_with_capacity);
            rows.push(row.on_huge_heap());
        }
        rows
    }

    #[cfg(feature = "peers")]
    fn slotmap_with_capacity(work: &Work) -> Result<Sample, Failure> {
        let begin = Instant::now();
        let mut map = slotmap::SlotMap::with_capacity(work.tokens as usize);
        for token in tokens::stream(work.seed, 0..work.tokens) {
            black_box(map.insert(Plain(token.to_words())));
        }
        let sample = sample(begin, work.tokens);
        check(work, "slotmap", || map.values().map(|plain| plain.0).collect())?;
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_holds_what_it_was_timed_for() {
        let work = Work { tokens: 70_000, seed: 3, verify: true };
        for mut row in group().rows {
            let sample =
                (row.measure)(&work).unwrap_or_else(|failure| panic!("{}: {failure}", row.name));
            assert!(sample.operations >= work.tokens - 3, "{}", row.name);
        }
    }

    #[test]
    fn a_row_that_lost_a_token_fails_its_check() {
        let work = Work { tokens: 1000, seed: 3, verify: true };
        let lost = || tokens::checksum(work.seed, 0..999);
        assert_eq!(check(&work, "x", lost).unwrap_err().exit_code(), 1);
        assert!(check(&Work { verify: false, ..work }, "x", lost).is_ok());
    }

    #[test]
    fn each_bar_compares_rows_of_this_group_or_of_one_to_come() {
        let group = group();
        let to_come = ["neurograph:ahead", "slotmap", "slotmap+thp", "sharded-slab"];
        for name in group.bars.iter().flat_map(|bar| [bar.over, bar.under]) {
            let known = group.rows.iter().any(|row| row.name == name) || to_come.contains(&name);
            assert!(known, "{name}");
        }
    }
}
