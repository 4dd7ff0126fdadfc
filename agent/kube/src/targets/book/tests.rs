//! What the book makes of notes in any order.

use starling_engine::node::platform::{Asked, Unscheduled};

use super::super::blocked::{Fate, REFUSED_AFTER, Waiting};
use super::super::known::OVERTAKEN;
use super::*;

fn target(kind: &str, name: &str) -> Target {
    Target {
        group: if kind == "Worker" {
            "example.com"
        } else {
            "apps"
        }
        .into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn scope(kind: &str) -> Scope {
    Scope {
        group: target(kind, "").group,
        kind: kind.into(),
        namespace: None,
    }
}

fn scale(version: u64, replicas: u32) -> Scale {
    Scale {
        uid: "u".into(),
        resource_version: version.to_string(),
        replicas,
        running: replicas,
        selector: "app=web".into(),
        ..Scale::default()
    }
}

fn seen(kind: &str, name: &str, scale: Scale) -> Note {
    Note::Seen(scope(kind), target(kind, name), Fact::Scale(scale))
}

fn touched(name: &str, version: u64) -> Note {
    let fact = Fact::Touched {
        resource_version: version.to_string(),
    };
    Note::Seen(scope("Worker"), target("Worker", name), fact)
}

struct Desk {
    book: Book,
    now: Instant,
}

impl Desk {
    fn following(targets: &[(&str, &str)]) -> Desk {
        let mut desk = Desk {
            book: Book::default(),
            now: Instant::now(),
        };
        desk.follow(targets);
        desk
    }

    fn follow(&mut self, targets: &[(&str, &str)]) {
        let references = targets.iter().map(|(kind, name)| Reference {
            target: target(kind, name),
            version: "v1".into(),
        });
        let scopes: BTreeSet<Scope> = targets.iter().map(|(kind, _)| scope(kind)).collect();
        let references = Arc::new(references.collect());
        self.book.follow(&references, scopes, self.now);
    }

    fn take(&mut self, note: Note) -> Vec<Action> {
        self.book.take(note, self.now);
        std::iter::from_fn(|| self.book.next_action()).collect()
    }

    fn list(&mut self, kind: &str, objects: Vec<Note>) -> Vec<Action> {
        let mut actions = self.take(Note::Begin(scope(kind)));
        for object in objects {
            actions.extend(self.take(object));
        }
        actions.extend(self.take(Note::Whole(scope(kind))));
        actions
    }

    fn later(&mut self, by: Duration) -> Vec<Action> {
        self.now += by;
        self.book.tick(self.now);
        std::iter::from_fn(|| self.book.next_action()).collect()
    }
}

fn told(kind: &str, name: &str, observation: Observation) -> Action {
    Action::Tell(Event::Observed {
        target: target(kind, name),
        observation,
    })
}

fn told_scale(name: &str, scale: Scale) -> Action {
    told("Deployment", name, Observation::Scale(scale))
}

fn told_gone(name: &str) -> Action {
    let why = missing(&target("Deployment", name));
    told("Deployment", name, Observation::Gone(why))
}

fn read(name: &str) -> Action {
    Action::Read(Reference {
        target: target("Worker", name),
        version: "v1".into(),
    })
}

#[test]
fn a_target_is_gone_only_once_a_whole_list_has_shown_it() {
    let mut desk = Desk::following(&[("Deployment", "web"), ("Deployment", "db")]);
    assert!(desk.take(Note::Begin(scope("Deployment"))).is_empty());
    let first = desk.take(seen("Deployment", "web", scale(1, 2)));
    assert_eq!(first, [told_scale("web", scale(1, 2))]);
    assert!(
        desk.take(seen("Deployment", "other", scale(2, 2)))
            .is_empty()
    );
    assert_eq!(
        desk.take(Note::Whole(scope("Deployment"))),
        [told_gone("db")]
    );
    assert!(
        desk.list("Deployment", vec![seen("Deployment", "web", scale(1, 2))])
            .is_empty()
    );

    // Another list, from which it is missing: gone with the list's end, not before.
    assert!(desk.take(Note::Begin(scope("Deployment"))).is_empty());
    assert_eq!(
        desk.take(Note::Whole(scope("Deployment"))),
        [told_gone("web")]
    );
}

#[test]
fn each_observation_is_told_once() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    desk.list("Deployment", vec![seen("Deployment", "web", scale(1, 2))]);
    assert!(desk.take(seen("Deployment", "web", scale(1, 2))).is_empty());
    let news = desk.take(seen("Deployment", "web", scale(2, 3)));
    assert_eq!(news, [told_scale("web", scale(2, 3))]);
    let lost = |uid: &str| {
        let (scope, target) = (scope("Deployment"), target("Deployment", "web"));
        Note::Lost(scope, target, uid.into())
    };
    assert!(
        desk.take(lost("former")).is_empty(),
        "that was its predecessor"
    );
    assert_eq!(desk.take(lost("u")), [told_gone("web")]);
}

#[test]
fn a_target_that_is_followed_later_is_known_at_once() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    let objects = vec![
        seen("Deployment", "web", scale(1, 2)),
        seen("Deployment", "db", scale(2, 4)),
    ];
    desk.list("Deployment", objects);
    desk.follow(&[("Deployment", "db"), ("Deployment", "x")]);
    let news: Vec<_> = std::iter::from_fn(|| desk.book.next_action()).collect();
    assert_eq!(news, [told_gone("x"), told_scale("db", scale(2, 4))]);
    assert!(desk.take(seen("Deployment", "web", scale(3, 9))).is_empty());
}

