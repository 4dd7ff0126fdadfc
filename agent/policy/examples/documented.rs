//! How much of what KEDA's and HPA's own documentation shows is converted.
//!
//! `cargo run -p starling-policy --example documented -- FOLDER`: reads the YAML blocks of
//! all pages (`*.md`) below the folder, a copy of the documentation that lies anywhere, and
//! prints for each page how many of its forms are converted without a warning, and what
//! warned. A form is an HPA, a `ScaledObject` or `ScaledJob`, or a part of one that a page
//! explains: a list of triggers, one metric, a behavior. Parts are put into an object that has nothing else.
//! Templates, whose `{names}` stand for values, and YAML of other kinds are passed over.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use starling_policy::import::Import;

/// Pages below one folder; more are no documentation of one program.
const PAGES_MAX: usize = 10_000;
const OBJECT: &str = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: part}\n\
                      spec:\n  scaleTargetRef: {name: part}\n";
const AUTOSCALER: &str = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: \
                          {name: part}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: \
                          Deployment, name: part}\n  maxReplicas: 10\n";
/// What the metrics of an HPA are of.
const METRICS: [&str; 5] = [
    "Resource",
    "ContainerResource",
    "Pods",
    "Object",
    "External",
];

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    forms: usize,
    made: usize,
    clean: usize,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.forms += other.forms;
        self.made += other.made;
        self.clean += other.clean;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("which folder has the pages?")?;
    let mut all = Count::default();
    for page in pages(Path::new(&folder))? {
        let text = fs::read_to_string(&page)?;
        let mut count = Count::default();
        let mut warnings = Vec::new();
        for form in blocks(&text).iter().flat_map(|block| forms(block)) {
            count.add(convert(&form, &mut warnings));
        }
        if count.forms > 0 {
            let name = page.strip_prefix(&folder).unwrap_or(&page);
            println!("{}: {}", name.display(), shown(count));
            for warning in warnings {
                println!("    {warning}");
            }
        }
        all.add(count);
    }
    println!("in all: {}", shown(all));
    Ok(())
}

fn shown(count: Count) -> String {
    let Count { forms, made, clean } = count;
    format!("{forms} forms, {made} converted, {clean} without a warning")
}

/// In the order of their names.
fn pages(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut left = vec![folder.to_owned()];
    let mut pages = Vec::new();
    while let Some(folder) = left.pop() {
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
        if pages.len() + left.len() > PAGES_MAX {
            return Err(format!("more than {PAGES_MAX} pages are below it").into());
        }
    }
    pages.sort();
    Ok(pages)
}

/// What stands between the fences, without the indentation of the fence itself.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for line in page.lines() {
        let (indent, words) = (line.len() - line.trim_start().len(), line.trim());
        match &mut block {
            None if matches!(words, "```yaml" | "```yml") => block = Some((indent, String::new())),
            None => {}
            Some(_) if words == "```" => blocks.extend(block.take().map(|(_, text)| text)),
            Some((outer, text)) => {
                text.push_str(&line[indent.min(*outer)..]);
                text.push('\n');
            }
        }
    }
    blocks
}

/// The documents of a block that are forms, parts of one made whole.
fn forms(block: &str) -> Vec<String> {
    let documents = block.split("---\n");
    documents
        .filter_map(form)
        .filter(|it| !is_template(it))
        .collect()
}

fn form(document: &str) -> Option<String> {
    let has = |words: &str| document.lines().any(|line| line.trim_end() == words);
    let starts = |words: &str| document.lines().any(|line| line.starts_with(words));
    let inner = |by: &str| -> String {
        // Three dots are what a page leaves out.
        let lines = document.lines().filter(|line| *line != "...");
        lines.flat_map(|line| [by, line, "\n"]).collect()
    };
    let metric = |before: &str| {
        METRICS
            .iter()
            .any(|kind| starts(&format!("{before}{kind}")))
    };
    let kinds = ["ScaledObject", "ScaledJob", "HorizontalPodAutoscaler"];
    if kinds.iter().any(|kind| has(&format!("kind: {kind}"))) {
        Some(document.to_owned())
    } else if starts("apiVersion:") {
        None
    } else if starts("triggers:") {
        Some(format!("{OBJECT}{}", inner("  ")))
    } else if starts("behavior:") {
        Some(format!("{AUTOSCALER}{}", inner("  ")))
    } else if metric("- type: ") {
        Some(format!("{AUTOSCALER}  metrics:\n{}", inner("  ")))
    } else if metric("type: ") {
        let item = inner("    ");
        Some(format!("{AUTOSCALER}  metrics:\n  - {}", item.trim_start()))
    } else {
        None
    }
}

/// `name: {name-of-target}` stands for a value.
fn is_template(form: &str) -> bool {
    form.lines().any(|line| {
        let value = line.split_once(": ").map_or("", |(_, value)| value.trim());
        let name = value
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        name.is_some_and(|(name, _)| !name.contains(':') && !name.is_empty())
    })
}

fn convert(form: &str, warnings: &mut Vec<String>) -> Count {
    let mut import = Import::default();
    import.read("form", form);
    for warning in &import.warnings {
        warnings.push(format!("{}: {}", warning.field, warning.why));
    }
    Count {
        forms: 1,
        made: usize::from(!import.policies.is_empty()),
        clean: usize::from(import.warnings.is_empty() && !import.policies.is_empty()),
    }
}
