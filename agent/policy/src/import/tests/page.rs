//! The page for those who move over: each example of it is what import makes.

use super::super::Import;
use crate::file;

const PAGE: &str = include_str!("../../../../../daemonset/docs/moving-from-keda-and-hpa.md");

/// The YAML that stands in it.
fn blocks() -> Vec<&'static str> {
    let after = PAGE.split("```yaml\n").skip(1);
    after.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn each_example_of_the_page_is_converted_to_the_one_behind_it() {
    let blocks = blocks();
    assert!(blocks.len() >= 7, "only {}", blocks.len());
    let mut converted = 0;
    for (index, block) in blocks.iter().enumerate() {
        if block.contains("starling.sh/") {
            assert_eq!(file::read(block).problems, [], "{block}");
            continue;
        }
        let mut import = Import::default();
        import.read("page", block);
        assert_eq!(import.warnings, [], "{block}");
        assert_eq!(import.policies[0].yaml, blocks[index + 1]);
        converted += 1;
    }
    assert!(converted >= 3, "only {converted}");
}
