//! What command a workload is, on this machine.

use std::ops::RangeInclusive;

use starling_engine::policy::{NAMESPACE, Violation};

use super::Check;
use crate::schema;
use crate::yaml::clip;
use starling_engine::quantity::Quantity;
use starling_process::spec::{STOP_AFTER_MS, Spec};

/// Seconds.
const GRACE_DEFAULT: i64 = STOP_AFTER_MS as i64 / 1_000;
const GRACE: RangeInclusive<i64> = 0..=3_600;
/// The command and its arguments.
const ARGUMENTS_MAX: usize = 1_000;

/// A process with its defaults, or all that keeps it from being one.
pub fn process(document: &schema::Process) -> Result<Spec, Vec<Violation>> {
    let mut check = Check::default();
    let spec = &document.spec;
    check.label("metadata.name", &document.metadata.name);
    if let Some(namespace) = document.metadata.namespace.as_deref()
        && namespace != NAMESPACE
    {
        let why = format!(
            "must be {NAMESPACE} or left out, is `{}`: a process is a machine's, not a namespace's",
            clip(namespace)
        );
        check.fails("metadata.namespace", why);
    }
    command(&mut check, &spec.command);
    environment(&mut check, spec);
    if let Some(directory) = spec
        .directory
        .as_ref()
        .filter(|directory| !directory.is_absolute())
    {
        check.fails(
            "spec.directory",
            format!("must be an absolute path, is `{}`", directory.display()),
        );
    }
    let mut request = |field, text: &Option<String>, unit| {
        text.as_ref()
            .map(|text| check.some_amount(field, text, unit) as u64)
    };
    let built = Spec {
        name: document.metadata.name.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        directory: spec.directory.clone(),
        cpu_request_milli: request("spec.requests.cpu", &spec.requests.cpu, Quantity::milli),
        memory_request_bytes: request(
            "spec.requests.memory",
            &spec.requests.memory,
            Quantity::whole,
        ),
        stop_after_ms: check.seconds(
            "spec.gracePeriodSeconds",
            spec.grace_period_seconds,
            GRACE_DEFAULT,
            GRACE,
        ),
    };
    check.done(built)
}

fn command(check: &mut Check, command: &[String]) {
    if command.is_empty() || command.len() > ARGUMENTS_MAX {
        check.fails(
            "spec.command",
            format!(
                "must hold the program and its arguments, 1 to {ARGUMENTS_MAX} texts; holds {}",
                command.len()
            ),
        );
    }
    if command.first().is_some_and(String::is_empty) {
        check.fails(
            "spec.command[0]",
            "must name a program, is empty".to_owned(),
        );
    }
    for (index, argument) in command.iter().enumerate() {
        if argument.contains('\0') {
            check.fails(
                &format!("spec.command[{index}]"),
                "holds a NUL character".to_owned(),
            );
        }
    }
}

fn environment(check: &mut Check, spec: &schema::ProcessSpec) {
    for (key, value) in &spec.env {
        if key.is_empty() || key.contains(['=', '\0']) {
            check.fails(
                "spec.env",
                format!(
                    "`{}` can't name a variable: it is empty or holds `=` or NUL",
                    key.escape_debug()
                ),
            );
        }
        if value.contains('\0') {
            check.fails(
                &format!("spec.env[{key}]"),
                "holds a NUL character".to_owned(),
            );
        }
    }
}