#[test]
fn what_was_overtaken_is_never_told() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    desk.list("Deployment", vec![seen("Deployment", "web", scale(7, 2))]);
    let web = target("Deployment", "web");
    let patched = Found::Patched {
        target: web.clone(),
        result: Ok(scale(10, 5)),
    };
    let answer = Action::Tell(Event::Patched {
        target: web.clone(),
        result: Ok(scale(10, 5)),
    });
    let after = desk.take(Note::Found(patched));
    assert_eq!(after, [answer, told_scale("web", scale(10, 5))]);
    // The watch brings what was before the write: it would look as if set by hand.
    assert!(desk.take(seen("Deployment", "web", scale(9, 2))).is_empty());
    let newer = desk.take(seen("Deployment", "web", scale(11, 5)));
    assert_eq!(newer, [told_scale("web", scale(11, 5))]);

    // A late answer to an older write: what is newer is told once more.
    let late = Found::Patched {
        target: web.clone(),
        result: Ok(scale(8, 3)),
    };
    let after = desk.take(Note::Found(late));
    assert_eq!(after[1..], [told_scale("web", scale(11, 5))]);

    // A server that was restored from a backup counts anew, some time later.
    desk.later(OVERTAKEN);
    let restored = desk.take(seen("Deployment", "web", scale(3, 1)));
    assert_eq!(restored, [told_scale("web", scale(3, 1))]);
}

#[test]
fn a_conflict_shows_what_there_is_and_a_gone_target_waits_for_the_watch() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    desk.list("Deployment", vec![seen("Deployment", "web", scale(7, 2))]);
    let web = target("Deployment", "web");
    let patched = |result| {
        Note::Found(Found::Patched {
            target: web.clone(),
            result,
        })
    };
    let after = desk.take(patched(Err(Error::Conflict(scale(9, 4)))));
    assert_eq!(after[1..], [told_scale("web", scale(9, 4))]);
    let after = desk.take(patched(Err(Error::Gone("no".into()))));
    assert_eq!(after.len(), 1, "{after:?}");
}

