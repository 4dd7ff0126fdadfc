//! Disks that run full under a log.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Agent, Authority, acting, agree, commit, digest, eventually, form};

/// A file system of a few MiB, until it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` for who may not mount: the test says so and passes.
    fn mount(at: &Path) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(at)
            .output()
            .unwrap();
        if !mounted.status.success() {
            println!("left out: {}", String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        Some(Small(at.to_owned()))
    }

    fn fill(&self) {
        let full = std::fs::write(self.0.join("filler"), vec![1; 6 << 20]);
        assert!(full.is_err(), "it holds more than it should");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Otherwise it would be called alive and given work for good.
#[tokio::test]
async fn an_agent_whose_disk_is_full_says_so_and_goes_on_after_a_new_start() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let Some(small) = Small::mount(&agents[0].config.data_dir) else {
        return;
    };
    // The first leads.
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "before").await;
    let before = agree(&logs.iter().collect::<Vec<_>>()).await;
    small.fill();
    let long = "x".repeat(10_000);
    let why = eventually("the agent takes no part any more", || async {
        let _ = logs[0].propose(crate::harness::command(&long)).await;
        logs[0].failed().borrow().clone()
    })
    .await;
    assert!(
        why.contains("can't be written") && why.contains("space"),
        "{why}"
    );

    let full = logs.remove(0);
    let others: Vec<_> = logs.iter().collect();
    acting(&others).await;
    let outcome = commit(others[1], "meanwhile").await;
    assert_eq!(outcome.refused.len(), 1);
    full.shutdown().await;
    drop(full);

    small.make_room();
    let back = agents[0].start().await;
    commit(&back, "after").await;
    agree(&[&back, others[0], others[1]]).await;
    assert!(digest(&back).0 > before);
    back.shutdown().await;
}
