//! Records what the reader reads of this host, so that others can read the same.
//!
//! Comes in: where the host's `/sys` is. Goes out: one text with the files that the
//! reader would open for every container below the kubepods cgroups, at two moments
//! a second apart. It holds pods' uids and containers' ids, no names. Never reads
//! another file, never writes one of the host's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::file;
use super::layout::{Form, Layout, Roots, Source};
use super::place;
use crate::HostRoot;

/// Pods' and containers' cgroups beyond these are left out and counted.
pub const CGROUPS_MAX: usize = 1_024;
/// As long as a recording may become; what doesn't fit any more is left out, cgroup by
/// cgroup, and counted. A node with 110 pods of 2 containers takes 2 MiB.
pub const RECORDING_BYTES_MAX: usize = 16 << 20;

/// Between the two moments, as between two measurements.
const APART: Duration = Duration::from_secs(1);
/// The folders that [`unpack`] makes for them.
pub const MOMENTS: [&str; 2] = ["first", "second"];

#[derive(Debug, Clone)]
pub struct Recording {
    /// See [`unpack`].
    pub text: String,
    pub form: Form,
    /// Pods and containers, at the first moment.
    pub cgroups: usize,
    /// What was beyond the bounds then.
    pub left_out: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "there are no cgroups in {}; name the folder that has the host's /sys in --host-root",
        .0.display()
    )]
    NoCgroups(PathBuf),
    #[error(
        "there is no kubepods cgroup under {}; run this where a kubelet runs", .0.display()
    )]
    NoKubepods(PathBuf),
}

/// Records both moments; takes a second.
pub fn record(host: &HostRoot) -> Result<Recording, Error> {
    record_apart(host, APART)
}

pub(super) fn record_apart(host: &HostRoot, apart: Duration) -> Result<Recording, Error> {
    let root = host.sys.join("fs/cgroup");
    let Some(layout) = Layout::detect(&root) else {
        return Err(Error::NoCgroups(root));
    };
    let roots = Roots::find(layout.base());
    if roots.paths.is_empty() {
        return Err(Error::NoKubepods(layout.base().to_owned()));
    }
    let mut moments = Vec::new();
    let mut began: Vec<Instant> = Vec::new();
    for name in MOMENTS {
        if let Some(before) = began.last() {
            std::thread::sleep(apart.saturating_sub(before.elapsed()));
        }
        began.push(Instant::now());
        moments.push(Moment::record(name, host, &layout, &roots));
    }
    let window = match began.as_slice() {
        [first, second] => second.duration_since(*first),
        _ => Duration::ZERO,
    };
    let mut text = String::new();
    let (cgroups, left_out) = moments
        .first()
        .map_or((0, 0), |first| (first.cgroups, first.left_out));
    let kernel = fs::read_to_string(host.proc.join("sys/kernel/osrelease")).unwrap_or_default();
    // Writing into memory doesn't fail.
    let _ = write!(
        text,
        "Cgroups as starling {} reads them, at two moments {} ms apart.\n\
         Kernel {}, {:?}; {cgroups} cgroups, {left_out} more left out.\n\n",
        env!("CARGO_PKG_VERSION"),
        window.as_millis(),
        kernel.trim(),
        layout.form,
    );
    text.extend(moments.iter().map(|moment| moment.text.as_str()));
    Ok(Recording {
        text,
        form: layout.form,
        cgroups,
        left_out,
    })
}

/// One moment's files.
struct Moment<'a> {
    name: &'a str,
    host: &'a HostRoot,
    text: String,
    cgroups: usize,
    left_out: usize,
}

