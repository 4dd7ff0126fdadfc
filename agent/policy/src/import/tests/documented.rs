//! The forms that the documentation of KEDA and of HPA shows, and how many of them
//! are converted without a warning.

use super::super::Import;
use crate::file;

const SCALED_OBJECTS: &str = include_str!("../../../tests/data/scaled-objects.yaml");
const AUTOSCALERS: &str = include_str!("../../../tests/data/autoscalers.yaml");

/// How many there are, are converted, and are converted without a warning.
fn share(name: &str, text: &str) -> (usize, usize, usize) {
    let mut import = Import::default();
    // Documents of their own: several of them size one workload.
    let (mut found, mut made, mut clean) = (0, 0, 0);
    for document in text.split("\n---\n").skip(1) {
        let mut one = Import::default();
        one.read(name, document);
        assert_eq!(one.found, 1, "{document}");
        found += 1;
        made += one.policies.len();
        clean += usize::from(one.warnings.is_empty());
        for policy in &one.policies {
            let read = file::read(&policy.yaml);
            assert_eq!(read.problems, [], "{}", policy.yaml);
            assert_eq!(read.policies.len(), 1);
        }
        import.warnings.extend(one.warnings);
    }
    println!(
        "{name}: {found} documented forms, {made} converted, {clean} without a warning ({} %)",
        clean * 100 / found
    );
    for warning in &import.warnings {
        println!("  {} {}: {}", warning.object, warning.field, warning.why);
    }
    (found, made, clean)
}

#[test]
fn every_documented_hpa_is_converted_without_a_warning() {
    let (found, made, clean) = share("autoscalers.yaml", AUTOSCALERS);
    assert_eq!((made, clean), (found, found));
}

#[test]
fn documented_scaled_objects_are_converted_as_far_as_their_triggers_are_known() {
    let (found, made, clean) = share("scaled-objects.yaml", SCALED_OBJECTS);
    assert!(found > 80, "only {found}");
    assert!(made >= 20 && clean >= 16, "{made} converted, {clean} clean");
}
