//! The README's section on Kubernetes, followed word for word: each command of its steps
//! as it stands there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use starling_kubernetes_rig::{Cluster, shell};
use starling_tests::installed::{self, Installed, installed};

const SOON: Duration = Duration::from_mins(2);
/// A command that goes on until somebody ends it shows something by then.
const WATCHED_S: u32 = 5;
/// Where the README's commands put the plugin.
const FOLDER: &str = "/usr/local/bin/";

/// The commands between two of the README's sentences, without what stands behind `#`.
fn commands(readme: &str, from: &str, to: &str) -> Vec<String> {
    let begin = readme.find(from).unwrap();
    let end = begin + readme[begin..].find(to).unwrap();
    let lines = readme[begin..end].lines();
    let commands = lines.filter_map(|line| line.strip_prefix("       "));
    let told = commands.map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned());
    told.collect()
}

struct Reader<'a> {
    installed: &'a Installed,
    /// In place of [`FOLDER`], which belongs to the machine.
    folder: tempfile::TempDir,
}

impl Reader<'_> {
    fn run(&self, command: &str) -> String {
        self.attempt(command).unwrap_or_else(|why| panic!("{why}"))
    }

    fn attempt(&self, command: &str) -> Result<String, String> {
        let own = format!("{}/", self.folder.path().display());
        let mut script = command.replace(FOLDER, &own);
        if script.ends_with("--watch") {
            script = format!("timeout {WATCHED_S} {script} || [ $? = 124 ]");
        }
        let kubectl = self.installed.cluster.binary("kubectl").unwrap();
        let path = std::env::var("PATH").unwrap();
        let kubectl = kubectl.parent().unwrap().display();
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", &script])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .env("KUBECONFIG", self.installed.cluster.kubeconfig())
            .env("PATH", format!("{own}:{kubectl}:{path}"));
        let said = shell::finish(&mut shell, "", SOON);
        said.map_err(|why| format!("{command}: {why}"))
    }

    /// Asks with the command until the answer says what would change the size: not in the
    /// second in which it changes anyway.
    fn await_outlook(&self, command: &str) {
        let what = "what would change the size is said";
        installed::until(&self.installed.cluster, what, SOON, |_| {
            Ok(self.attempt(command).and_then(|said| {
                let outlook = said.contains("What would change the size");
                if outlook { Ok(()) } else { Err(said) }
            }))
        });
    }

    fn await_size(&self, right: impl Fn(u64) -> bool) -> u64 {
        self.installed
            .await_size("default", "deploy", "web", SOON, right)
    }
}

#[test]
fn the_first_policy_of_the_readme_grows_and_shrinks_as_it_says() {
    let Some(installed) = installed() else { return };
    let reader = Reader {
        installed: &installed,
        folder: tempfile::tempdir().unwrap(),
    };
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();

    let asks = commands(&readme, "3. Ask the agents", "4. The first policy");
    for command in &asks {
        // Whom another test has cut off may be coming back: not all is well at once.
        let said = |_: &Cluster| Ok(reader.attempt(command));
        installed::until(&installed.cluster, command, SOON, said);
    }
    let plugin = fs::metadata(reader.folder.path().join("kubectl-starling")).unwrap();
    assert_eq!(plugin.permissions().mode() & 0o777, 0o755);

    for command in commands(&readme, "4. The first policy", "5. Watch it") {
        reader.run(&command);
    }
    let grown = reader.await_size(|size| size > 1);
    let watches = commands(&readme, "5. Watch it", "`web` grows within");
    assert_eq!(watches.len(), 6, "{watches:?}");
    for command in &watches {
        reader.run(command);
        if command.starts_with("kubectl starling explain") {
            reader.await_outlook(command);
        }
        if command.contains("--replicas=3") {
            reader.await_size(|size| size > grown);
        }
    }
    reader.await_size(|size| size == 1);

    let ends = commands(&readme, "Uninstall. Workloads keep", "The second line also");
    let examples = ends.iter().filter(|it| it.contains("examples/kubernetes"));
    for command in examples {
        // The load is gone already.
        reader.run(&format!("{command} --ignore-not-found"));
    }
}
