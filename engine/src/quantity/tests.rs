//! Quantities as Kubernetes writes them.

use proptest::prelude::*;

use super::*;

fn nano(text: &str) -> i128 {
    Quantity::parse(text).unwrap().0
}

#[test]
fn every_suffix_has_its_scale() {
    for (text, expected) in [
        ("1n", 1),
        ("1u", 1_000),
        ("1m", 1_000_000),
        ("1", 1_000_000_000),
        ("1k", 1_000_000_000_000),
        ("1M", 10i128.pow(15)),
        ("1G", 10i128.pow(18)),
        ("1T", 10i128.pow(21)),
        ("1P", 10i128.pow(24)),
        ("1E", 10i128.pow(27)),
        ("1Ki", 1_024 * 1_000_000_000),
        ("1Mi", 1_024i128.pow(2) * 1_000_000_000),
        ("1Gi", 1_024i128.pow(3) * 1_000_000_000),
        ("1Ti", 1_024i128.pow(4) * 1_000_000_000),
        ("1Pi", 1_024i128.pow(5) * 1_000_000_000),
        ("1Ei", 1_024i128.pow(6) * 1_000_000_000),
        ("1e3", 1_000_000_000_000),
        ("1E3", 1_000_000_000_000),
        ("1E+3", 1_000_000_000_000),
        ("1e-3", 1_000_000),
        ("+.5", 500_000_000),
        ("5.", 5_000_000_000),
        ("-1.5Ki", -1_536_000_000_000),
        ("0e99999", 0),
        (
            "000000000000000000000000000000000000000000000000000000000001",
            1_000_000_000,
        ),
    ] {
        assert_eq!(nano(text), expected, "{text}");
    }
}

#[test]
fn what_is_smaller_than_can_be_held_is_rounded_away_from_zero() {
    assert_eq!(nano("0.0000000001"), 1);
    assert_eq!(nano("-0.0000000001"), -1);
    assert_eq!(nano("1e-60"), 1);
    assert_eq!(nano("1.0000000001"), 1_000_000_001);
    let small = Quantity::parse("100u").unwrap();
    assert_eq!(
        (small.micro(), small.milli(), small.whole()),
        (Some(100), Some(1), Some(1))
    );
    assert_eq!(Quantity::parse("-1.5").unwrap().whole(), Some(-1));
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in [
        "", "+", "-", ".", "m", "1 ", " 1", "1.2.3", "1mm", "1K", "1ki", "1kI", "1e", "1e1.5",
        "0x10", "1_000", "NaN", "nan", "Inf", "-inf", "1e3Ki", "--1", "١", "1µ", "1i",
    ] {
        assert_eq!(Quantity::parse(text), Err(Error::Malformed), "{text}");
    }
    assert_eq!(Quantity::parse(&"1".repeat(65)), Err(Error::Malformed));
}

#[test]
fn what_is_too_large_is_refused() {
    for text in [
        "1e30",
        "1e99999",
        "1000000000000E",
        "99999999999999999999999999999999999999999",
    ] {
        assert_eq!(Quantity::parse(text), Err(Error::TooLarge), "{text}");
    }
    assert_eq!(
        Quantity::parse("9223372036854775807").unwrap().whole(),
        Some(i64::MAX)
    );
    assert_eq!(
        Quantity::parse("9223372036854775807").unwrap().milli(),
        None
    );
    assert_eq!(Quantity::parse("8Ei").unwrap().whole(), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,70}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn nothing_like_a_quantity_makes_it_panic(
        text in "[+-]?[0-9]{0,45}(\\.[0-9]{0,45})?([eE][+-]?[0-9]{0,12}|[numkMGTPE]i?)?",
    ) {
        if let Ok(quantity) = Quantity::parse(&text) {
            let _ = (quantity.milli(), quantity.micro(), quantity.whole());
        }
    }

    #[test]
    fn a_decimal_is_the_same_with_any_suffix(whole in 0u32.., places in 0usize..9) {
        let digits = format!("{whole:010}");
        let (before, after) = digits.split_at(10 - places);
        let decimal = nano(&format!("{before}.{after}"));
        prop_assert_eq!(decimal, nano(&format!("{whole}e-{places}")));
        prop_assert_eq!(decimal * 1_000, nano(&format!("{before}.{after}k")));
        prop_assert_eq!(decimal * 1_024, nano(&format!("{before}.{after}Ki")));
        prop_assert_eq!(decimal, i128::from(whole) * 10i128.pow(9 - places as u32));
        prop_assert_eq!(-decimal, nano(&format!("-{before}.{after}")));
    }

    #[test]
    fn milli_units_are_the_least_that_hold_the_amount(nano in 0i128..1_000_000_000_000_000_000) {
        let milli = i128::from(Quantity::parse(&format!("{nano}n")).unwrap().milli().unwrap());
        prop_assert!(milli * 1_000_000 >= nano && (milli - 1) * 1_000_000 < nano);
    }
}