impl Moment<'_> {
    fn record<'a>(name: &'a str, host: &'a HostRoot, layout: &Layout, roots: &Roots) -> Moment<'a> {
        let mut moment = Moment {
            name,
            host,
            text: String::new(),
            cgroups: 0,
            left_out: 0,
        };
        moment.file(&host.sys.join("devices/system/cpu/online"));
        let mut hierarchies: Vec<&Path> = Vec::new();
        for source in &layout.sources {
            if !hierarchies.contains(&source.hierarchy.as_path()) {
                hierarchies.push(&source.hierarchy);
                // By these the reader knows a hierarchy; what they list isn't read.
                for marker in Layout::MARKERS {
                    let path = source.hierarchy.join(marker);
                    if path.is_file() {
                        moment.put(&path, "");
                    }
                }
            }
        }
        for (pod, containers) in pods(layout.base(), roots) {
            moment.cgroup(&pod, &layout.of_pod);
            for container in containers {
                moment.cgroup(&container, &layout.sources);
            }
        }
        moment
    }

    /// All files that the reader may open of one cgroup.
    fn cgroup(&mut self, place: &Path, sources: &[Source]) {
        if self.cgroups >= CGROUPS_MAX {
            self.left_out += 1;
            return;
        }
        let before = self.text.len();
        let files = sources.iter().flat_map(|source| {
            let cgroup = source.hierarchy.join(place);
            source.names().map(move |name| cgroup.join(name))
        });
        // Several sources may look at the same file.
        for path in files.collect::<BTreeSet<PathBuf>>() {
            self.file(&path);
        }
        // Half of it for each moment.
        if self.text.len() > RECORDING_BYTES_MAX / MOMENTS.len() {
            self.text.truncate(before);
            self.left_out += 1;
        } else {
            self.cgroups += 1;
        }
    }

    /// A file that isn't there, or has gone meanwhile, isn't in the recording.
    fn file(&mut self, path: &Path) {
        let mut bytes = Vec::new();
        let read = fs::File::open(path)
            .and_then(|file| file.take(file::BYTES_MAX as u64).read_to_end(&mut bytes));
        if read.is_ok() {
            self.put(path, &String::from_utf8_lossy(&bytes));
        }
    }

    fn put(&mut self, path: &Path, content: &str) {
        // Whatever the host's /sys is called here, it is `sys` there.
        let Ok(below) = path.strip_prefix(&self.host.sys) else {
            return;
        };
        let header = format!("{BEFORE}{}/sys/{}{AFTER}", self.name, below.display());
        self.text.push_str(&header);
        self.text.push('\n');
        self.text.push_str(content);
        if !content.is_empty() && !content.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

/// Around the path of each file, on a line of its own before its content.
const BEFORE: &str = "-- ";
const AFTER: &str = " --";

/// The pods' cgroups with those of their containers, as far as they are named so.
pub(super) fn pods(base: &Path, roots: &Roots) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let below = |place: &Path| {
        let entries = fs::read_dir(base.join(place)).into_iter().flatten();
        let dirs = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut dirs: Vec<PathBuf> = dirs.map(|entry| place.join(entry.file_name())).collect();
        dirs.sort();
        dirs
    };
    let mut pods = Vec::new();
    for root in &roots.paths {
        for first in below(root) {
            // A pod, or a class of quality of service with its pods.
            let found = if place::is_pod(&first) {
                vec![first]
            } else {
                below(&first)
            };
            for pod in found.into_iter().filter(|pod| place::is_pod(pod)) {
                let containers = below(&pod);
                pods.push((pod, containers));
            }
        }
    }
    pods
}

/// Writes the files of a recording into a folder: `first/sys` and `second/sys`, each a
/// host's `/sys` as far as the reader reads it.
pub fn unpack(text: &str, folder: &Path) -> io::Result<()> {
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let named = line.trim_end().strip_prefix(BEFORE);
        let Some(path) = named.and_then(|rest| rest.strip_suffix(AFTER)) else {
            continue;
        };
        let path = Path::new(path);
        if !path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            let why = format!("{} leads out of the folder", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut content = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with(BEFORE)) {
            content.push_str(line);
        }
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        // In place: a reader may have the file open.
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(path)?;
        io::Write::write_all(&mut file, content.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_lies_below_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let text = "About it.\n\n-- a/b --\n1\n2\n-- a/c --\n-- d --\nno end";
        unpack(text, dir.path()).unwrap();
        let said = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(
            ["a/b", "a/c", "d"].map(said),
            ["1\n2\n".to_owned(), String::new(), "no end".to_owned()]
        );
        for outside in ["/etc/x", "../x", "a/../../x"] {
            let text = format!("-- {outside} --\nx\n");
            assert!(unpack(&text, dir.path()).is_err(), "{outside}");
        }
    }
}