#[test]
fn objects_that_do_not_show_their_scale_are_read_when_they_change_one_read_at_a_time() {
    let mut desk = Desk::following(&[("Worker", "crunch")]);
    let answer = |result| Note::Read(target("Worker", "crunch"), result);
    let listed = desk.list("Worker", vec![touched("crunch", 1), touched("other", 2)]);
    assert_eq!(listed, [read("crunch")]);
    assert!(desk.take(touched("crunch", 3)).is_empty());
    let after = desk.take(answer(Ok(scale(1, 2))));
    let observed = |scale| told("Worker", "crunch", Observation::Scale(scale));
    assert_eq!(after, [read("crunch"), observed(scale(1, 2))]);
    assert_eq!(desk.take(answer(Ok(scale(3, 2)))), [observed(scale(3, 2))]);
    // What was read already isn't read again.
    assert!(desk.take(touched("crunch", 3)).is_empty());

    // A read without an answer is tried again, not at once.
    assert_eq!(desk.take(touched("crunch", 4)), [read("crunch")]);
    assert!(
        desk.take(answer(Err(Error::Unknown("away".into()))))
            .is_empty()
    );
    assert!(desk.later(READ_AGAIN / 2).is_empty());
    assert_eq!(desk.later(READ_AGAIN / 2), [read("crunch")]);
    let gone = desk.take(answer(Err(Error::Gone("gone".into()))));
    assert_eq!(
        gone,
        [told("Worker", "crunch", Observation::Gone("gone".into()))]
    );
}

#[test]
fn a_kind_that_may_not_be_watched_is_read_now_and_then() {
    let mut desk = Desk::following(&[("Worker", "crunch")]);
    let blind = |failure| Note::Blind(scope("Worker"), failure);
    assert!(
        desk.take(blind(Failure::Unreachable("away".into())))
            .is_empty()
    );
    let forbidden = || Failure::Forbidden("no".into());
    assert_eq!(desk.take(blind(forbidden())), [read("crunch")]);
    assert!(desk.take(blind(forbidden())).is_empty());
    let answer = |result| Note::Read(target("Worker", "crunch"), result);
    assert_eq!(desk.take(answer(Ok(scale(1, 2)))).len(), 1);
    assert!(desk.later(READ_EVERY / 2).is_empty());
    assert_eq!(desk.later(READ_EVERY / 2), [read("crunch")]);
    desk.take(answer(Ok(scale(1, 2))));
    // The right was given: the watch tells from now on.
    desk.list("Worker", vec![touched("crunch", 1)]);
    assert!(desk.later(READ_EVERY * 2).is_empty());
}

#[test]
fn a_kind_that_is_not_served_makes_its_targets_gone_with_the_reason() {
    let mut desk = Desk::following(&[("Worker", "crunch")]);
    let error = Error::NotScalable("this cluster knows no kind Worker".into());
    let unservable = || Note::Unservable(scope("Worker"), error.clone());
    let why = Observation::Gone("this cluster knows no kind Worker".into());
    assert_eq!(desk.take(unservable()), [told("Worker", "crunch", why)]);
    assert!(desk.take(unservable()).is_empty());
    assert_eq!(
        desk.list("Worker", vec![touched("crunch", 1)]),
        [read("crunch")]
    );
}

fn pod(uid: &str, app: &str, why: Option<&str>) -> Note {
    Note::Pods(PodNote::Pod(Fate::Waits(Waiting {
        uid: uid.into(),
        namespace: "shop".into(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        requests_milli: [("cpu".to_owned(), Some(100)), ("memory".to_owned(), None)].into(),
        why: why.map(str::to_owned),
    })))
}

#[test]
fn a_selector_that_cannot_be_used_is_told_with_the_scale() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    let broken = Scale {
        selector: "app in (".into(),
        ..scale(1, 2)
    };
    let told = desk.list("Deployment", vec![seen("Deployment", "web", broken)]);
    let fault = told.iter().find_map(|event| match event {
        Action::Tell(Event::Observed {
            observation: Observation::Scale(scale),
            ..
        }) => scale.selector_fault.as_deref(),
        _ => None,
    });
    assert!(
        fault.is_some_and(|why| why.contains("selector")),
        "{told:?}"
    );
}

