//! Places blocks that live for a while in one arena. In: sizes and lifetimes. Out: offsets such that no two blocks that live at
//! the same time overlap, and the size of the arena, beside the size that no plan can beat.
//!
//! Greedy best fit by size (as XNNPACK's memory planner; arXiv 2001.03288 calls it greedy-by-size): the largest block first, each into
//! the smallest gap that holds it between the blocks placed before which live when it does, else behind them. Where that misses
//! the bound, other orders are tried: the longest life first among equals, and the most crowded steps first.

use std::cmp::Reverse;

/// Offsets and sizes are multiples of this many bytes: a cache line.
pub const ALIGN: usize = 64;

/// A block: its size in bytes and the steps, first and last, during which it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bytes.
    pub size: usize,
    /// The step that first stores into it.
    pub first: usize,
    /// The step that last reads it, at least `first`.
    pub last: usize,
}

/// Where blocks lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes from the start of the arena, one per block; multiples of [`ALIGN`].
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub size: usize,
    /// The largest sum of sizes, each rounded up to [`ALIGN`], that live at one step: no arena can be smaller.
    pub lower_bound: usize,
}

impl Block {
    fn overlaps(&self, other: &Block) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn room(&self) -> usize {
        self.size.next_multiple_of(ALIGN)
    }
}

/// Places all blocks: by size, and by how much lives beside them; the smaller arena wins.
pub fn plan(blocks: &[Block]) -> Plan {
    let crowd: Vec<usize> =
        blocks.iter().map(|b| live_at(blocks, b.first).max(live_at(blocks, b.last))).collect();
    let mut by_size: Vec<usize> = (0..blocks.len()).collect();
    by_size.sort_by_key(|i| (Reverse(blocks[*i].room()), blocks[*i].first, *i));
    let mut by_life = by_size.clone();
    by_life.sort_by_key(|i| (Reverse(blocks[*i].room()), Reverse(blocks[*i].last - blocks[*i].first)));
    let mut by_crowd = by_size.clone();
    by_crowd.sort_by_key(|i| Reverse(crowd[*i]));
    let bound = lower_bound(blocks);
    let mut best = place(blocks, &by_size);
    for order in [by_life, by_crowd] {
        if best.1 > bound {
            let other = place(blocks, &order);
            best = if other.1 < best.1 { other } else { best };
        }
    }
    Plan { offsets: best.0, size: best.1, lower_bound: bound }
}

/// Offsets of blocks placed in this order, and the size of the arena.
fn place(blocks: &[Block], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for i in order.iter().copied() {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|p| blocks[**p].overlaps(&blocks[i]))
            .map(|p| (offsets[*p], offsets[*p] + blocks[*p].room()))
            .collect();
        taken.sort_unstable();
        offsets[i] = best_fit(&taken, blocks[i].room());
        size = size.max(offsets[i] + blocks[i].room());
        placed.push(i);
    }
    (offsets, size)
}

/// The start of the smallest gap of at least `room` between the `taken` ranges, which are sorted; else their end.
fn best_fit(taken: &[(usize, usize)], room: usize) -> usize {
    let mut end = 0;
    let mut best: Option<(usize, usize)> = None;
    for (from, to) in taken {
        let gap = from.saturating_sub(end);
        if gap >= room && best.is_none_or(|(least, _)| gap < least) {
            best = Some((gap, end));
        }
        end = end.max(*to);
    }
    best.map_or(end, |(_, at)| at)
}

fn lower_bound(blocks: &[Block]) -> usize {
    blocks.iter().map(|b| live_at(blocks, b.first)).max().unwrap_or(0)
}

/// Bytes that live at a step.
fn live_at(blocks: &[Block], step: usize) -> usize {
    blocks.iter().filter(|b| b.first <= step && step <= b.last).map(Block::room).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small linear congruential generator: enough for lifetimes.
    fn random(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 33) as usize) % below
    }

    #[test]
    fn no_two_live_blocks_overlap() {
        let mut state = 7;
        for round in 0..300 {
            let count = 1 + random(&mut state, 60);
            let blocks: Vec<Block> = (0..count)
                .map(|_| {
                    let first = random(&mut state, 40);
                    Block { size: random(&mut state, 5000), first, last: first + random(&mut state, 12) }
                })
                .collect();
            let plan = plan(&blocks);
            for (i, a) in blocks.iter().enumerate() {
                assert_eq!(plan.offsets[i] % ALIGN, 0);
                assert!(plan.offsets[i] + a.size <= plan.size, "round {round}: block {i} ends outside");
                for (j, b) in blocks.iter().enumerate().skip(i + 1) {
                    let apart = plan.offsets[i] + a.size <= plan.offsets[j]
                        || plan.offsets[j] + b.size <= plan.offsets[i];
                    assert!(apart || !a.overlaps(b), "round {round}: blocks {i} and {j} collide");
                }
            }
            assert!(plan.size >= plan.lower_bound);
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let sizes = [640, 6400, 1280, 64, 3200];
        let blocks: Vec<Block> =
            sizes.iter().enumerate().map(|(i, s)| Block { size: *s, first: i, last: i + 1 }).collect();
        let plan = plan(&blocks);
        assert_eq!((plan.size, plan.lower_bound), (7680, 7680));
    }

    #[test]
    fn a_block_goes_into_the_smallest_gap_that_holds_it() {
        assert_eq!(best_fit(&[(64, 128), (192, 256), (640, 704)], 64), 0);
        assert_eq!(best_fit(&[(0, 128), (384, 512), (640, 704)], 128), 512);
        assert_eq!(best_fit(&[(0, 128), (192, 256)], 128), 256);
    }
}
