//! [`BufferPool`]: memory of dropped partials, for reuse.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Contribution, Partial, Values};

/// Number of values from which memory is kept: smaller pieces are quick to allocate, larger ones
/// come from the system page by page, which takes longer than a copy.
const SPARE_VALUES: usize = 1 << 16;

/// Memory of dropped partials, for those of the next round. It holds as many values as were in
/// use at the same time.
#[derive(Debug, Default)]
pub struct BufferPool(Mutex<Vec<Vec<f32>>>);

impl BufferPool {
    /// Keeps the memory of a partial.
    pub fn keep(&self, partial: Partial) {
        for contribution in partial.tensors.into_iter().flatten() {
            if let Contribution::Mean { values: Values::Owned(values), .. }
            | Contribution::Sum(Values::Owned(values))
            | Contribution::Max(Values::Owned(values)) = contribution
                && values.len() >= SPARE_VALUES
            {
                self.lock().push(values);
            }
        }
    }

    /// As many values, whatever they are.
    pub(super) fn take(&self, values: usize) -> Vec<f32> {
        if values >= SPARE_VALUES {
            let mut kept = self.lock();
            if let Some(place) = kept.iter().position(|memory| memory.len() == values) {
                return kept.swap_remove(place);
            }
        }
        vec![0.0; values]
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            Some(Contribution::Sum(values.into())),
            Some(Contribution::Max(vec![2.0].into())),
        ];
        spare.keep(Partial { tensors, ..Partial::default() });
        let longer = spare.take(SPARE_VALUES + 1);
        assert_ne!(longer.as_ptr(), memory);
        let taken = spare.take(SPARE_VALUES);
        assert_eq!((taken.as_ptr(), taken.len()), (memory, SPARE_VALUES));
        assert!(spare.lock().is_empty());
    }
}
