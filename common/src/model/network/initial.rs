//! The initial weights: a function of the seed only.

use ndarray::ArrayD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The initial values of weights. Biases start at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initial {
    /// At zero.
    Zero,
    /// Uniform around zero: before a ReLU as in He et al. 2015, "Delving Deep
    /// into Rectifiers", before the last softmax as in Glorot & Bengio 2010.
    Uniform,
}

/// The purpose of the random stream, which is keyed by it, the seed and the layer's index.
const PURPOSE: [u8; 16] = *b"initial weights\0";

/// The weights `[inputs, outputs]` of the layer at `place`.
pub(super) fn weights(
    initial: Initial,
    seed: u64,
    place: usize,
    shape: [usize; 2],
    is_last: bool,
) -> ArrayD<f32> {
    if initial == Initial::Zero {
        return ArrayD::zeros(shape.as_slice());
    }
    let [inputs, outputs] = shape.map(|size| size as f32);
    let limit = if is_last { (6.0 / (inputs + outputs)).sqrt() } else { (6.0 / inputs).sqrt() };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..24].copy_from_slice(&PURPOSE);
    key[24..].copy_from_slice(&(place as u64).to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(key);
    // 24 bits are exact in an f32.
    let mut uniform = || (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    ArrayD::from_shape_simple_fn(shape.as_slice(), || limit * uniform())
}
