//! What a policy is called, and which workload it sizes.

use starling_engine::policy::{Form, NAMESPACE, Name, PROCESS, Resource, Source, Target, Trigger};

use super::{Check, NAME_BYTES_MAX};
use crate::schema::limits::LABEL_BYTES_MAX;
use crate::schema::{Metadata, ScaleTargetRef};
use crate::yaml::clip;

/// KEDA's default for `scaleTargetRef.apiVersion`.
const API_VERSION_DEFAULT: &str = "apps/v1";

pub(super) fn name(check: &mut Check, written: &Metadata) -> Name {
    check.subdomain("metadata.name", &written.name);
    let namespace = written.namespace.as_deref().unwrap_or(NAMESPACE);
    check.label("metadata.namespace", namespace);
    Name::new(namespace, &written.name)
}

/// The workload, and the version of its API.
pub(super) fn target(
    check: &mut Check,
    policy: &Name,
    written: &ScaleTargetRef,
) -> (Target, String) {
    let field = "spec.scaleTargetRef";
    if written.kind == PROCESS && written.api_version.is_none() {
        check.label(&format!("{field}.name"), &written.name);
        if policy.namespace != NAMESPACE {
            check.fails(
                "metadata.namespace",
                format!(
                    "must be {NAMESPACE}, where the processes are that agents run, is `{}`",
                    clip(&policy.namespace)
                ),
            );
        }
        return (Target::process(&written.name), String::new());
    }
    check.subdomain(&format!("{field}.name"), &written.name);
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    if written.kind.is_empty() || written.kind.len() > LABEL_BYTES_MAX || !word(&written.kind) {
        let why = format!(
            "`{}` is not a kind, such as Deployment",
            clip(&written.kind)
        );
        check.fails(&format!("{field}.kind"), why);
    }
    let stated = written.api_version.as_deref();
    let stated = stated.unwrap_or(API_VERSION_DEFAULT);
    let (group, version) = stated.split_once('/').unwrap_or(("", stated));
    let sound = super::is_label(version)
        && (group.is_empty() || super::is_subdomain(group, NAME_BYTES_MAX))
        && !stated.starts_with('/');
    if !sound {
        let why = format!(
            "`{}` is not an API's version, such as apps/v1 or v1",
            clip(stated)
        );
        check.fails(&format!("{field}.apiVersion"), why);
    }
    let target = Target {
        group: group.to_owned(),
        kind: written.kind.clone(),
        namespace: policy.namespace.clone(),
        name: written.name.clone(),
    };
    if target.form() == Form::Placed {
        let why = format!("must be left out for `kind: {PROCESS}`, which no API serves");
        check.fails(&format!("{field}.apiVersion"), why);
    }
    (target, version.to_owned())
}

/// Whose variables triggers' authentications mean.
pub(super) fn container<'a>(check: &mut Check, written: &'a ScaleTargetRef) -> Option<&'a str> {
    let name = written.env_source_container_name.as_deref()?;
    let field = "spec.scaleTargetRef.envSourceContainerName";
    check.label(field, name);
    if written.kind == PROCESS && written.api_version.is_none() {
        let why = format!("must be left out for `kind: {PROCESS}`, which has no containers");
        check.fails(field, why);
    }
    Some(name)
}

/// Processes have neither containers, nor metrics of their own in a Kubernetes API, nor
/// more than CPU and memory that can be told of them.
pub(super) fn measurable(check: &mut Check, target: &Target, triggers: &[Trigger]) {
    if target.form() != Form::Placed {
        return;
    }
    for trigger in triggers {
        let what = match &trigger.source {
            Source::Container { .. } => "containers",
            Source::Pods { .. } => "pods",
            Source::Resource(resource) if !matches!(resource, Resource::Cpu | Resource::Memory) => {
                "cgroup that its agent could measure"
            }
            _ => continue,
        };
        let why = format!(
            "is a {PROCESS}, which has no {what}, as trigger {} needs",
            trigger.name
        );
        check.fails("spec.scaleTargetRef.kind", why);
    }
}
