//! How turns are given, without any server.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::trying::metadata;

use super::*;

/// The mark of questions that hang.
const HANGING: u64 = 1;
/// A busy machine may be late by most of it, and not by more.
const SHORT_MS: u64 = 50;
/// Longer than any test takes.
const LONG_MS: u64 = 600_000;

fn failing(reason: Reason) -> Result<(), Error> {
    Err(Error {
        address: "there".to_owned(),
        reason,
    })
}

/// Another question each time.
async fn silent(turns: &Turns, site: &str) -> Reason {
    static LAST: AtomicU64 = AtomicU64::new(100);
    let question = (site, LAST.fetch_add(1, Ordering::Relaxed));
    let answer = turns
        .ask::<()>(question, "trigger t", SHORT_MS, pending())
        .await;
    answer.unwrap_err().reason
}

async fn sound(turns: &Turns, site: &str, after_ms: u64) -> Result<(), Reason> {
    let answer = turns.ask((site, 0), "trigger t", after_ms, async { Ok(()) });
    answer.await.map_err(|error| error.reason)
}

/// Asks what nobody answers, and lets it come as far as it can.
async fn hanging(turns: &Arc<Turns>, site: &str) -> tokio::task::JoinHandle<()> {
    let (turns, site) = (turns.clone(), site.to_owned());
    let task = tokio::spawn(async move {
        let _ = turns
            .ask::<()>((&site, HANGING), "trigger t", LONG_MS, pending())
            .await;
    });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn servers_that_hang_delay_no_other() {
    let turns = Arc::new(Turns::default());
    sound(&turns, "sound", LONG_MS).await.unwrap();
    for n in 0..2 * ALL_MAX {
        hanging(&turns, &format!("hangs {n}")).await;
        hanging(&turns, "hangs").await;
    }
    assert_eq!(
        turns.doubtful.available_permits(),
        0,
        "all of them are in it"
    );
    assert_eq!(sound(&turns, "sound", LONG_MS).await, Ok(()));
    // One that isn't known may have to wait, and then says for what.
    let crowded = Err(Reason::Crowded { after_ms: 5 });
    assert_eq!(sound(&turns, "new", 5).await, crowded);
}

#[tokio::test]
async fn one_server_takes_a_part_of_all_turns() {
    let turns = Arc::new(Turns::default());
    sound(&turns, "slow", LONG_MS).await.unwrap();
    let mut asked = Vec::new();
    for _ in 0..ALL_MAX {
        asked.push(hanging(&turns, "slow").await);
    }
    let taken = ALL_MAX as usize - turns.all.available_permits();
    assert_eq!(taken, SITE_MAX as usize);
    let crowded = Err(Reason::Crowded { after_ms: 5 });
    assert_eq!(sound(&turns, "slow", 5).await, crowded);
    // What is given up gives its turn back.
    for asked in asked {
        asked.abort();
    }
    assert_eq!(sound(&turns, "slow", LONG_MS).await, Ok(()));
}

#[tokio::test]
async fn whoever_says_nothing_three_times_is_asked_one_question_after_a_pause() {
    let turns = Arc::new(Turns {
        pause: Duration::from_hours(1),
        ..Turns::default()
    });
    for _ in 0..SILENCES_MAX {
        let late = Reason::TimedOut { after_ms: SHORT_MS };
        assert_eq!(silent(&turns, "it").await, late);
    }
    let Err(Reason::Resting {
        silences: 3,
        again_ms,
    }) = sound(&turns, "it", LONG_MS).await
    else {
        panic!("it is asked");
    };
    let hour = 3_600_000;
    assert!((hour / 2..=hour / 4 * 5).contains(&again_ms), "{again_ms}");
    assert_eq!(sound(&turns, "another", LONG_MS).await, Ok(()));

    turns.site("it").lock().rests_until = None;
    hanging(&turns, "it").await;
    let crowded = Err(Reason::Crowded { after_ms: 5 });
    assert_eq!(sound(&turns, "it", 5).await, crowded, "one at a time");
}

#[tokio::test]
async fn a_question_that_takes_too_long_holds_up_no_other_one_of_its_server() {
    let turns = Arc::new(Turns {
        pause: Duration::ZERO,
        ..Turns::default()
    });
    for _ in 0..SILENCES_MAX {
        silent(&turns, "it").await;
    }
    turns.site("it").lock().slow.insert(HANGING);
    hanging(&turns, "it").await;
    assert_eq!(sound(&turns, "it", 30_000).await, Ok(()));
    // It is the question then, and not the server. The next time it has all of its time.
    assert_eq!(turns.site("it").lock().at_once(), SITE_MAX);
    assert!(!turns.site("it").yields(HANGING));
    let before = Instant::now();
    turns.site("it").lock().last = Some(before + Duration::from_mins(1));
    silent(&turns, "it").await;
    assert_eq!(turns.site("it").lock().silences, 0);
}

#[tokio::test]
async fn what_was_taken_in_doubt_is_given_back_once_somebody_is_answered() {
    let turns = Arc::new(Turns::default());
    let (answer, answered) = oneshot::channel::<()>();
    let first = {
        let turns = turns.clone();
        tokio::spawn(async move {
            let question = async { answered.await.map_err(|_| unreachable!()) };
            turns.ask(("it", 0), "trigger t", LONG_MS, question).await
        })
    };
    tokio::task::yield_now().await;
    hanging(&turns, "it").await;
    hanging(&turns, "it").await;
    let places = turns.site("it").places.clone();
    assert_eq!(places.available_permits(), 0, "two at once, and one waits");
    answer.send(()).unwrap();
    first.await.unwrap().unwrap();
    while places.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    // One of two halves is free, but for the one place of who waited.
    let half = (SITE_MAX / DOUBTFUL_SITE_MAX) as usize;
    assert!(places.available_permits() >= half - 1);
}

#[tokio::test]
async fn a_pause_that_ends_in_time_is_waited_for_and_an_answer_ends_all_doubt() {
    let turns = Turns {
        pause: Duration::from_millis(10),
        ..Turns::default()
    };
    for _ in 0..SILENCES_MAX {
        silent(&turns, "it").await;
    }
    assert_eq!(sound(&turns, "it", LONG_MS).await, Ok(()));
    assert_eq!(turns.site("it").lock().at_once(), SITE_MAX);
    // It begins to count anew.
    silent(&turns, "it").await;
    assert_eq!(turns.site("it").lock().silences, 1);
}

#[tokio::test]
async fn pauses_grow_to_eight_times_the_first() {
    let turns = Turns {
        pause: Duration::from_secs(100),
        ..Turns::default()
    };
    let mut pauses = Vec::new();
    for _ in 0..SILENCES_MAX + 5 {
        turns.site("it").lock().rests_until = None;
        silent(&turns, "it").await;
        let end = turns.site("it").lock().rests_until;
        pauses.push(end.map(|end| (end - Instant::now()).as_secs_f64() / 100.0));
    }
    let expected = [
        None,
        None,
        Some(1.0),
        Some(2.0),
        Some(4.0),
        Some(8.0),
        Some(8.0),
        Some(8.0),
    ];
    for (pause, expected) in pauses.into_iter().zip(expected) {
        let near = pause
            .zip(expected)
            .is_none_or(|(pause, wanted): (f64, f64)| (0.7..=1.26).contains(&(pause / wanted)));
        assert!(
            near && pause.is_some() == expected.is_some(),
            "{pause:?} {expected:?}"
        );
    }
}

#[tokio::test]
async fn only_silence_counts_as_silence() {
    let turns = Turns::default();
    for _ in 0..=SILENCES_MAX {
        let refused = async { failing(Reason::Connection("refused".to_owned())) };
        let _ = turns.ask(("it", 2), "trigger t", LONG_MS, refused).await;
    }
    let known = |site: &str| {
        let site = turns.site(site);
        let heard = site.lock();
        (heard.answers, heard.rests_until)
    };
    assert_eq!(known("it"), (false, None));
    let _ = turns
        .ask(("it", 2), "trigger t", LONG_MS, async {
            failing(Reason::Status(503))
        })
        .await;
    assert!(turns.site("it").lock().answers, "it is there");
    let unasked = async { failing(Reason::Secret("is missing".to_owned())) };
    let _ = turns.ask(("new", 2), "trigger t", LONG_MS, unasked).await;
    assert!(!turns.site("new").lock().answers, "nobody knows");
}

#[tokio::test]
async fn waiting_for_a_turn_is_part_of_the_time_that_a_question_has() {
    let turns = Arc::new(Turns::default());
    sound(&turns, "slow", LONG_MS).await.unwrap();
    let mut asked = Vec::new();
    for _ in 0..SITE_MAX {
        asked.push(hanging(&turns, "slow").await);
    }
    let (after_ms, waits_ms) = (5_000, 1_000);
    let (begins, begun) = oneshot::channel();
    let question = async move {
        begins.send(()).unwrap();
        pending().await
    };
    let late = turns.ask::<()>(("slow", 2), "trigger late", after_ms, question);
    let whole = async {
        sleep(Duration::from_millis(waits_ms)).await;
        asked.pop().unwrap().abort();
        begun.await.unwrap();
        // What it would have if it hadn't waited.
        sleep(Duration::from_millis(after_ms)).await;
    };
    let error = tokio::select! {
        biased;
        late = late => late.unwrap_err(),
        () = whole => panic!("it has more time than its own"),
    };
    assert_eq!(error.to_string(), "trigger late: no answer within 5000 ms");
}

#[test]
fn a_site_is_the_server_and_not_what_is_asked_there() {
    for (kind, pairs, expected) in [
        (
            "prometheus",
            &[("serverAddress", "http://prom:9090/a?b"), ("query", "up")][..],
            "prom:9090",
        ),
        (
            "metrics-api",
            &[("url", "https://it/one"), ("valueLocation", "a")],
            "it",
        ),
        (
            "postgresql",
            &[("host", "db"), ("port", "5432"), ("dbName", "x")],
            "db:5432",
        ),
        (
            "rabbitmq",
            &[("authenticationRef", "r"), ("queueName", "q")],
            "rabbitmq of shop/r",
        ),
        (
            "mysql",
            &[("port", "3306"), ("authenticationRef", "r")],
            "mysql of shop/r",
        ),
        (
            "external",
            &[("scalerAddress", "it:50051"), ("host", "a queue of its")],
            "it:50051",
        ),
    ] {
        assert_eq!(site(kind, &metadata(pairs), "shop"), expected);
    }
}
