use proptest::prelude::*;

use super::*;
use crate::dataset::normalise::Normalisation;
use crate::spec::Normalise;

/// A row: two numbers, and two texts of three and of two values.
type Row = (f32, Option<u16>, f32, Option<u16>);

const WIDTH: usize = 7;
const SHARES: [f32; 3] = [0.5, 0.25, 0.25];
const OTHER_SHARES: [f32; 2] = [0.125, 0.875];

fn table(rows: &[Row], are_floats: bool) -> Features {
    let columns = vec![
        FeatureColumn::Number,
        FeatureColumn::Texts(TextColumn::new(3, Some(&SHARES))),
        FeatureColumn::Number,
        FeatureColumn::Texts(TextColumn::new(2, Some(&OTHER_SHARES))),
    ];
    let mut table = TableFeatures::new(columns, rows.len(), are_floats);
    rows.iter().for_each(|(a, text, b, other)| table.push(&[*a, *b], &[*text, *other]));
    table.into()
}

/// The same with all features of each row.
fn plain(rows: &[Row], are_floats: bool) -> Features {
    let mut all = Vec::new();
    for (a, text, b, other) in rows {
        let mut push = |shares: &[f32], text: Option<u16>| {
            all.extend(shares.iter().enumerate().map(|(at, share)| match text {
                Some(text) => f32::from(u8::from(at == usize::from(text))),
                None => *share,
            }));
        };
        push(&[*a], None);
        push(&SHARES, *text);
        push(&[*b], None);
        push(&OTHER_SHARES, *other);
    }
    let are_bytes = !are_floats
        && rows.iter().all(|(a, text, b, other)| {
            is_byte(*a) && is_byte(*b) && text.is_some() && other.is_some()
        });
    if are_bytes {
        return Features::U8(all.into_iter().map(|value| value as u8).collect());
    }
    Features::F32(all)
}

fn bytes(features: &Features) -> Vec<u8> {
    let mut bytes = Vec::new();
    features.write(0..features.len() / WIDTH, WIDTH, &mut bytes);
    bytes
}

fn any_row() -> impl Strategy<Value = Row> {
    let number = || prop_oneof![3 => (0u8..=255).prop_map(f32::from), 1 => -9.0f32..9.0];
    let text = |values: u16| prop_oneof![6 => (0..values).prop_map(Some), 1 => Just(None)];
    (number(), text(3), number(), text(2))
}

proptest! {
    /// A table of texts has the same type, bytes and scaled values as all of its features would have.
    #[test]
    fn texts_are_their_features(
        rows in prop::collection::vec(any_row(), 1..20),
        are_floats: bool,
        scale in 0.5f32..300.0,
        taken in prop::collection::btree_set(0usize..20, 0..20),
    ) {
        let (mut table, mut plain) = (table(&rows, are_floats), plain(&rows, are_floats));
        prop_assert_eq!(table.element(), plain.element());
        prop_assert_eq!(table.len(), plain.len());
        prop_assert_eq!(bytes(&table), bytes(&plain));
        for how in [Normalise::Standard, Normalise::Minmax] {
            let scales = Normalisation::of(&plain, WIDTH, scale, how);
            prop_assert_eq!(&Normalisation::of(&table, WIDTH, scale, how), &scales);
            let scales = scales.unwrap();
            let scaled = scales.apply(table.clone(), scale);
            prop_assert_eq!(bytes(&scaled), bytes(&scales.apply(plain.clone(), scale)));
        }
        let taken: Vec<usize> = taken.into_iter().filter(|at| *at < rows.len()).collect();
        let reversed: Vec<usize> = taken.iter().rev().copied().collect();
        prop_assert_eq!(
            bytes(&table.rows(WIDTH, &reversed)),
            bytes(&plain.rows(WIDTH, &reversed))
        );
        let (mut first, mut of_plain) = (Vec::new(), Vec::new());
        for (features, to) in [(&mut table, &mut first), (&mut plain, &mut of_plain)] {
            to.extend(bytes(&features.take_rows(WIDTH, &taken)));
            to.extend(bytes(features));
        }
        prop_assert_eq!(first, of_plain);
    }
}

#[test]
fn values_that_do_not_fit_are_found_where_they_are() {
    let rows = [(1.0, Some(2), 2.0, Some(0)), (1.0, None, -5.5, Some(1))];
    for features in [table(&rows, false), plain(&rows, false)] {
        assert_eq!(features.first_not(WIDTH, |value| value > -6.0), None);
        assert_eq!(features.first_not(WIDTH, |value| value > -1.0), Some((11, -5.5)));
        assert_eq!(features.largest(), 5.5);
        assert_eq!(features.none().len(), 0);
        assert_eq!(features.none().element(), FeatureType::F32);
    }
}

#[test]
fn a_table_may_have_texts_only() {
    let mut table =
        TableFeatures::new(vec![FeatureColumn::Texts(TextColumn::new(2, None))], 3, false);
    [0, 1, 0].into_iter().for_each(|text| table.push(&[], &[Some(text)]));
    let mut features = Features::from(table);
    assert_eq!(features.element(), FeatureType::U8);
    let taken = features.take_rows(2, &[1]);
    assert_eq!((taken.into_floats(), features.len()), (vec![0.0, 1.0], 4));
    assert_eq!(features.rows(2, &[1, 0]).into_floats(), [1.0, 0.0, 1.0, 0.0]);
    let scaled = Normalisation { shift: vec![0.5, 0.0], range: vec![0.5, 2.0] };
    assert_eq!(scaled.apply(features, 1.0).into_floats(), [1.0, 0.0, 1.0, 0.0]);
}
