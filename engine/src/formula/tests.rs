//! What the language says, what it refuses, and that every text comes to an end.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["queue", "cpu_load", "b"];

/// The result with these milli-units, or the words of what is wrong.
fn with(text: &str, values: [Option<i64>; 3]) -> Result<Option<i64>, String> {
    let formula = Formula::read(text, &NAMES).map_err(|error| error.to_string())?;
    formula.milli(&values).map_err(|error| error.to_string())
}

fn result(text: &str) -> Result<Option<i64>, String> {
    with(text, [Some(12_000), Some(500), Some(3_000)])
}

#[test]
fn numbers_are_computed_as_expr_does() {
    for (text, milli) in [
        ("queue", 12_000),
        ("queue + cpu_load * 2", 13_000),
        ("(queue + cpu_load) * 2", 25_000),
        ("2 ^ 3 ^ 2", 512_000),
        ("2 ** 3", 8_000),
        ("-2 ^ 2", -4_000),
        ("7 % 4 + 10 / 4", 5_500),
        ("1e3 + 1_000 + .5", 2_000_500),
        ("queue > 10 ? 1 : 2", 1_000),
        ("queue > 10 && b < 3 ? 1 : 2", 2_000),
        ("queue > 10 and not (b < 3) ? 1 : 2", 1_000),
        ("1 < b < 12 ? 1 : 2", 1_000),
        ("false ? 1 : true ? 2 : 3", 2_000),
        ("b in [1, 2, 3] ? 1 : 2", 1_000),
        ("count([queue, cpu_load, b], {# > 1}) > 1 ? 5 : 0", 5_000),
        ("count([queue, cpu_load, b], # > 1)", 2_000),
        ("sum([queue, b])", 15_000),
        ("sum([1, 2], # * 2)", 6_000),
        ("sum(map(filter([1, 2, 3], {# > 1}), {# * 10}))", 50_000),
        ("min(queue, [b, 7])", 3_000),
        ("max(1, 2.5)", 2_500),
        ("mean([1, 2])", 1_500),
        ("median([9, 1, 4])", 4_000),
        ("any([1, 2], {# == 2}) ? 1 : 0", 1_000),
        ("all([1, 2], {# == 2}) ? 1 : 0", 0),
        (
            "one([1, 2], {# == 2}) and none([1], {# == 2}) ? 1 : 0",
            1_000,
        ),
        ("len([1, 2, 3,])", 3_000),
        ("round(2.5) + floor(2.5) + ceil(2.1) + abs(-1)", 9_000),
        ("int(queue) % 5", 2_000),
        ("float(3)", 3_000),
        ("let x = queue * 2; let y = x + 1; y", 25_000),
        ("queue ?? 5", 12_000),
        ("nil ?? 5", 5_000),
        // Cut, not rounded.
        ("0.0009", 0),
        ("-1.9999", -1_999),
    ] {
        assert_eq!(result(text), Ok(Some(milli)), "{text}");
    }
}

#[test]
fn what_can_t_be_a_number_is_refused_with_its_place() {
    for (text, why) in [
        ("", "ends where something should follow (at character 1)"),
        (
            "queue +",
            "ends where something should follow (at character 8)",
        ),
        ("queue 2", "goes on where it should end (at character 7)"),
        ("queue > 1", "gives true or false, not a number"),
        ("[1]", "gives a list, not a number"),
        ("nil", "gives nil, not a number"),
        (
            "queue % 2",
            "has `%` between a number and a whole number (at character 7)",
        ),
        (
            "queue > 1 ? 1 : 3.5 % 1",
            "has `%` between a number and a whole number (at character 21)",
        ),
        (
            "queue ? 1 : 2",
            "chooses by a number; write a condition before `?` (at character 7)",
        ),
        (
            "queue ?? 5 + 1",
            "mixes `??` and `+`; put one of them into brackets (at character 12)",
        ),
        (
            "not queue ? 1 : 2",
            "has `not` before a number (at character 1)",
        ),
        (
            "orders * 2",
            "names `orders`, which is no trigger that is asked; there are queue, cpu_load, b (at \
             character 1)",
        ),
        (
            "now()",
            "calls `now`, which this version doesn't know; it knows abs, ceil",
        ),
        (
            "queue.x",
            "has `.`, which this version doesn't know outside of a number (at character 6)",
        ),
        (
            "queue == \"a\" ? 1 : 2",
            "has a text, and formulas know numbers alone (at character 10)",
        ),
        (
            "let queue = 1; queue",
            "gives `queue` another meaning (at character 5)",
        ),
        (
            "let x = 1; let x = 2; x",
            "gives `x` another meaning (at character 16)",
        ),
        (
            "# + 1",
            "has `#` outside of a list's function (at character 1)",
        ),
        (
            "abs(1, 2)",
            "gives abs 2 arguments; it takes one (at character 1)",
        ),
        (
            "count(1)",
            "gives count a whole number; it takes a list (at character 1)",
        ),
        (
            "any([1])",
            "lacks what any is to look at: {# > 1} (at character 1)",
        ),
        (
            "1; 2",
            "has a `;` that no `let` stands before (at character 2)",
        ),
        (
            "99999999999999999999",
            "has 99999999999999999999, which is too large (at character 1)",
        ),
        ("1 % 0", "divides a whole number by 0"),
        ("max([])", "gives max nothing"),
        (
            "9223372036854775807 + 1",
            "has a whole number that becomes too large",
        ),
    ] {
        let error = result(text).unwrap_err();
        assert!(error.starts_with(why), "{text}: {error}");
    }
}

