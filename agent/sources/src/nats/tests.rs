//! Which settings are refused, and what the servers of a cluster say: answers of three NATS
//! servers, cut short. A real server is asked in `tests/tests/servers`.

use super::*;
use crate::trying::told;

fn refused(pairs: &[(&str, &str)]) -> String {
    let mut all = Metadata::from([
        (ENDPOINT.to_owned(), "nats.shop:8222".to_owned()),
        ("stream".to_owned(), "mails".to_owned()),
        ("consumer".to_owned(), "senders".to_owned()),
        ("account".to_owned(), "$G".to_owned()),
    ]);
    for (key, value) in pairs {
        if value.is_empty() {
            all.remove(*key);
        } else {
            all.insert((*key).to_owned(), (*value).to_owned());
        }
    }
    told(check(&all))
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    assert_eq!(refused(&[]), "");
    assert_eq!(refused(&[("account", ""), ("accountID", "$G")]), "");
    for (key, value, why) in [
        (
            ENDPOINT,
            "",
            "`natsServerMonitoringEndpoint` is missing: HOST:PORT",
        ),
        (
            ENDPOINT,
            "http://nats:8222",
            "must be HOST:PORT alone; `useHttps` says",
        ),
        (
            ENDPOINT,
            "a b:1",
            "natsServerMonitoringEndpoint `http://a b:1` is not an address",
        ),
        (ENDPOINT, "ann:word@nats:1", "holds a user or password"),
        ("stream", "", "`stream` is missing"),
        ("consumer", "", "`consumer` is missing"),
        ("account", "", "`account` is missing, such as `$G`"),
        ("accountID", "$G", "accountID says what `account` says too"),
        ("useHttps", "yes", "useHttps must be true or false"),
        ("timeout", "0", "timeout must be 1 to 60000 milliseconds"),
        (
            "queue",
            "x",
            "queue is not supported; allowed: natsServerMonitoringEndpoint",
        ),
    ] {
        let said = refused(&[(key, value)]);
        assert!(said.contains(why), "{key}: {said}");
    }
}

/// What a server says of the consumer, with this for its `cluster`.
fn said(cluster: &str) -> Said {
    let consumer =
        format!(r#"{{"name": "senders", "num_ack_pending": 1, "num_pending": 2 {cluster}}}"#);
    let stream = format!(r#"{{"name": "mails", "consumer_detail": [{consumer}]}}"#);
    let answer =
        format!(r#"{{"account_details": [{{"name": "$G", "stream_detail": [{stream}]}}]}}"#);
    let answer: Answer = serde_json::from_str(&answer).unwrap();
    answer.said("mails", "senders")
}

#[test]
fn who_leads_the_consumer_is_believed_and_nobody_else() {
    assert_eq!(said(""), Said::Lag(3), "a server of its own");
    let leads = r#", "cluster": {"leader": "n3", "replicas": [{"name": "n1"}, {"name": "n2"}]}"#;
    assert_eq!(said(leads), Said::Lag(3));
    let follows = r#", "cluster": {"leader": "n3", "replicas": [{"name": "n2"}, {"name": "n3"}]}"#;
    assert_eq!(said(follows), Said::Led("n3".to_owned()));
    let nobody = r#", "cluster": {"replicas": [{"name": "n2"}, {"name": "n3"}]}"#;
    assert_eq!(said(nobody), Said::Nothing(Vec::new()));
}

#[test]
fn a_server_without_the_consumer_names_the_others() {
    let of = |answer: &str| {
        let answer: Answer = serde_json::from_str(answer).unwrap();
        answer.said("mails", "senders")
    };
    assert_eq!(of("{}"), Said::Nothing(Vec::new()));
    let names = |names: &[&str]| Said::Nothing(names.iter().map(|it| (*it).to_owned()).collect());
    assert_eq!(of(r#"{"meta_cluster": {"leader": "n3"}}"#), names(&["n3"]));
    let leader =
        r#"{"meta_cluster": {"leader": "n3", "replicas": [{"name": "n1"}, {"name": "n2"}]}}"#;
    assert_eq!(of(leader), names(&["n3", "n1", "n2"]));
}