#[test]
fn pods_on_no_node_are_counted_at_once_and_block_only_after_a_while() {
    let mut desk = Desk::following(&[("Deployment", "web")]);
    desk.list("Deployment", vec![seen("Deployment", "web", scale(1, 2))]);
    let with = |count: u32, blocked: Option<&str>| {
        let asked = |milli, unstated| Asked { milli, unstated };
        let (cpu, memory) = (asked(100 * i64::from(count), 0), asked(0, count));
        let asked = [("cpu".to_owned(), cpu), ("memory".to_owned(), memory)];
        let asked = asked.into_iter().filter(|_| count > 0).collect();
        let scale = Scale {
            unscheduled: Unscheduled { count, asked },
            blocked: blocked.map(str::to_owned),
            ..scale(1, 2)
        };
        told_scale("web", scale)
    };
    desk.take(Note::Pods(PodNote::Begin));
    assert!(desk.take(pod("x", "db", None)).is_empty());
    assert_eq!(desk.take(pod("a", "web", None)), [with(1, None)]);
    assert_eq!(desk.take(pod("b", "web", Some("no room"))), [with(2, None)]);
    assert!(desk.take(Note::Pods(PodNote::Whole)).is_empty());
    let next = desk.book.next_tick(desk.now);
    assert!(next <= desk.now + REFUSED_AFTER);
    assert!(desk.later(REFUSED_AFTER / 2).is_empty());
    assert_eq!(desk.later(REFUSED_AFTER / 2), [with(2, Some("no room"))]);
    let other = desk.take(pod("b", "web", Some("less room")));
    assert_eq!(other, [with(2, Some("less room"))]);

    let left = |uid: &str| {
        Note::Pods(PodNote::Pod(Fate::Left {
            uid: uid.into(),
            namespace: "shop".into(),
        }))
    };
    assert_eq!(desk.take(left("b")), [with(1, None)]);
    // A new list, without the other one.
    desk.take(Note::Pods(PodNote::Begin));
    assert_eq!(desk.take(Note::Pods(PodNote::Whole)), [with(0, None)]);
}

#[test]
fn a_failed_creation_blocks_a_stateful_set_until_one_more_pod_exists() {
    let mut desk = Desk::following(&[("StatefulSet", "set")]);
    let with = |version, replicas, running| Scale {
        running,
        ..scale(version, replicas)
    };
    let told = |scale, blocked: Option<&str>| {
        let blocked = blocked.map(str::to_owned);
        told(
            "StatefulSet",
            "set",
            Observation::Scale(Scale { blocked, ..scale }),
        )
    };
    let set = |scale| seen("StatefulSet", "set", scale);
    desk.list("StatefulSet", vec![set(with(1, 1, 1))]);
    let failed = Failed {
        namespace: "shop".into(),
        name: "set".into(),
        uid: "u".into(),
        why: "quota".into(),
    };
    // The event may come before the size that it is about.
    assert!(desk.take(Note::CreateFailed(failed.clone())).is_empty());
    let grown = desk.take(set(with(2, 3, 1)));
    assert_eq!(grown, [told(with(2, 3, 1), Some("quota"))]);
    assert_eq!(desk.take(set(with(3, 3, 2))), [told(with(3, 3, 2), None)]);

    let again = desk.take(Note::CreateFailed(failed.clone()));
    assert_eq!(again, [told(with(3, 3, 2), Some("quota"))]);
    let forgotten = desk.take(Note::CreateForgotten(failed));
    assert_eq!(forgotten, [told(with(3, 3, 2), None)]);
}

#[test]
fn the_platform_is_told_as_it_is() {
    let mut desk = Desk::following(&[]);
    let told = desk.take(Note::Platform(true));
    assert_eq!(told, [Action::Tell(Event::Platform(true))]);
}