#[test]
fn a_result_that_is_no_amount_is_an_error_and_no_zero() {
    assert_eq!(
        with("b / queue", [Some(0), None, Some(1_000)]),
        Err("gives inf, which is no amount".to_owned())
    );
    assert_eq!(
        with("b / queue", [Some(0), None, Some(0)]),
        Err("gives NaN, which is no amount".to_owned())
    );
    let huge = with("queue ^ 4", [Some(i64::MAX), None, None]);
    assert_eq!(huge, Err("gives more than can be counted".to_owned()));
}

#[test]
fn what_isn_t_known_is_nil_which_only_its_own_operator_takes() {
    let unknown = [None, Some(500), Some(3_000)];
    assert_eq!(with("queue ?? b", unknown), Ok(Some(3_000)));
    assert_eq!(with("queue == nil ? 1 : 2", unknown), Ok(Some(1_000)));
    assert_eq!(with("queue", unknown), Ok(None));
    assert_eq!(
        with("queue + b", unknown),
        Err("has `+` between nil and a number".to_owned())
    );
}

#[test]
fn length_nesting_and_steps_are_bounded() {
    let long = "1+".repeat(BYTES_MAX / 2) + "1";
    let error = Formula::read(&long, &[]).unwrap_err().to_string();
    assert_eq!(error, "has 1025 bytes; at most 1024");
    // As long as may be, on one level: no deeper than a short one.
    let flat = "1+".repeat(BYTES_MAX / 2 - 1) + "1";
    assert_eq!(result(&flat), Ok(Some(512_000)));
    for deep in ["(", "-", "[", "abs(", "1^", "true?1:"] {
        let error = result(&deep.repeat(NESTING_MAX + 1)).unwrap_err();
        assert!(
            error.contains("nested more than 32 deep"),
            "{deep}: {error}"
        );
    }
    let fits = format!("{}1{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
    assert_eq!(result(&fits), Ok(Some(1_000)));
    // Lists of lists double with each `let`; within each other they multiply.
    let twice: String = (0..20)
        .map(|n| match n {
            0 => "let a0 = [1, 1]; ".to_owned(),
            n => format!("let a{n} = [a{}, a{}]; ", n - 1, n - 1),
        })
        .collect();
    let list = format!("[{}1]", "1,".repeat(100));
    for dear in [
        format!("{twice}max(a19)"),
        format!("sum(map({list}, sum(map({list}, # + 1))))"),
    ] {
        let error = result(&dear).unwrap_err();
        assert_eq!(error, "takes more than 2000 steps to compute", "{dear}");
    }
}

#[test]
fn a_name_that_a_formula_can_use_has_letters_digits_and_no_other_meaning() {
    for (name, usable) in [
        ("queue", true),
        ("trig_One", true),
        ("_1", true),
        ("min", true),
        ("my-queue", false),
        ("1st", false),
        ("", false),
        ("let", false),
        ("nil", false),
    ] {
        assert_eq!(is_name(name), usable, "{name}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_to_an_end(text in "[a-z0-9 .,;?:!<>=&|+*/%^()\\[\\]{}#-]{0,200}") {
        let _ = result(&text);
    }

    #[test]
    fn any_words_come_to_an_end(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "queue", "b", "1", "2.5", "nil", "true", "(", ")", "[", "]", "{", "}", "#", ",",
                "+", "-", "*", "/", "%", "^", "??", "?", ":", "<", "==", "and", "or", "not", "in",
                "let", "x", "=", ";", "sum(", "count(", "map(", "max(", "abs(",
            ]),
            0..40,
        ),
        values in prop::array::uniform3(prop::option::of(any::<i64>())),
    ) {
        let _ = with(&words.join(" "), values);
    }
}
