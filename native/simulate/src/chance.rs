//! Chance that is the same for the same seed, everywhere.

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The chance of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % (bound.max(1) as u64)) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them, each as likely as its weight says; none when there is none.
    pub fn weighed<T: Copy>(&mut self, from: &[(T, usize)]) -> Option<T> {
        let mut at = self.below(from.iter().map(|(_, weight)| weight).sum());
        for (it, weight) in from {
            if at < *weight {
                return Some(*it);
            }
            at -= weight;
        }
        None
    }

    /// One of them; there is at least one.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A seed made of two: decisions that hang on a place in a history rather than on
/// what was drawn before it, so that a history without one of its steps goes on as it was.
pub fn mix(a: u64, b: u64) -> u64 {
    scramble(a.rotate_left(17) ^ scramble(b.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
