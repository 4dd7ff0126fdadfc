//! What the canonical form tells apart, and what it doesn't.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn form<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut form = Vec::new();
    write(value, &mut form);
    form
}

#[derive(Default, Serialize)]
struct Inner {
    text: String,
}

#[derive(Default, Serialize)]
struct Old {
    count: u32,
    names: Vec<String>,
}

#[derive(Default, Serialize)]
struct New {
    flag: bool,
    count: u64,
    maybe: Option<u8>,
    inner: Inner,
    map: BTreeMap<String, u8>,
    names: Vec<String>,
    ratio: f64,
}

#[derive(Serialize)]
enum Kind {
    Plain,
    Other,
    With(u32),
    Named { count: u32 },
}

#[test]
fn a_new_field_at_its_default_changes_nothing_and_any_other_value_does() {
    let old = Old {
        count: 7,
        names: vec![String::new()],
    };
    let new = || New {
        count: 7,
        names: vec![String::new()],
        ..New::default()
    };
    assert_eq!(form(&old), form(&new()));
    let others = [
        New {
            flag: true,
            ..new()
        },
        New {
            maybe: Some(0),
            ..new()
        },
        New {
            inner: Inner { text: "a".into() },
            ..new()
        },
        New {
            map: [(String::new(), 0)].into(),
            ..new()
        },
        New {
            ratio: 1e-300,
            ..new()
        },
        New {
            names: vec![],
            ..new()
        },
    ];
    let mut forms: Vec<_> = others.iter().map(form).collect();
    forms.push(form(&old));
    let different = forms.len();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), different);
}

#[test]
fn values_that_differ_have_different_forms() {
    let mut forms = vec![
        form(&Kind::Plain),
        form(&Kind::Other),
        form(&Kind::With(0)),
        form(&Kind::With(1)),
        form(&Kind::Named { count: 0 }),
        form(&Kind::Named { count: 1 }),
        form(&Some(0_u8)),
        form(&None::<u8>),
        form(&Some(None::<u8>)),
        form(&0_u8),
        form(&1_i64),
        form(&-1_i64),
        form(&256_u16),
        form(""),
        form("a"),
        form(&["a", "b"]),
        form(&["ab"]),
        form(&["a", "", "b"]),
        form(&[[1, 2], [3, 4]]),
        form(&[1, 2, 3, 4]),
        form(&BTreeMap::from([(1, 2)])),
        form(&1.0_f64),
        form(&()),
    ];
    let different = forms.len();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), different);
}

#[test]
fn a_number_has_one_form_whatever_its_width_and_a_float_by_its_value() {
    assert_eq!(form(&7_u8), form(&7_i128));
    assert_eq!(form(&-7_i8), form(&-7_i64));
    assert_eq!(form(&u64::MAX), form(&u128::from(u64::MAX)));
    assert_eq!(form(&0.0_f64), form(&-0.0_f64));
    assert_eq!(form(&f64::NAN), form(&-f64::NAN));
    assert_eq!(form(&0.5_f32), form(&0.5_f64));
    assert_ne!(form(&0.0_f64), form(&f64::MIN_POSITIVE));
}

#[test]
fn what_refuses_to_be_written_has_a_form_too() {
    struct Never;
    impl Serialize for Never {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    assert_eq!(form(&Never), [UNWRITABLE]);
    assert_eq!(form(&vec![Never]), [UNWRITABLE]);
}

proptest! {
    /// Nothing runs into what stands next to it.
    #[test]
    fn lists_of_texts_and_numbers_have_one_form_each(
        one: Vec<(String, Option<i64>)>,
        other: Vec<(String, Option<i64>)>,
    ) {
        prop_assert_eq!(form(&one) == form(&other), one == other);
    }
}
