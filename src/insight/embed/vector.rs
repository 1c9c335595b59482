//! Vectors of length 1: how they are written, compared, and made small.
//!
//! Decides the bytes of a vector in a store (little-endian `f32`) and what a quantised one is: 384
//! whole numbers of eight bits with one factor, a quarter of the size, near enough to find candidates
//! that are then compared in full.

use super::DIMENSIONS;

/// A vector of [`DIMENSIONS`] numbers whose length is 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Box<[f32]>);

impl Vector {
    /// The vector in the direction of `numbers`; `None` when there is no direction, when they are not
    /// all numbers, or when there are not [`DIMENSIONS`] of them.
    pub fn unit(mut numbers: Vec<f32>) -> Option<Self> {
        let largest = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let sound = numbers.len() == DIMENSIONS && numbers.iter().all(|x| x.is_finite());
        if !sound || largest == 0.0 {
            return None;
        }
        // By the largest first, so that no square overflows or vanishes.
        numbers.iter_mut().for_each(|x| *x /= largest);
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.iter_mut().for_each(|x| *x /= length);
        Some(Self(numbers.into_boxed_slice()))
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }

    /// Its bytes in a store.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// How alike two are: 1 the same, 0 nothing in common, -1 the opposite.
    pub fn cosine(&self, other: &Self) -> f32 {
        dot(&self.0, other.0.iter().copied()).clamp(-1.0, 1.0)
    }

    /// How alike this one and one in a store are; `None` when those bytes are no vector.
    pub fn cosine_stored(&self, bytes: &[u8]) -> Option<f32> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if numbers.len() != DIMENSIONS || !rest.is_empty() {
            return None;
        }
        let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let cosine = dot(&self.0, numbers);
        cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
    }

    /// The same with eight bits a number.
    pub fn quantised(&self) -> Quantised {
        let largest = self.0.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let numbers = self.0.iter().map(|x| level(x / largest));
        Quantised {
            numbers: numbers.collect(),
            step: largest / 127.0,
        }
    }
}

/// The nearest of 255 levels to a number between -1 and 1.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is between -127 and 127"
)]
fn level(x: f32) -> i8 {
    (x.clamp(-1.0, 1.0) * 127.0).round() as i8
}

/// The scalar product, in eight sums: a compiler may then take eight at once.
fn dot(left: &[f32], right: impl Iterator<Item = f32>) -> f32 {
    let mut sums = [0.0_f32; 8];
    let mut right = right;
    for eight in left.chunks_exact(8) {
        for ((sum, a), b) in sums.iter_mut().zip(eight).zip(right.by_ref()) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// A vector with eight bits a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// Its numbers, between -127 and 127.
    pub numbers: Box<[i8]>,
    /// What one of them stands for.
    pub step: f32,
}

/// The scalar product of quantised numbers, in steps of both. 384 products of 127 x 127 fit easily.
pub fn dot_quantised(left: &[i8], right: &[i8]) -> i32 {
    let products = left.iter().zip(right);
    products
        .map(|(a, b)| i32::from(i16::from(*a) * i16::from(*b)))
        .sum()
}
