//! KEDA's `redis-sentinel` and `redis-sentinel-streams`, of a real master with a replica,
//! and real sentinels.

use starling_tests::servers::Watched;

use super::{Question, is};

const RIGHT: &[(&str, &str)] = &[("password", "marigold"), ("sentinelPassword", "foxglove")];

pub fn question(addresses: &str, kind: &str, settings: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: {kind}, authenticationRef: {{name: redis}}, metadata: {{addresses: \
         '{addresses}', {settings}}}}}"
    );
    Question::of(&trigger, secrets)
}

#[tokio::test]
async fn the_number_is_the_master_s_also_after_another_has_become_it() {
    let Some(mut watched) = Watched::start() else {
        return;
    };
    let all = watched.addresses();
    let of = |settings: &str| {
        let settings = format!("sentinelMaster: queue, {settings}");
        question(&all, "redis-sentinel", &settings, RIGHT)
    };
    let (jobs, third) = (
        of("listName: jobs"),
        of("listName: jobs, databaseIndex: '3'"),
    );
    let mails = "sentinelMaster: queue, stream: mails";
    let mails = question(&all, "redis-sentinel-streams", mails, RIGHT);
    assert!(jobs.ask().await.is_ok_and(is(0)));
    watched.master.tell(&["RPUSH", "jobs", "a", "b"]);
    watched.master.tell(&["-n", "3", "RPUSH", "jobs", "a"]);
    watched.master.tell(&["XADD", "mails", "*", "to", "ann"]);
    for (asked, count) in [(&jobs, 2), (&third, 1), (&mails, 1)] {
        assert!(asked.ask().await.is_ok_and(is(count)));
    }
    // A sentinel less is none too few, also where it only hangs.
    watched.sentinels[0].processes.hang(true);
    jobs.until(is(2)).await;
    watched.sentinels[0].processes.hang(false);
    watched.sentinels[0].processes.stop();
    jobs.until(is(2)).await;

    // What the replica doesn't have yet the master's end would take along.
    watched.replica.tell_until(&["LLEN", "jobs"], "2");
    watched.replica.tell_until(&["XLEN", "mails"], "1");
    watched.master.processes.stop();
    watched.replica.tell_until(&["ROLE"], "master");
    watched.replica.tell(&["RPUSH", "jobs", "c"]);
    for (asked, count) in [(&jobs, 3), (&third, 1), (&mails, 1)] {
        asked.until(is(count)).await;
    }
    // The old one comes back with what it had, and follows the new one; never is it asked
    // from then on, since all that are left know the new one by now.
    let new = watched.replica.address();
    let (_, port) = new.rsplit_once(':').unwrap();
    for sentinel in &watched.sentinels[1..] {
        sentinel.tell_until(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "queue"], port);
    }
    assert!(watched.master.resume());
    assert!(jobs.ask().await.is_ok_and(is(3)));
    watched.master.tell_until(&["ROLE"], "slave");
    assert!(jobs.ask().await.is_ok_and(is(3)));
    watched.replica.tell(&["RPUSH", "jobs", "d"]);
    assert!(jobs.ask().await.is_ok_and(is(4)));
}

#[tokio::test]
async fn who_isn_t_known_to_the_sentinels_or_to_the_server_is_told_by_which() {
    let Some(mut watched) = Watched::start() else {
        return;
    };
    let all = watched.addresses();
    let asked = async |settings: &str, secrets: &[(&str, &str)]| {
        let settings = format!("listName: jobs, {settings}");
        let asked = question(&all, "redis-sentinel", &settings, secrets);
        asked.ask().await.map(|it| it.milli)
    };
    let queue = "sentinelMaster: queue";
    assert_eq!(asked(queue, RIGHT).await, Ok(0));
    let server = ("password", "marigold");
    let sentinel = ("sentinelPassword", "foxglove");
    let (master, first) = (watched.master.address(), watched.sentinels[0].address());
    for (settings, secrets, at, why) in [
        (
            queue,
            &[server, ("sentinelPassword", "larkspur")][..],
            &first,
            "the password (`sentinelPassword`) are not accepted",
        ),
        (
            queue,
            &[server],
            &first,
            "the trigger's authentication has no `sentinelPassword` (NOAUTH)",
        ),
        (
            queue,
            &[("password", "larkspur"), sentinel],
            &master,
            "the password (`password`) are not accepted",
        ),
        (
            queue,
            &[sentinel],
            &master,
            "the trigger's authentication has no `password` (NOAUTH)",
        ),
        (
            "sentinelMaster: nobody",
            &[server, sentinel],
            &first,
            "the sentinel knows no master `nobody`",
        ),
    ] {
        let said = asked(settings, secrets).await.unwrap_err();
        // A sentinel that takes its time is overtaken by the next one.
        let of = |it: &str| said.starts_with(&format!("{it}: "));
        let any = *at == first && watched.sentinels.iter().any(|it| of(&it.address()));
        assert!(any || of(at), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
    let wrong = [server, ("sentinelPassword", "marigold")];
    let settings = "listName: jobs, sentinelMaster: queue";
    // The address is a server's.
    let wrong = question(&master, "redis-sentinel", settings, &wrong);
    let said = wrong.ask().await.unwrap_err();
    assert!(said.contains("is no sentinel"), "{said}");

    // A master that only hangs loses its place too; with no sentinel left nobody knows it.
    watched.master.processes.hang(true);
    let jobs = question(&all, "redis-sentinel", settings, RIGHT);
    jobs.until(|_| watched.replica.tell(&["ROLE"]).contains("master"))
        .await;
    for sentinel in &mut watched.sentinels {
        sentinel.processes.stop();
    }
    jobs.fails("can't connect").await;
}
