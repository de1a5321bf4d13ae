//! [`Vector`]: the few instructions that the kernels are made of, one
//! implementation for each instruction set. Every operation gives the same
//! bits in all of them.
#![allow(unsafe_code)]

/// Some f32 lanes side by side.
///
/// # Safety
/// All functions: the CPU has the type's instructions. Loads and stores: the
/// pointer is good for `LANES` values, or for the first `count` of them; no
/// other memory is touched. A `count` above `LANES` means all.
pub(in crate::model) trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;

    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn times(self, other: Self) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    unsafe fn minus(self, other: Self) -> Self;
    /// The value without its sign.
    unsafe fn magnitude(self) -> Self;
    /// The larger one; `other` where neither is.
    unsafe fn larger(self, other: Self) -> Self;
    /// A bit for each lane, the first lane's lowest: set where `self` is above
    /// `other`.
    unsafe fn above(self, other: Self) -> u32;
    /// `yes` in the lanes where `self` is above `other`, else `no`.
    unsafe fn choose(self, other: Self, yes: Self, no: Self) -> Self;

    /// Writes the lanes that are not zero (NaN is not) to `values`, one after another, and the
    /// number of each, counted from `first` on, to `places`. Returns how many there are. As many
    /// values of both as there are lanes may be written.
    #[inline(always)]
    unsafe fn keep_not_zero(self, first: u32, values: *mut f32, places: *mut u32) -> usize {
        let mut count = 0;
        let mut lanes = [0.0_f32; 16];
        // SAFETY: the caller's; no vector has more lanes.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for (lane, value) in (0..Self::LANES as u32).zip(lanes) {
                // Without a branch: nobody can tell which lanes are zero.
                *values.add(count) = value;
                *places.add(count) = first + lane;
                count += usize::from(value != 0.0);
            }
        }
        count
    }
}

/// Magnitudes below this count as zero where a value decays step by step. Zero times anything is fast;
/// a value that has decayed to a subnormal number would stay one (0.9 times the smallest is the
/// smallest again), and each operation on it takes a hundred cycles. This far above the subnormals,
/// products with rates and shares are normal, too.
pub(in crate::model) const FLUSH_BELOW: f32 = 1e-20;

/// `+0` where a magnitude is below [`FLUSH_BELOW`]; every other value, NaN included, as it is.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(in crate::model) unsafe fn flushed<V: Vector>(value: V) -> V {
    // SAFETY: the caller's. A comparison with NaN is false, so that NaN is kept.
    unsafe { V::splat(FLUSH_BELOW).choose(value.magnitude(), V::zero(), value) }
}

/// Asks for a cache line that will be read soon. Any address will do.
#[inline(always)]
pub(in crate::model) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, which faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Four lanes that every CPU of the architecture has.
#[cfg(target_arch = "x86_64")]
pub(in crate::model) type Four = std::arch::x86_64::__m128;
#[cfg(not(target_arch = "x86_64"))]
pub(in crate::model) type Four = PlainFour;

/// Four lanes in plain Rust, for other architectures.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(in crate::model) struct PlainFour([f32; 4]);

// SAFETY (of the blocks below): the caller's, as the trait says.
#[cfg(not(target_arch = "x86_64"))]
impl Vector for PlainFour {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (at, lane) in lanes.iter_mut().enumerate().take(count) {
            *lane = unsafe { *from.add(at) };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (at, lane) in self.0.into_iter().enumerate().take(count) {
            unsafe { *to.add(at) = lane };
        }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
    #[inline(always)]
    unsafe fn magnitude(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        unsafe { self.choose(other, self, other) }
    }
    #[inline(always)]
    unsafe fn above(self, other: Self) -> u32 {
        (0..4).map(|lane| u32::from(self.0[lane] > other.0[lane]) << lane).sum()
    }
    #[inline(always)]
    unsafe fn choose(self, other: Self, yes: Self, no: Self) -> Self {
        let lane =
            |lane: usize| if self.0[lane] > other.0[lane] { yes.0[lane] } else { no.0[lane] };
        Self(std::array::from_fn(lane))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// The first `count` of 8 lanes: all ones there, zeros in the others.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline(always)]
    unsafe fn first_of_8(count: usize) -> __m256i {
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes)
        }
    }

    /// The first `count` of 16 lanes, as a mask.
    #[inline(always)]
    fn first_of_16(count: usize) -> __mmask16 {
        ((1_u32 << count.min(16)) - 1) as __mmask16
    }

    // SAFETY (of the blocks below): the caller's, as the trait says.
    impl Vector for __m128 {
        const LANES: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            let mut lanes = [0.0; 4];
            for (at, lane) in lanes.iter_mut().enumerate().take(count) {
                *lane = unsafe { *from.add(at) };
            }
            unsafe { _mm_loadu_ps(lanes.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            let mut lanes = [0.0; 4];
            unsafe { _mm_storeu_ps(lanes.as_mut_ptr(), self) };
            for (at, lane) in lanes.into_iter().enumerate().take(count) {
                unsafe { *to.add(at) = lane };
            }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            unsafe { _mm_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            unsafe { _mm_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn magnitude(self) -> Self {
            unsafe { _mm_andnot_ps(_mm_set1_ps(-0.0), self) }
        }
        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            unsafe { _mm_max_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn above(self, other: Self) -> u32 {
            unsafe { _mm_movemask_ps(_mm_cmpgt_ps(self, other)) as u32 }
        }
        #[inline(always)]
        unsafe fn choose(self, other: Self, yes: Self, no: Self) -> Self {
            unsafe {
                let mask = _mm_cmpgt_ps(self, other);
                _mm_or_ps(_mm_and_ps(mask, yes), _mm_andnot_ps(mask, no))
            }
        }
    }

    // SAFETY (of the blocks below): the caller's, as the trait says.
    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            unsafe { _mm256_maskload_ps(from, first_of_8(count)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            unsafe { _mm256_maskstore_ps(to, first_of_8(count), self) }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            unsafe { _mm256_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            unsafe { _mm256_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn magnitude(self) -> Self {
            unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self) }
        }
        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            unsafe { _mm256_max_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn above(self, other: Self) -> u32 {
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) as u32 }
        }
        #[inline(always)]
        unsafe fn choose(self, other: Self, yes: Self, no: Self) -> Self {
            unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(self, other)) }
        }
    }

    // SAFETY (of the blocks below): the caller's, as the trait says.
    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps(first_of_16(count), from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first_of_16(count), self) }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            unsafe { _mm512_mul_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            unsafe { _mm512_sub_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn magnitude(self) -> Self {
            unsafe { _mm512_abs_ps(self) }
        }
        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            unsafe { _mm512_max_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn above(self, other: Self) -> u32 {
            unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other)) }
        }
        #[inline(always)]
        unsafe fn choose(self, other: Self, yes: Self, no: Self) -> Self {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, other), no, yes) }
        }
        #[inline(always)]
        unsafe fn keep_not_zero(self, first: u32, values: *mut f32, places: *mut u32) -> usize {
            unsafe {
                let keep = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self, _mm512_setzero_ps());
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let lanes = _mm512_add_epi32(_mm512_set1_epi32(first as i32), lanes);
                // Whole vectors: some CPUs take a hundred cycles to write some lanes.
                _mm512_storeu_ps(values, _mm512_maskz_compress_ps(keep, self));
                let lanes = _mm512_maskz_compress_epi32(keep, lanes);
                _mm512_storeu_si512(places.cast(), lanes);
                keep.count_ones() as usize
            }
        }
    }
}
