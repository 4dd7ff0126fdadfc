//! Forms, filters, and that a change ends.

use std::io::Write;
use std::time::Instant;

use super::*;

/// Keeps what was written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `say` writes, and the log that it wrote to.
fn written(format: Format, filter: Option<&str>, say: impl FnOnce(&Logs)) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let (subscriber, logs) = Logs::new(format, filter, false, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || say(&logs));
    kept.text()
}

#[test]
fn text_is_for_people_and_json_is_one_object_a_line() {
    let say = |_: &Logs| {
        tracing::info!(policy = "default/web", "applied");
        tracing::debug!("not seen");
    };
    let text = written(Format::Text, None, say);
    assert!(text.contains("INFO") && text.contains("applied"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let json = written(Format::Json, None, say);
    let line: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "applied");
    assert_eq!(line["policy"], "default/web");
    assert!(line["timestamp"].is_string());
}

#[test]
fn a_level_alone_leaves_the_libraries_quiet() {
    let say = |_: &Logs| {
        tracing::debug!("ours");
        tracing::info!(target: "openraft::core", "theirs");
    };
    let text = written(Format::Text, Some("debug"), say);
    assert!(text.contains("ours") && !text.contains("theirs"), "{text}");
    let text = written(Format::Text, Some("debug,openraft=info"), say);
    assert!(text.contains("theirs"), "{text}");
}

#[tokio::test]
async fn a_filter_set_at_run_time_ends_by_itself() {
    let kept = Kept::default();
    let writer = kept.clone();
    let (subscriber, logs) =
        Logs::new(Format::Text, Some("warn"), false, move || writer.clone()).unwrap();
    let _default = tracing::subscriber::set_default(subscriber);
    tracing::info!("before");
    assert_eq!(logs.now().remaining, None);
    logs.set("info", Duration::from_secs(1)).unwrap();
    let now = logs.now();
    assert_eq!((now.filter.as_str(), now.base.as_str()), ("info", "warn"));
    assert!(now.remaining.unwrap() <= Duration::from_secs(1));
    tracing::info!("meanwhile");
    let deadline = Instant::now() + Duration::from_secs(30);
    while logs.now().remaining.is_some() {
        assert!(Instant::now() < deadline, "it never ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(logs.now().filter, "warn");
    tracing::info!("after");
    let text = kept.text();
    assert!(text.contains("meanwhile"), "{text}");
    assert!(
        !text.contains("before") && !text.contains("after"),
        "{text}"
    );
}

#[tokio::test]
async fn a_filter_that_was_replaced_does_not_end_the_next_one() {
    let (_subscriber, logs) = Logs::new(Format::Text, None, false, io::sink).unwrap();
    logs.set("debug", Duration::from_mins(1)).unwrap();
    logs.set("trace", Duration::from_mins(1)).unwrap();
    logs.end(Some(1));
    assert_eq!(logs.now().filter, "trace");
    logs.end(Some(2));
    assert_eq!(logs.now().filter, "info");
    logs.set("debug", Duration::from_mins(1)).unwrap();
    logs.reset();
    assert_eq!(logs.now().filter, "info");
}

#[tokio::test]
async fn what_is_no_filter_is_refused_in_words_and_changes_nothing() {
    let (_subscriber, logs) = Logs::new(Format::Text, None, false, io::sink).unwrap();
    let minute = Duration::from_mins(1);
    for wrong in ["", "loud", "warning", "info,starling=loud", "a=b=c"] {
        let error = logs.set(wrong, minute).unwrap_err().to_string();
        assert!(error.contains("write a level"), "{wrong}: {error}");
    }
    let long = "x".repeat(FILTER_BYTES_MAX + 1);
    assert!(matches!(logs.set(&long, minute), Err(Error::TooLong(_))));
    for lasting in [Duration::ZERO, LASTING_MAX + minute] {
        assert!(matches!(logs.set("debug", lasting), Err(Error::Lasting)));
    }
    assert_eq!(logs.now().filter, "info");
}

#[test]
fn a_form_that_does_not_exist_is_refused() {
    assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("text or json"), "{error}");
}
