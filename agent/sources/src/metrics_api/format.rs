//! The formats of an answer, and where in each a value stands.

use std::collections::BTreeMap;

use super::{dotted, json, prometheus};
use crate::{Number, Reason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
    Xml,
    Prometheus,
}

impl Format {
    pub(super) fn of(metadata: &BTreeMap<String, String>) -> Result<Format, String> {
        match metadata.get("format").map(String::as_str) {
            None | Some("json") => Ok(Format::Json),
            Some("yaml") => Ok(Format::Yaml),
            Some("xml") => Ok(Format::Xml),
            Some("prometheus") => Ok(Format::Prometheus),
            Some(other) => Err(format!(
                "`{}` is not known; allowed: json, yaml, xml, prometheus",
                other.escape_debug().take(80).collect::<String>()
            )),
        }
    }

    pub(super) fn accept(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml, text/yaml;q=0.9, */*;q=0.5",
            Format::Xml => "application/xml, text/xml;q=0.9, */*;q=0.5",
            Format::Prometheus => "text/plain;version=0.0.4",
        }
    }

    pub(super) fn check_location(self, location: &str) -> Result<(), String> {
        if location.is_empty() || location.len() > json::LOCATION_BYTES_MAX {
            return Err(format!(
                "must hold 1 to {} bytes, holds {}",
                json::LOCATION_BYTES_MAX,
                location.len()
            ));
        }
        match self {
            Format::Json => json::check_location(location),
            Format::Yaml | Format::Xml => dotted::check_location(location),
            Format::Prometheus => prometheus::check_location(location),
        }
    }

    pub(super) fn read(self, body: &[u8], location: &str) -> Result<Number, Reason> {
        match self {
            Format::Json => json::read(body, location),
            Format::Yaml => dotted::yaml(body, location),
            Format::Xml => dotted::xml(body, location),
            Format::Prometheus => prometheus::read(body, location),
        }
    }
}
