//! Images and their labels: one column of images, one of labels, as `datasets` writes them.

use rayon::prelude::*;

use super::file::{Column, ParquetFile, Role};
use super::leaf::Leaf;
use crate::dataset::DatasetError;
use crate::dataset::features::Features;
use crate::dataset::raw::{Places, Raw, RawLabels};
use crate::dataset::sentence::counted;
use crate::dataset::source::csv::{LABELS, is_missing_text};
use crate::dataset::source::file::SPLIT_BYTES;
use crate::dataset::source::image::{self, Image, NoImage};
use crate::dataset::source::listing::shown;
use crate::dataset::source::{BYTES, Found};
use crate::spec::{DatasetSpec, LabelColumns, Missing};

/// Longest label, in bytes.
const LABEL_BYTES: usize = 1024;

/// The columns by their names, which all files have.
struct Plan<'a> {
    image: &'a str,
    label: Option<&'a str>,
    missing: Missing,
}

/// What is read so far.
#[derive(Default)]
struct Read {
    shape: Vec<u32>,
    pixels: Vec<u8>,
    labels: Vec<String>,
    rows: Vec<u64>,
    dropped: u64,
}

/// Reads the images of both splits. `name` is that of the source; labels are read if they are needed.
pub(super) fn read(
    (spec, name, needs_label): (&DatasetSpec, &str, bool),
    train: &[ParquetFile],
    test: &[ParquetFile],
    mut notes: Vec<String>,
) -> Result<Found, DatasetError> {
    let first = &train[0];
    let (image, others) = image_column(first, spec)?;
    let label = if needs_label { label_column(first, &others, spec)? } else { None };
    let left_out = others.iter().filter(|column| label.is_none_or(|(it, _)| it != **column));
    let names: Vec<String> = left_out.map(|column| format!("{:?}", column.name)).collect();
    if !names.is_empty() {
        let are = if names.len() > 1 { "are" } else { "is" };
        let names = shown(names.iter().map(String::as_str));
        notes.push(format!("{names} {are} left out, beside images"));
    }
    let label_name = label.map(|(column, _)| column.name.as_str());
    let plan = Plan { image: &image.name, label: label_name, missing: spec.missing };
    let mut train = plan.read(train, &[])?;
    let shape = train.shape.clone();
    let test = if test.is_empty() { None } else { Some(plan.read(test, &shape)?) };
    let dropped = train.dropped + test.as_ref().map_or(0, |test| test.dropped);
    if dropped > 0 {
        notes.push(format!("left out: {} with missing values", counted(dropped, "example")));
    }
    train.shape = shape;
    let file = first.name.clone();
    Ok(Found {
        train: train.raw(file.clone(), label.is_some()),
        test: test.map(|test| test.raw(file, label.is_some())),
        scale: BYTES,
        name: name.to_owned(),
        label: label.map(|(column, why)| (format!("{:?}", column.name), why)),
        classes: label_name.and_then(|name| first.classes.get(name)).cloned().unwrap_or_default(),
        columns: Vec::new(),
        decimal_commas: false,
        notes,
        warnings: Vec::new(),
    })
}

/// The column of the images, and the others that are not ignored.
fn image_column<'a>(
    file: &'a ParquetFile,
    spec: &DatasetSpec,
) -> Result<(&'a Column, Vec<&'a Column>), DatasetError> {
    let ignored = spec.ignore.as_deref().unwrap_or_default();
    let kept = file.columns.iter().filter(|column| !ignored.contains(&column.name));
    let (images, others): (Vec<_>, Vec<_>) = kept.partition(|it| it.role == Role::Image);
    match &images[..] {
        [image] => Ok((image, others)),
        _ => {
            let names = shown(images.iter().map(|column| column.name.as_str()));
            let expected = "one column of images (`dataset.ignore` leaves others out)";
            Err(file.wrong("columns", expected, names))
        }
    }
}

/// The column of the labels, and why it is that one; `None` if there are no other columns.
fn label_column<'a>(
    file: &ParquetFile,
    others: &[&'a Column],
    spec: &DatasetSpec,
) -> Result<Option<(&'a Column, &'static str)>, DatasetError> {
    let cells: Vec<&Column> =
        others.iter().filter(|column| column.role == Role::Cell).copied().collect();
    let of_name = |name: &str| cells.iter().find(|column| column.name == name).copied();
    let names = || shown(cells.iter().map(|column| column.name.as_str()));
    let chosen = spec.label.as_ref().map(LabelColumns::names).unwrap_or_default();
    if chosen.len() > 1 {
        let expected = "`dataset.label` to be one column, as images have one label";
        return Err(file.wrong("columns", expected, shown(chosen.iter().map(String::as_str))));
    }
    if let Some(name) = chosen.first().map(String::as_str) {
        let place = match name {
            "first" => of_name(name).or(cells.first().copied()),
            "last" => of_name(name).or(cells.last().copied()),
            _ => of_name(name),
        };
        let expected = || format!("`dataset.label` to be one of the columns {}", names());
        let place = place.ok_or_else(|| file.wrong("columns", expected(), format!("{name:?}")))?;
        return Ok(Some((place, "")));
    }
    let named = LABELS.iter().find_map(|label| {
        cells.iter().find(|column| column.name.eq_ignore_ascii_case(label)).copied()
    });
    let only = file.only_class_label().and_then(of_name);
    match (named, only, &cells[..]) {
        (Some(column), _, _) => Ok(Some((column, "by its name; "))),
        (None, Some(column), _) => Ok(Some((column, "the only ClassLabel; "))),
        (None, None, [column]) => Ok(Some((column, "the only column beside the images; "))),
        (None, None, []) => Ok(None),
        _ => {
            let expected = "a column of labels: name it by `dataset.label`, as in --set \
                            dataset.label=NAME";
            Err(file.wrong("columns", expected, names()))
        }
    }
}

