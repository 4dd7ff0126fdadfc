//! Whose process it is, by its cgroup.
//!
//! Comes in: `/proc/<pid>/cgroup`. Goes out: the pod's uid as its cgroup's name has
//! it (of a static pod the hash of its manifest). A process of no pod has no owner.

use std::io::Read as _;
use std::path::Path;

/// Some lines of at most a few hundred bytes, one for each hierarchy.
const BYTES_MAX: u64 = 16 << 10;

/// `None` where it has ended, isn't in a pod, or isn't in this pid namespace.
pub fn pod_of(proc: &Path, pid: u32) -> Option<String> {
    let file = std::fs::File::open(proc.join(pid.to_string()).join("cgroup")).ok()?;
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().find_map(of_line)
}

/// `0::/kubepods.slice/…/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope`,
/// or `…/kubepods/burstable/pod<uid>/<id>`, behind any other cgroups.
fn of_line(line: &str) -> Option<String> {
    let path = line.splitn(3, ':').nth(2)?;
    let mut parts = path
        .split('/')
        .skip_while(|part| !part.contains("kubepods"));
    parts.find_map(|part| {
        let stem = part.strip_suffix(".slice");
        let uid = match stem {
            // In a slice's name the uid's dashes are underscores.
            Some(stem) => stem.rsplit_once("-pod")?.1.replace('_', "-"),
            None => part.strip_prefix("pod")?.to_owned(),
        };
        let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        (uid.len() >= UID_MIN && uid.bytes().all(plain)).then_some(uid)
    })
}

/// A uid has 36 characters, a hash 32; shorter names are no pod's.
const UID_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-0000-4000-8000-00000000beef";

    #[test]
    fn a_pod_is_found_in_the_cgroups_of_each_driver_and_version() {
        let slice = UID.replace('-', "_");
        let lines = [
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-9.scope"
            ),
            format!("0::/kubepods.slice/kubepods-pod{slice}.slice/crio-9.scope"),
            format!("4:memory:/kubepods/besteffort/pod{UID}/9"),
            format!("4:cpu,cpuacct:/kubepods/pod{UID}/9"),
            format!("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{slice}.slice/9"),
            // Seen from a cgroup namespace elsewhere.
            format!("0::/../../kubepods/burstable/pod{UID}/9"),
        ];
        for line in lines {
            assert_eq!(of_line(&line).as_deref(), Some(UID), "{line}");
        }
        let hash = "0123456789abcdef0123456789abcdef";
        let fixed = of_line(&format!("0::/kubepods/burstable/pod{hash}/9"));
        assert_eq!(fixed.as_deref(), Some(hash));
    }

    #[test]
    fn what_is_in_no_pod_has_no_owner() {
        let lines = [
            "0::/system.slice/nvidia-persistenced.service",
            "0::/kubepods.slice",
            "0::/user.slice/podman-1.scope",
            "0::/kubepods/burstable/podium/9",
            "0::/",
            "",
        ];
        for line in lines {
            assert_eq!(of_line(line), None, "{line}");
        }
        assert_eq!(pod_of(Path::new("/no/such/proc"), 1), None);
    }
}
