//! Commands that run to their end: what they print comes back, and one that hangs is ended.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Trying};

/// A command that takes longer is killed, and its caller gets an error: nothing that
/// the rig asks for takes this long on a machine that works.
pub const COMMAND_LIMIT: Duration = Duration::from_mins(3);
/// So much of a failed command's output goes into its error: the end says why.
const OUTPUT_SHOWN_BYTES: usize = 4_000;

/// The least between two looks; one that takes longer itself is repeated after as long
/// again, up to the most: whoever is looked at needs the machine too.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Waits until `probe` succeeds, at most so long. Its error says what is still amiss.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        let looked = Instant::now();
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if began.elapsed() > limit => {
                return Err(Error::Deadline {
                    what: what.into(),
                    limit,
                    last,
                });
            }
            Err(_) => thread::sleep(looked.elapsed().clamp(PAUSE_MIN, PAUSE_MAX)),
        }
    }
}

/// Runs a program with these arguments and gives what it printed.
pub fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String> {
    finish(Command::new(program).args(arguments), "", COMMAND_LIMIT)
}

/// Runs a command, feeds it `input` and gives what it printed.
pub fn finish(command: &mut Command, input: &str, limit: Duration) -> Result<String> {
    let name = shown(command);
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .trying(|| format!("run `{name}`"))?;
    let feed = child.stdin.take().map(|mut pipe| {
        let input = input.to_owned();
        // A command that doesn't want its input says so by how it ends.
        thread::spawn(move || drop(pipe.write_all(input.as_bytes())))
    });
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let ended = ends_within(&mut child, limit).trying(|| format!("wait for `{name}`"))?;
    if !ended {
        // Both fail only where it has ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().trying(|| format!("wait for `{name}`"))?;
    if let Some(feed) = feed {
        let _ = feed.join();
    }
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|r| r.join().ok()).unwrap_or_default()
    };
    let (out, err) = (text(out), text(err));
    if ended && status.success() {
        return Ok(out);
    }
    let how = if ended {
        format!("failed ({status})")
    } else {
        format!("took longer than {limit:?}")
    };
    Err(Error::Command {
        command: name,
        how,
        output: tail(format!("{err}{out}").trim()),
    })
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is to show.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether a child ends by itself in this time.
pub(crate) fn ends_within(child: &mut Child, limit: Duration) -> std::io::Result<bool> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    while child.try_wait()?.is_none() {
        if began.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(true)
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

/// The end of a text.
pub(crate) fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(OUTPUT_SHOWN_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}