impl Plan<'_> {
    /// Reads the images of some files. All have one shape: `shape`, or that of the first.
    fn read(&self, files: &[ParquetFile], shape: &[u32]) -> Result<Read, DatasetError> {
        let mut read = Read { shape: shape.to_vec(), ..Read::default() };
        for file in files {
            let place = |name: &str| {
                let place = file.columns.iter().position(|column| column.name == name);
                let expected = || format!("a column {name:?}, as in the first file");
                place.ok_or_else(|| file.wrong("columns", expected(), "no such name"))
            };
            let mut columns = vec![place(self.image)?];
            columns.extend(self.label.map(place).transpose()?);
            let mut row = 0;
            file.batches(&columns, |batch, leaves| {
                self.batch(file, (row, batch), leaves, &mut read)?;
                row += batch as u64;
                Ok(true)
            })?;
        }
        if read.rows.is_empty() {
            let found = if read.dropped > 0 { "examples that all miss a value" } else { "none" };
            return Err(files[0].wrong("rows", "examples", found));
        }
        Ok(read)
    }

    fn batch(
        &self,
        file: &ParquetFile,
        (first, batch): (u64, usize),
        leaves: &mut [Box<dyn Leaf>],
        read: &mut Read,
    ) -> Result<(), DatasetError> {
        let (images, labels) = leaves.split_at_mut(1);
        let images: Vec<Option<Vec<u8>>> = (0..batch).map(|_| cell(&mut *images[0])).collect();
        // In the order of the rows, whatever thread decodes them.
        let images: Vec<Option<Result<Image, NoImage>>> = images
            .par_iter()
            .map(|bytes| bytes.as_ref().map(|bytes| image::decode(bytes)))
            .collect();
        for (row, image) in (first..).zip(images) {
            let label = labels.first_mut().map(|leaf| cell(&mut **leaf));
            let is_missing = |bytes: &Vec<u8>| {
                std::str::from_utf8(bytes).is_ok_and(|text| is_missing_text(text.trim()))
            };
            let label = label.map(|label| label.filter(|bytes| !is_missing(bytes)));
            let (image, label) = match (image, label) {
                (Some(image), None) => (image, None),
                (Some(image), Some(Some(label))) => (image, Some(label)),
                _ if self.missing == Missing::Drop => {
                    read.dropped += 1;
                    continue;
                }
                (image, _) => {
                    let what = if image.is_none() { "the bytes of an image" } else { "a label" };
                    let expected = format!("{what}, or `dataset.missing` set to \"drop\"");
                    return Err(file.wrong(&format!("row {row}"), expected, "none"));
                }
            };
            let wrong =
                |NoImage { expected, found }| file.wrong(&format!("row {row}"), expected, found);
            read.take(row, image.map_err(wrong)?, label).map_err(wrong)?;
        }
        Ok(())
    }
}

/// The only value of a column's next row. Of one that is too long, its beginning.
fn cell(leaf: &mut dyn Leaf) -> Option<Vec<u8>> {
    let mut found = None;
    leaf.row(&mut |cell| {
        found = cell.map(|bytes| bytes[..bytes.len().min(image::FILE_BYTES + 1)].to_vec());
    });
    found
}

impl Read {
    fn take(&mut self, row: u64, image: Image, label: Option<Vec<u8>>) -> Result<(), NoImage> {
        if self.shape.is_empty() {
            self.shape.clone_from(&image.shape);
        }
        if self.shape != image.shape {
            let expected = format!("an image of shape {:?}, as the first one", self.shape);
            return Err(NoImage { expected, found: format!("{:?}", image.shape) });
        }
        if (self.pixels.len() + image.bytes.len()) as u64 > SPLIT_BYTES {
            let expected = format!("at most {SPLIT_BYTES} bytes of pixels");
            return Err(NoImage { expected, found: "more".into() });
        }
        self.pixels.extend(image.bytes);
        self.rows.push(row);
        if let Some(label) = label {
            if label.len() > LABEL_BYTES {
                let expected = format!("a label of at most {LABEL_BYTES} bytes");
                return Err(NoImage { expected, found: "a longer one".into() });
            }
            let label = String::from_utf8(label).map_err(|_| NoImage {
                expected: "a label that is a text in UTF-8".into(),
                found: "other bytes".into(),
            })?;
            self.labels.push(label.trim().to_owned());
        }
        Ok(())
    }

    fn raw(self, file: String, has_labels: bool) -> Raw {
        let labels = RawLabels::Texts(self.labels.iter().collect());
        Raw {
            features: Features::U8(self.pixels),
            shape: self.shape,
            labels: if has_labels { labels } else { RawLabels::None },
            label_file: file,
            places: Places::Rows(self.rows),
        }
    }
}
