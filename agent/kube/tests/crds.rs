//! The CRD that is committed is the one that the types make.

use std::path::Path;

use starling_kube::crd;

#[test]
fn the_committed_crd_is_what_the_types_make() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/crds/scalingpolicies.yaml");
    let committed = std::fs::read_to_string(&path).unwrap();
    let made = crd::yaml().unwrap();
    assert!(
        committed == made,
        "{} is out of date; run `cargo run -p starling-kube --example crds > \
         daemonset/crds/scalingpolicies.yaml`, then daemonset/render",
        path.display()
    );
}

#[test]
fn every_field_is_explained() {
    fn look(schema: &serde_json::Value, path: &str, bare: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            // Names that say all, and what the block around them says.
            let plain = matches!(
                name.as_str(),
                "type"
                    | "name"
                    | "kind"
                    | "target"
                    | "metric"
                    | "selector"
                    | "key"
                    | "values"
                    | "apiVersion"
                    | "metadata"
                    | "container"
                    | "replicas"
            );
            if !plain && field.get("description").is_none() {
                bare.push(path.clone());
            }
            look(field, &path, bare);
            look(&field["items"], &path, bare);
        }
    }
    let definition = crd::definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut bare = Vec::new();
    look(schema, "", &mut bare);
    assert_eq!(
        bare,
        Vec::<String>::new(),
        "kubectl explain has no words for these"
    );
}
