//! Group `create_2t`: the same bytes written by two threads at once, into memory that has been written before.

use std::hint::black_box;

use crate::{
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{arena, at_once, check, fill, fill_plain, mapping, refused, thin_out},
    tokens,
};

pub(crate) fn group() -> Group {
    let rows = vec![
        Row::new("neurograph:warm", Kind::Ours, env!("CARGO_PKG_VERSION"), warm),
        Row::new("floor:rewrite", Kind::Floor, "", rewrite),
    ];
    let (over, under) = ("floor:rewrite", "neurograph:warm");
    let bars = vec![Bar { id: "P9", over, under, side: Side::AtLeast, bar: 0.65, goal: Some(0.8) }];
    Group::in_memory("create_2t", "Create tokens one by one, two threads", rows, bars)
}

/// Runs `work` of both halves at once, each on a thread; the time of the slower.
fn both_halves<T: Send>(
    halves: [T; 2],
    body: impl Fn(T) -> Result<u64, Failure> + Sync,
) -> Result<Sample, Failure> {
    let (elapsed_ns, done) = at_once(halves, body)?;
    let operations = done.into_iter().sum::<Result<u64, Failure>>()?;
    Ok(Sample { elapsed_ns, operations })
}

fn warm(work: &Work) -> Result<Sample, Failure> {
    let arena = arena(work, |_| ())?;
    let mut filler = arena.writer();
    let ids = fill(&mut filler, work, 0..work.tokens)?;
    let gone = thin_out(&mut filler, &ids)?;
    drop((filler, ids));
    let middle = work.tokens + gone / 2;
    let halves = [work.tokens..middle, middle..work.tokens + gone];
    let sample = both_halves(halves, |numbers| {
        let operations = numbers.end - numbers.start;
        let mut writer = arena.writer();
        for token in tokens::stream(work.seed, numbers) {
            black_box(writer.create(&token).map_err(refused)?);
        }
        Ok(operations)
    })?;
    if arena.len() != work.tokens {
        return Err(Failure::Check(format!("neurograph:warm holds {} tokens", arena.len())));
    }
    Ok(sample)
}

fn rewrite(work: &Work) -> Result<Sample, Failure> {
    let mut mapping = mapping(work)?;
    fill_plain(mapping.tokens(), !work.seed, 0);
    let middle = work.tokens / 2;
    let (low, high) = mapping.tokens().split_at_mut(middle as usize);
    let sample = both_halves([(low, 0), (high, middle)], |(slots, first)| {
        fill_plain(slots, work.seed, first);
        Ok(slots.len() as u64)
    })?;
    check(work, "floor:rewrite", || mapping.tokens().iter().copied().collect())?;
    Ok(sample)
}
