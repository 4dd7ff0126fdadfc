//! Images as docker archives, built without a registry and kept by the hash of what they
//! are made from. The project's own is made by the project's own script and Dockerfile.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::assets::{self, Assets};
use crate::error::{Error, Result, Trying};
use crate::run;
use crate::shell::{self, COMMAND_LIMIT};

/// What holds a pod's namespaces.
pub const PAUSE: &str = "localhost/starling-test/pause:1";
/// Pods that burn CPU and tell a number: see `images/load/load`.
pub const LOAD: &str = "localhost/starling-test/load:1";
/// An adapter of the metrics APIs, whose values are written to its port 8080.
pub const ADAPTER: &str = "localhost/starling-test/adapter:1";
/// What the examples run.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.35";
/// The project's own image, as `image` names it.
pub const STARLING: &str = "localhost/starling:dev";

/// The project's image of a `starling` binary, as a docker archive. Made by
/// `daemonset/build-image`, once for each content of the binary and of `daemonset/`'s recipe.
pub fn image(binary: &Path) -> Result<PathBuf> {
    let daemonset = here().join("../../daemonset");
    let script = daemonset.join("build-image");
    if !script.exists() {
        return Err(Error::Missing(format!(
            "{} isn't there, so the project's image can't be built.",
            script.display()
        )));
    }
    let recipe = [script.clone(), daemonset.join("Dockerfile")];
    let parts = recipe.iter().map(PathBuf::as_path).chain([binary]);
    kept("starling", parts, |archive| {
        let mut build = Command::new(&script);
        build.arg(binary).arg(archive).arg(STARLING);
        shell::finish(&mut build, "", COMMAND_LIMIT).map(|_| ())
    })
}

/// The image that every pod needs.
pub(crate) fn pause() -> Result<PathBuf> {
    fixture("pause", PAUSE, Path::new(BUSYBOX_HERE))
}

/// The image for pods that work on demand.
pub fn load() -> Result<PathBuf> {
    fixture("load", LOAD, Path::new(BUSYBOX_HERE))
}

/// The image that the examples in `daemonset/` use.
pub fn busybox() -> Result<PathBuf> {
    fixture("busybox", BUSYBOX, Path::new(BUSYBOX_HERE))
}

/// The image of the reference adapter of custom.metrics.k8s.io and external.metrics.k8s.io.
pub fn adapter() -> Result<PathBuf> {
    fixture("adapter", ADAPTER, &Assets::find()?.binary("test-adapter")?)
}

/// The machine's own, which is static.
const BUSYBOX_HERE: &str = "/bin/busybox";

/// An image of a folder under `images/` and a static program.
fn fixture(folder: &str, name: &str, program: &Path) -> Result<PathBuf> {
    let context = here().join("images").join(folder);
    let mut files = vec![program.to_path_buf()];
    let entries = fs::read_dir(&context).trying(|| format!("read {}", context.display()))?;
    files.extend(entries.flatten().map(|entry| entry.path()));
    files.sort();
    kept(folder, files.iter().map(PathBuf::as_path), |archive| {
        let work = tempfile::tempdir().trying(|| "make a folder for an image".into())?;
        for file in &files {
            let Some(name) = file.file_name() else {
                continue;
            };
            fs::copy(file, work.path().join(name)).trying(|| format!("copy {}", file.display()))?;
        }
        build(work.path(), name, archive)
    })
}

fn build(context: &Path, name: &str, archive: &Path) -> Result<()> {
    let store = tempfile::tempdir().trying(|| "make a folder for an image".into())?;
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs"])
            .arg("--root")
            .arg(store.path().join("store"))
            .arg("--runroot")
            .arg(store.path().join("run"))
            .args(words);
        shell::finish(&mut command, "", COMMAND_LIMIT)
    };
    let (context, archive) = (context.to_string_lossy(), archive.to_string_lossy());
    buildah(&[
        "bud",
        "--quiet",
        "--isolation=chroot",
        "--tag",
        name,
        &context,
    ])?;
    let to = format!("docker-archive:{archive}:{name}");
    buildah(&["push", "--quiet", name, &to]).map(|_| ())
}

/// Gives the archive that was made of these files, or makes it.
fn kept<'a>(
    name: &str,
    files: impl Iterator<Item = &'a Path>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = assets::cache()?.join("images");
    run::make_dir(&folder)?;
    kept_in(&folder, name, files, make)
}

fn kept_in<'a>(
    folder: &Path,
    name: &str,
    files: impl Iterator<Item = &'a Path>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for file in files {
        let bytes = fs::read(file).trying(|| format!("read {}", file.display()))?;
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    let key = &assets::hex(&hash.finalize())[..16];
    let archive = folder.join(format!("{name}-{key}.tar"));
    // Another test, or another run, may be making it.
    let locked = folder.join(format!(".{name}.lock"));
    let lock = File::create(&locked).trying(|| format!("open {}", locked.display()))?;
    lock.lock()
        .trying(|| format!("lock {}", locked.display()))?;
    if archive.exists() {
        return Ok(archive);
    }
    forget_old(folder, name)?;
    // Whole or not there. What a run left that was broken off isn't added to.
    let part = folder.join(format!(".{name}-{key}.tar"));
    match fs::remove_file(&part) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        done => done.trying(|| format!("remove {}", part.display()))?,
    }
    make(&part)?;
    fs::rename(&part, &archive).trying(|| format!("write {}", archive.display()))?;
    Ok(archive)
}

/// Images of one name that are kept; older ones go, since every change of a binary adds one.
const KEPT_MAX: usize = 8;

fn forget_old(folder: &Path, name: &str) -> Result<()> {
    let entries = fs::read_dir(folder).trying(|| format!("read {}", folder.display()))?;
    let mut archives: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    archives.sort();
    for (_, path) in archives.iter().rev().skip(KEPT_MAX - 1) {
        // Another run may have removed it already.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn who_wants_an_image_that_another_makes_gets_that_one() {
        const ALL: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        fs::write(&file, "of it").unwrap();
        let (begin, made) = (Barrier::new(ALL), AtomicU32::new(0));
        let want = || {
            begin.wait();
            kept_in(folder.path(), "one", [file.as_path()].into_iter(), |part| {
                made.fetch_add(1, Ordering::Relaxed);
                let new = File::create_new(part);
                new.map(drop).trying(|| "write where nothing is".into())
            })
        };
        let archives = thread::scope(|scope| {
            let all: Vec<_> = (0..ALL).map(|_| scope.spawn(want)).collect();
            let archives = all.into_iter().map(|one| one.join().unwrap().unwrap());
            archives.collect::<Vec<_>>()
        });
        assert!(archives.iter().all(|it| it.exists() && it == &archives[0]));
        assert_eq!(made.into_inner(), 1);
    }
}
