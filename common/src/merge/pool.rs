//! [`BufferPool`]: memory of dropped partials, for reuse.

use std::sync::{MutexGuard, PoisonError};

use super::kind::Spare;
use super::{Contribution, Partial, Real, RealContribution, Values};

/// Number of values from which memory is kept: smaller pieces are quick to allocate, larger ones
/// come from the system page by page, which takes longer than a copy.
const SPARE_VALUES: usize = 1 << 16;

/// Memory of dropped partials, for those of the next round. It holds as many values as were in
/// use at the same time.
#[derive(Debug, Default)]
pub struct BufferPool(Spare);

impl BufferPool {
    /// Keeps the memory of a partial.
    pub fn keep(&self, partial: Partial) {
        for contribution in partial.tensors.into_iter().flatten() {
            match contribution {
                Contribution::F32(contribution) => self.keep_values(contribution),
                Contribution::F64(contribution) => self.keep_values(contribution),
                Contribution::U64(_) | Contribution::I64(_) => {}
            }
        }
    }

    fn keep_values<T: Real>(&self, contribution: RealContribution<T>) {
        if let RealContribution::Mean { values: Values::Owned(values), .. }
        | RealContribution::Sum(Values::Owned(values))
        | RealContribution::Max(Values::Owned(values)) = contribution
            && values.len() >= SPARE_VALUES
        {
            self.lock().push(values);
        }
    }

    /// As many values, whatever they are.
    pub(super) fn take<T: Real>(&self, values: usize) -> Vec<T> {
        if values >= SPARE_VALUES {
            let mut kept = self.lock::<T>();
            if let Some(place) = kept.iter().position(|memory| memory.len() == values) {
                return kept.swap_remove(place);
            }
        }
        vec![T::default(); values]
    }

    fn lock<T: Real>(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        T::spare(&self.0).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_same_length_is_used_again() {
        let spare = BufferPool::default();
        let values = vec![1.0; SPARE_VALUES];
        let memory = values.as_ptr();
        let tensors = vec![
            None,
            Some(Contribution::F32(RealContribution::Sum(values.into()))),
            Some(Contribution::F32(RealContribution::Max(vec![2.0].into()))),
        ];
        spare.keep(Partial { tensors, ..Partial::default() });
        let longer = spare.take::<f32>(SPARE_VALUES + 1);
        assert_ne!(longer.as_ptr(), memory);
        assert_eq!(spare.lock::<f64>().len(), 0, "memory is for one type");
        let taken = spare.take::<f32>(SPARE_VALUES);
        assert_eq!((taken.as_ptr(), taken.len()), (memory, SPARE_VALUES));
        assert!(spare.lock::<f32>().is_empty());
    }
}
