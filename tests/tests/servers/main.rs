//! What triggers ask, asked of the real servers: policies as users write them, read and
//! asked as an agent does.
#![allow(clippy::unwrap_used)] // What isn't there fails its test.

mod agents;
mod counting;
mod external;
mod hanging;
mod kafka;
mod mysql;
mod nats;
mod postgresql;
mod prometheus;
mod pushing;
mod rabbitmq;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod spread;

use std::collections::BTreeMap;
use std::time::SystemTime;

use starling_engine::policy::Trigger;
use starling_policy::file;
use starling_sources::{Asked, Number, Poller, Secrets};

/// A question of one agent.
struct Question {
    poller: Poller,
    trigger: Trigger,
    secrets: Secrets,
}

impl Question {
    /// A trigger as a policy has it, in YAML's short form.
    fn of(trigger: &str, secrets: &[(&str, &str)]) -> Question {
        let policy = format!(
            "{{apiVersion: starling.sh/v1alpha1, kind: ScalingPolicy, metadata: {{name: web}}, \
             spec: {{scaleTargetRef: {{name: web}}, triggers: [{trigger}]}}}}"
        );
        let read = file::read(&policy);
        assert_eq!(read.problems, [], "{policy}");
        let secrets = secrets.iter();
        let secrets = secrets.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Question {
            poller: Poller::default(),
            trigger: read.policies[0].1.triggers[0].clone(),
            secrets: Secrets::from(secrets.collect::<BTreeMap<_, _>>()),
        }
    }

    /// Asks again where a busy machine has answered nothing in time.
    async fn ask(&self) -> Result<Number, String> {
        starling_tests::until("it is answered in time", || async {
            let answer = self.once().await;
            let late = ["no answer within", "not asked"];
            let late = matches!(&answer, Err(why) if late.iter().any(|it| why.contains(it)));
            (!late).then_some(answer)
        })
        .await
    }

    async fn once(&self) -> Result<Number, String> {
        let answer = self.poller.poll(&self.trigger, self.asked()).await;
        answer.map_err(|error| error.to_string())
    }

    fn asked(&self) -> Asked<'_> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Asked {
            namespace: "default",
            name: "web",
            composed: false,
            wall_ms: since.unwrap().as_millis() as i64,
            secrets: Some(&self.secrets),
            endpoints: None,
        }
    }

    /// Until the number is right. What a server says is late: it counts now and then.
    async fn until(&self, right: impl Fn(Number) -> bool) -> Number {
        starling_tests::until("the number is right", || async {
            self.once().await.ok().filter(|number| right(*number))
        })
        .await
    }

    /// Until a question fails for this reason.
    async fn fails(&self, why: &str) {
        self.fails_by(&[why]).await;
    }

    /// For one of these.
    async fn fails_by(&self, any: &[&str]) {
        starling_tests::until(&any.join(" or "), || async {
            let said = self.once().await.err();
            said.filter(|said| any.iter().any(|why| said.contains(why)))
        })
        .await;
    }
}

/// Of `localhost`, signed by itself, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Whether it is so many, and held against the activation as so many.
fn is(whole: i64) -> impl Fn(Number) -> bool {
    let milli = whole * 1_000;
    move |number| (number.milli, number.activity_milli) == (milli, milli)
}
