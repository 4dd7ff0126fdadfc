//! Where a container's cgroup is, from what the API server says of its pod.
//!
//! Comes in: the kubepods cgroups, the pod's uid, the container's id. Goes out:
//! the container's path within the hierarchy. Knows the names that the kubelet
//! and the runtimes give; reads directories, never the files in them.

use std::path::{Path, PathBuf};

use super::PodRef;
use super::layout::Roots;
use super::problem::Why;

/// The id in a status (`containerd://<id>`), if it can be a name in a path.
pub fn id(container_id: &str) -> Result<&str, Why> {
    let id = container_id
        .split_once("://")
        .map_or(container_id, |(_, id)| id);
    if is_name(id) {
        Ok(id)
    } else {
        Err(Why::BadId(container_id.chars().take(NAME_MAX).collect()))
    }
}

/// Longer ids than any runtime's or API server's are no names.
const NAME_MAX: usize = 128;

/// What comes from outside and becomes part of a path: nothing that leads elsewhere.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Finds a container below `base`.
pub fn find(base: &Path, roots: &Roots, pod: &PodRef, id: &str) -> Result<PathBuf, Why> {
    if roots.paths.is_empty() {
        return Err(Why::NoKubepods(base.to_owned()));
    }
    let mut seen_pod = false;
    // A mirror's own uid is in no path, but asking for it costs little.
    let keys = pod.static_hash.iter().chain([&pod.uid]);
    for key in keys.filter(|key| is_name(key)) {
        for root in &roots.paths {
            for place in places(root, key) {
                let Ok(entries) = std::fs::read_dir(base.join(&place)) else {
                    continue;
                };
                seen_pod = true;
                let mut found = entries.flatten().filter(|entry| {
                    let name = entry.file_name();
                    name.to_str().is_some_and(|name| is_container(name, id))
                });
                if let Some(entry) = found.next() {
                    return Ok(place.join(entry.file_name()));
                }
            }
        }
    }
    Err(if seen_pod {
        Why::NoContainer
    } else {
        Why::NoPod(roots.paths.len())
    })
}

/// Where the kubelet may have put a pod: by driver, in one of the three classes
/// of quality of service.
fn places(root: &Path, key: &str) -> [PathBuf; 3] {
    let stem = root
        .file_name()
        .and_then(|name| name.to_str()?.strip_suffix(".slice"));
    if let Some(stem) = stem {
        // In a slice's name a dash parts it from its parent's, so the uid's
        // dashes became underscores.
        let pod = format!("pod{}", key.replace('-', "_"));
        let class = |class: &str| {
            root.join(format!("{stem}-{class}.slice"))
                .join(format!("{stem}-{class}-{pod}.slice"))
        };
        let guaranteed = root.join(format!("{stem}-{pod}.slice"));
        [class("burstable"), class("besteffort"), guaranteed]
    } else {
        let pod = format!("pod{key}");
        ["burstable", "besteffort", ""].map(|class| root.join(class).join(&pod))
    }
}

/// Whether a cgroup's name is one that [`places`] gives to a pod.
pub fn is_pod(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some((parent, key)) = name.and_then(|name| {
        let stem = name.strip_suffix(".slice").unwrap_or(name);
        stem.rsplit_once("pod")
    }) else {
        return false;
    };
    (parent.is_empty() || parent.ends_with('-')) && key.len() >= UID_MIN && is_name(key)
}

/// A static pod's hash, which is the shortest.
const UID_MIN: usize = 32;

/// The id alone, or behind a runtime's name: `cri-containerd-<id>.scope`,
/// `crio-<id>`, `docker-<id>.scope`. CRI-O's monitor of a container has its id
/// too, and isn't the container.
fn is_container(name: &str, id: &str) -> bool {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let before = stem.strip_suffix(id);
    before.is_some_and(|runtime| {
        runtime.is_empty() || (runtime.ends_with('-') && !runtime.ends_with("conmon-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e";

    #[test]
    fn ids_are_taken_from_a_status_and_never_lead_elsewhere() {
        assert_eq!(id(&format!("containerd://{ID}")), Ok(ID));
        assert_eq!(id(ID), Ok(ID));
        let long = "a".repeat(NAME_MAX + 1);
        for bad in [
            "",
            "containerd://",
            "cri-o://../../etc/passwd",
            "a/b",
            long.as_str(),
        ] {
            assert!(matches!(id(bad), Err(Why::BadId(_))), "{bad}");
        }
    }

    #[test]
    fn a_container_is_known_by_its_id_behind_any_runtimes_name() {
        for prefix in ["", "cri-containerd-", "crio-", "docker-"] {
            assert!(is_container(&format!("{prefix}{ID}"), ID), "{prefix}");
            assert!(is_container(&format!("{prefix}{ID}.scope"), ID), "{prefix}");
        }
        let others = [
            format!("crio-conmon-{ID}.scope"),
            format!("cri-containerd-0{ID}.scope"),
            format!("{ID}.service"),
            "cgroup.procs".to_owned(),
        ];
        for name in others {
            assert!(!is_container(&name, ID), "{name}");
        }
    }

    #[test]
    fn a_pods_cgroup_is_known_by_its_name() {
        let uid = "7b1f8a52-9c0e-4a3d-8f7e-0c6f5d2b9a11";
        for class in ["", "kubepods/burstable"] {
            assert!(is_pod(&Path::new(class).join(format!("pod{uid}"))));
        }
        for root in ["kubepods", "kubelet.slice/kubelet-kubepods.slice"] {
            for place in places(Path::new(root), uid) {
                assert!(is_pod(&place), "{}", place.display());
            }
        }
        for other in [
            "kubepods",
            "kubepods.slice",
            "kubepods-burstable.slice",
            "pod",
            "podx",
        ] {
            assert!(!is_pod(Path::new(other)), "{other}");
        }
        assert!(!is_pod(Path::new(ID)));
    }

    #[test]
    fn pods_are_where_each_driver_puts_them() {
        let shown = |root: &str| places(Path::new(root), "ab-cd").map(|p| p.display().to_string());
        assert_eq!(
            shown("node3/kubepods"),
            [
                "node3/kubepods/burstable/podab-cd",
                "node3/kubepods/besteffort/podab-cd",
                "node3/kubepods/podab-cd",
            ]
        );
        let kind = "kubelet.slice/kubelet-kubepods.slice";
        assert_eq!(
            shown(kind),
            [
                format!(
                    "{kind}/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podab_cd.slice"
                ),
                format!(
                    "{kind}/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podab_cd.slice"
                ),
                format!("{kind}/kubelet-kubepods-podab_cd.slice"),
            ]
        );
    }
}
