//! What a formula costs in each pass: reading it and computing it once.
//!
//!     cargo bench -p starling-engine --bench formula

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use starling_engine::formula::{BYTES_MAX, Formula};

const NAMES: [&str; 3] = ["orders", "mails", "calls"];

fn formulas() -> [(&'static str, String); 4] {
    let list = format!("[{}1]", "1,".repeat(30));
    [
        ("two triggers", "orders + (mails ?? 5) / 2".to_owned()),
        (
            "as in KEDA's documentation",
            "count([orders, mails, calls], {# > 1}) > 1 ? 5 : max(orders, mails) / 2".to_owned(),
        ),
        (
            "the longest that may be",
            "1+".repeat(BYTES_MAX / 2 - 1) + "1",
        ),
        // It gives up at the bound of steps.
        (
            "the dearest that may be",
            format!("sum(map({list}, sum(map({list}, # + 1))))"),
        ),
    ]
}

fn compute(text: &str) -> Option<i64> {
    let values = [Some(12_000), Some(3_000), None];
    let formula = Formula::parse(text, &NAMES).ok()?;
    formula.milli(&values).ok().flatten()
}

fn all(c: &mut Criterion) {
    let mut group = c.benchmark_group("formula");
    for (name, text) in formulas() {
        group.bench_function(name, |b| b.iter(|| compute(black_box(&text))));
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
