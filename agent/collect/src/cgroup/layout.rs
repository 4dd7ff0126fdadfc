//! How this host mounts its cgroups, and where the kubelet's are in them.
//!
//! Comes in: the directory `fs/cgroup` of sysfs. Goes out: the files to read for
//! each container and each pod with the hierarchy that has them, and the kubepods
//! cgroups, wherever a cgroup root puts them. Never looks at single pods.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::said::{Kind, POD, PRESSURE, V1, V2, is_populated};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One hierarchy.
    V2,
    /// A hierarchy for each controller, or for some together.
    V1,
    /// The same, and one of version 2 beside them, in `unified`.
    Hybrid,
}

/// Where each file is found.
#[derive(Debug, Clone)]
pub struct Layout {
    pub form: Form,
    /// The hierarchy that pods are looked up in. Others have them at the same path.
    base: PathBuf,
    /// Of a container's cgroup.
    pub sources: Vec<Source>,
    /// Of a pod's own.
    pub of_pod: Vec<Source>,
}

/// A kind of file, and the hierarchy that has it.
#[derive(Debug, Clone)]
pub struct Source {
    pub hierarchy: PathBuf,
    pub kind: Kind,
    /// A hierarchy of version 2 beside those of version 1. Not everybody puts
    /// processes into it, and a cgroup without any would count zeros.
    pub beside: bool,
}

impl Source {
    /// The files of a cgroup that [`Source::open`] may open.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let names = [
            Some(self.kind.name),
            self.kind.or,
            self.beside.then_some(EVENTS),
        ];
        names.into_iter().flatten()
    }

    /// Whether the cgroup at `place` holds any process in this hierarchy. Asked where it
    /// is [`beside`](Source::beside) those that surely have them.
    pub fn is_populated(&self, place: &Path) -> bool {
        let events = fs::read(self.hierarchy.join(place).join(EVENTS));
        events.is_ok_and(|events| is_populated(&events))
    }

    /// Opens the file of the cgroup at `place`.
    pub fn open(&self, place: &Path) -> io::Result<File> {
        let cgroup = self.hierarchy.join(place);
        match (File::open(cgroup.join(self.kind.name)), self.kind.or) {
            (Err(e), Some(or)) if e.kind() == io::ErrorKind::NotFound => {
                File::open(cgroup.join(or))
            }
            (opened, _) => opened,
        }
    }
}

impl Layout {
    /// Files of a hierarchy's root that say of which version it is.
    pub const MARKERS: [&str; 2] = [CONTROLLERS, PROCS];

    /// `root` is where a host mounts its cgroups: version 2 itself, or a tmpfs
    /// with the hierarchies of version 1. `None` where neither is there.
    pub fn detect(root: &Path) -> Option<Layout> {
        let is_v2 = |path: &Path| path.join(CONTROLLERS).is_file();
        let source = |hierarchy: &Path, kind: &Kind, beside| Source {
            hierarchy: hierarchy.to_owned(),
            kind: *kind,
            beside,
        };
        if is_v2(root) {
            let all = |kinds: &[Kind]| kinds.iter().map(|kind| source(root, kind, false)).collect();
            return Some(Layout {
                form: Form::V2,
                base: root.to_owned(),
                sources: all(&V2),
                of_pod: all(&POD),
            });
        }
        let unified = root.join("unified");
        let unified = is_v2(&unified).then_some(unified);
        let (mut sources, mut of_pod) = (Vec::new(), Vec::new());
        // A controller is in one hierarchy only, and what version 1 doesn't have
        // may be in version 2.
        for controller in ["memory", "cpuacct", "cpu", "blkio", "pids", PRESSURE] {
            let own = |kind: &&Kind| kind.controller == controller;
            match (hierarchy(root, controller), &unified) {
                (Some(path), _) => {
                    let kinds = V1.iter().filter(own);
                    sources.extend(kinds.map(|kind| source(&path, kind, false)));
                }
                (None, Some(path)) => {
                    let kinds = V2.iter().filter(own);
                    sources.extend(kinds.map(|kind| source(path, kind, true)));
                    let kinds = POD.iter().filter(own);
                    of_pod.extend(kinds.map(|kind| source(path, kind, true)));
                }
                (None, None) => {}
            }
        }
        Some(Layout {
            form: if unified.is_some() {
                Form::Hybrid
            } else {
                Form::V1
            },
            base: sources.first()?.hierarchy.clone(),
            sources,
            of_pod,
        })
    }

    pub fn base(&self) -> &Path {
        &self.base
    }
}

/// Only version 2 has this file, in its root as in every cgroup.
const CONTROLLERS: &str = "cgroup.controllers";
/// Every cgroup of both versions has this one.
const PROCS: &str = "cgroup.procs";
/// Every cgroup of version 2 but the root has this one.
const EVENTS: &str = "cgroup.events";

/// Where a v1 controller is mounted: under its own name, which may be a link,
/// or together with others (`cpu,cpuacct`).
fn hierarchy(root: &Path, controller: &str) -> Option<PathBuf> {
    // An empty directory is a mount point without its mount.
    let mounted = |path: &Path| path.join(PROCS).is_file();
    let own = root.join(controller);
    if mounted(&own) {
        return Some(own);
    }
    let entries = std::fs::read_dir(root).ok()?.flatten();
    let together = entries.filter(|entry| {
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().split(',');
        parts.any(|part| part == controller)
    });
    together
        .map(|entry| entry.path())
        .find(|path| mounted(path))
}

/// The kubelets' cgroups, by their paths within the hierarchy. Several where
/// several nodes share a kernel; then each pod is in one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    pub paths: Vec<PathBuf>,
}

/// Levels below the hierarchy's root; kubepods of kind under podman is at five.
const DEPTH_MAX: usize = 8;
/// Cgroups that one search lists, 50 ms or so; the rest isn't looked at. The
/// search goes level by level, so those near the root come first.
const LISTED_MAX: usize = 4_096;
/// More kubelets on one kernel than this aren't looked for.
const ROOTS_MAX: usize = 64;

impl Roots {
    /// Finds all kubepods cgroups, without looking into them.
    pub fn find(base: &Path) -> Roots {
        let mut roots = Roots::default();
        let mut next = VecDeque::from([(PathBuf::new(), 0)]);
        let mut listed = 0;
        while let Some((path, depth)) = next.pop_front() {
            listed += 1;
            if listed > LISTED_MAX {
                break;
            }
            // It may have gone meanwhile.
            let entries = std::fs::read_dir(base.join(&path)).into_iter().flatten();
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                let below = path.join(&name);
                if name.to_str().is_some_and(is_kubepods) {
                    roots.paths.push(below);
                } else if depth < DEPTH_MAX {
                    next.push_back((below, depth + 1));
                }
            }
        }
        roots.paths.sort();
        roots.paths.truncate(ROOTS_MAX);
        roots
    }
}

/// The driver cgroupfs takes the name as it is; systemd makes it a slice and
/// puts the parents' names before it (`kubelet-kubepods.slice`).
fn is_kubepods(name: &str) -> bool {
    let slice = name.strip_suffix(".slice");
    name == "kubepods"
        || slice.is_some_and(|stem| stem == "kubepods" || stem.ends_with("-kubepods"))
}
