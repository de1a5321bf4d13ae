//! Labels in arrays of texts, NumPy's types `U` and `S`.

use super::header::{Coding, Header, Text};
use crate::dataset::DatasetError;
use crate::dataset::raw::{Places, RawLabels, Texts};
use crate::dataset::source::array::{Bytes, Items, Labels, Wrong};
use crate::dataset::source::file::SPLIT_BYTES;
use crate::dataset::source::labels;
use crate::dataset::source::numbers::{Number, Order};

/// Longest label, in characters or bytes as the array counts them.
const LABEL_CHARACTERS: u64 = 1024;

/// Reads the labels of `examples` examples. `name` is the file's name in errors.
pub(super) fn labels(
    file: &mut dyn Bytes,
    header: &Header,
    text: Text,
    examples: u64,
    name: String,
) -> Result<Labels, DatasetError> {
    // The shape is checked as that of any labels; the type of the numbers is not used.
    let layout = header.layout(Number::U8, Order::Little);
    if !labels::per_example(file, &layout, examples)?.is_empty() {
        let hint = "one label for each example is needed";
        return Err(layout.wrong_shape(file, format!("shape [{examples}]"), hint));
    }
    if !(1..=LABEL_CHARACTERS).contains(&text.length) {
        let expected = format!("labels of 1 to {LABEL_CHARACTERS} characters");
        return Err(file.wrong_byte(header.text_at, expected, header.descr.clone()));
    }
    let size = match text.coding {
        Coding::Ucs4(_) => 4 * text.length,
        Coding::Utf8 => text.length,
    };
    if size * examples > SPLIT_BYTES {
        let expected = format!("at most {SPLIT_BYTES} bytes of labels");
        return Err(layout.wrong_shape(file, expected, ""));
    }
    let items = Items { start: header.start, size, count: examples, what: "labels" };
    let mut texts = Texts::default();
    items.read(file, |at, chunk| {
        for (index, bytes) in chunk.chunks_exact(size as usize).enumerate() {
            let label =
                decoded(text.coding, bytes).ok_or_else(|| wrong(at + index as u64, bytes))?;
            texts.push(&label);
        }
        Ok(())
    })?;
    let places = Places::Bytes { start: header.start, size };
    Ok(Labels { labels: RawLabels::Texts(texts), file: name, places })
}

/// The text in an item, without the zeros at its end. `None` if it is not valid.
fn decoded(coding: Coding, bytes: &[u8]) -> Option<String> {
    match coding {
        Coding::Ucs4(order) => {
            let (characters, _) = bytes.as_chunks::<4>();
            let codes = characters.iter().map(|bytes| match order {
                Order::Little => u32::from_le_bytes(*bytes),
                Order::Big => u32::from_be_bytes(*bytes),
            });
            let text: String = codes.map(char::from_u32).collect::<Option<_>>()?;
            Some(text.trim_end_matches('\0').into())
        }
        Coding::Utf8 => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            std::str::from_utf8(&bytes[..end]).ok().map(Into::into)
        }
    }
}

fn wrong(at: u64, bytes: &[u8]) -> Wrong {
    let found = format!("{}: save labels.astype(str)", bytes[..bytes.len().min(40)].escape_ascii());
    Wrong { at, expected: "a text of valid characters".into(), found }
}
