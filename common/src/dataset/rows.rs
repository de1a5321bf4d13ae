//! Rows of values that follow each other in memory.

/// Rows of `width` values.
pub(super) fn rows<T: Clone>(values: &[T], width: usize, examples: &[usize]) -> Vec<T> {
    let mut taken = Vec::with_capacity(examples.len() * width);
    for example in examples {
        taken.extend_from_slice(&values[example * width..(example + 1) * width]);
    }
    taken
}

/// Takes rows out of all rows; `examples` is in ascending order.
pub(super) fn take_rows<T: Copy>(values: &mut Vec<T>, width: usize, examples: &[usize]) -> Vec<T> {
    // As the numbers of a table of texts: there is nothing to take.
    if width == 0 {
        return Vec::new();
    }
    let taken = rows(values, width, examples);
    let mut end = 0;
    let starts = examples.iter().map(|example| example + 1);
    let ends = examples.iter().skip(1).copied().chain([values.len() / width]);
    if let Some(first) = examples.first() {
        end = first * width;
    }
    for (start, next) in starts.zip(ends) {
        values.copy_within(start * width..next * width, end);
        end += (next - start) * width;
    }
    if !examples.is_empty() {
        values.truncate(end);
        values.shrink_to_fit();
    }
    taken
}
