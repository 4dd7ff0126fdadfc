//! KEDA's authentication objects, read from a server that has some of what they name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answering;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use answering::Asked;
use serde_json::{Value, json};
use starling_engine::policy::Target;
use starling_kube::authentication::{Authentications, CLUSTER, NAMESPACED, Wanted};
use starling_kube::client;
use starling_kube::target::Reference;

/// The objects by path; whatever else is asked for isn't there.
#[derive(Clone, Default)]
struct Objects(Arc<Mutex<BTreeMap<String, Value>>>);

impl Objects {
    fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().insert(path.to_owned(), object);
    }

    fn secret(&self, name: &str, data: &Value) {
        let (namespace, name) = name.split_once('/').unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        self.put(&path, json!({ "metadata": { "name": name }, "data": data }));
    }

    fn authentication(&self, spec: &Value) {
        let path = "/apis/keda.sh/v1alpha1/namespaces/shop/triggerauthentications/queue";
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": NAMESPACED,
            "metadata": { "name": "queue", "namespace": "shop" }, "spec": spec,
        });
        self.put(path, object);
    }
}

fn missing(path: &str) -> (u16, String) {
    // Of an object that isn't there the server says the name.
    let name = path.rsplit('/').next().unwrap();
    let status = json!({
        "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found",
        "details": { "name": name },
    });
    (404, status.to_string())
}

async fn served(objects: &Objects) -> (Authentications, Asked) {
    let objects = objects.clone();
    let (address, asked) =
        answering::serve(move |path| match objects.0.lock().unwrap().get(path) {
            Some(Value::Number(code)) => {
                let code = code.as_u64().unwrap() as u16;
                let status = json!({ "kind": "Status", "code": code, "message": "no" });
                (code, status.to_string())
            }
            Some(object) => (200, object.to_string()),
            None => missing(path),
        })
        .await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let connection = client::over(config).unwrap();
    (Authentications::new(&connection, "keda"), asked)
}

const QUEUE: Wanted<'_> = Wanted {
    kind: NAMESPACED,
    name: "queue",
    namespace: "shop",
    target: None,
    container: None,
};

/// The parameters in order, or why there are none.
async fn read(from: &Authentications, wanted: Wanted<'_>) -> Result<Vec<(String, String)>, String> {
    let parameters = from.read(wanted).await?;
    Ok(parameters.0.into_iter().collect())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn secrets_are_read_when_asked_and_once_for_each_question() {
    let objects = Objects::default();
    let (from, asked) = served(&objects).await;
    objects.authentication(&json!({ "secretTargetRef": [
        { "parameter": "username", "name": "credentials", "key": "user" },
        { "parameter": "password", "name": "credentials", "key": "pass" },
    ] }));
    objects.secret(
        "shop/credentials",
        &json!({ "user": "bWU=", "pass": "Zmlyc3QK" }),
    );
    let first = [pair("password", "first"), pair("username", "me")];
    assert_eq!(read(&from, QUEUE).await.unwrap(), first);
    assert_eq!(asked.lock().unwrap().len(), 2);
    objects.secret(
        "shop/credentials",
        &json!({ "user": "bWU=", "pass": "c2Vjb25k" }),
    );
    let second = [pair("password", "second"), pair("username", "me")];
    assert_eq!(read(&from, QUEUE).await.unwrap(), second);
    let shown = format!("{:?}", from.read(QUEUE).await.unwrap());
    assert_eq!(shown, r#"["password", "username"]"#);
}

#[tokio::test]
async fn a_cluster_object_means_the_secrets_of_keda_s_namespace() {
    let objects = Objects::default();
    let (from, _) = served(&objects).await;
    let path = "/apis/keda.sh/v1alpha1/clustertriggerauthentications/queue";
    let entries = json!([{ "parameter": "token", "name": "credentials", "key": "t" }]);
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": CLUSTER,
        "metadata": { "name": "queue" }, "spec": { "secretTargetRef": entries },
    });
    objects.put(path, object);
    objects.secret("shop/credentials", &json!({ "t": "c2hvcA==" }));
    let wanted = Wanted {
        kind: CLUSTER,
        ..QUEUE
    };
    assert_eq!(
        read(&from, wanted).await.unwrap_err(),
        "ClusterTriggerAuthentication queue: there is no Secret keda/credentials"
    );
    objects.secret("keda/credentials", &json!({ "t": "a2VkYQ==" }));
    assert_eq!(read(&from, wanted).await.unwrap(), [pair("token", "keda")]);
}

#[tokio::test]
async fn what_is_missing_or_forbidden_says_so_and_what_to_do() {
    let objects = Objects::default();
    let (from, _) = served(&objects).await;
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(
        error.starts_with("there is no TriggerAuthentication shop/queue; apply it"),
        "{error}"
    );
    let of = |name: &str| json!({ "secretTargetRef": [{ "parameter": "token", "name": name, "key": "t" }] });
    objects.authentication(&of("credentials"));
    let error = read(&from, QUEUE).await.unwrap_err();
    let told = "TriggerAuthentication shop/queue: there is no Secret shop/credentials";
    assert_eq!(error, told);
    let path = "/api/v1/namespaces/shop/secrets/credentials";
    objects.put(path, json!(403));
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(
        error.contains(
            "may not read Secret shop/credentials: set `rbac.secrets: [shop]` of the chart"
        ),
        "{error}"
    );
    objects.secret("shop/credentials", &json!({ "other": "eA==" }));
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(
        error.ends_with("Secret shop/credentials has no key `t`"),
        "{error}"
    );
    objects.secret("shop/credentials", &json!({ "t": "/w==" }));
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(
        error.ends_with("Secret shop/credentials is not UTF-8"),
        "{error}"
    );
    // What isn't the API's is never shown: it may be the secret.
    objects.put(path, json!({ "data": { "t": "not base64!" } }));
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(
        error.ends_with("shop/credentials can't be understood"),
        "{error}"
    );
    // A name leads to no other place of the API.
    objects.authentication(&of("../../keda/secrets/credentials"));
    let error = read(&from, QUEUE).await.unwrap_err();
    assert!(error.ends_with("is not the name of a Secret"), "{error}");
}

#[tokio::test]
async fn a_provider_that_isn_t_read_is_named() {
    let objects = Objects::default();
    let (from, asked) = served(&objects).await;
    for (spec, named) in [
        (
            json!({ "hashiCorpVault": { "address": "a" } }),
            "hashiCorpVault",
        ),
        (
            json!({ "azureKeyVault": { "vaultUri": "a" } }),
            "azureKeyVault",
        ),
        (
            json!({ "awsSecretManager": { "secrets": [] } }),
            "awsSecretManager",
        ),
        (
            json!({ "gcpSecretManager": { "secrets": [] } }),
            "gcpSecretManager",
        ),
        (
            json!({ "podIdentity": { "provider": "aws" } }),
            "podIdentity aws",
        ),
        (json!({ "filePath": "a.json" }), "filePath"),
        (
            json!({ "boundServiceAccountToken": [{}] }),
            "boundServiceAccountToken",
        ),
    ] {
        objects.authentication(&spec);
        let error = read(&from, QUEUE).await.unwrap_err();
        let told = format!("TriggerAuthentication shop/queue uses {named}, which this version");
        assert!(error.starts_with(&told), "{error}");
    }
    let secrets = |path: &String| path.contains("secrets");
    assert!(!asked.lock().unwrap().iter().any(secrets));
    objects.authentication(&json!({ "podIdentity": { "provider": "none" }, "env": [] }));
    assert_eq!(read(&from, QUEUE).await.unwrap(), []);
}

#[tokio::test]
async fn env_is_the_environment_of_the_target_s_container_as_its_pods_are_made() {
    let objects = Objects::default();
    let (from, _) = served(&objects).await;
    let kinds = json!({ "kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
        { "name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": [], "singularName": "" },
    ] });
    objects.put("/apis/apps/v1", kinds);
    let containers = json!([
        {
            "name": "proxy",
            "env": [{ "name": "TOKEN", "value": "of the proxy" }],
        },
        {
            "name": "web",
            "env": [
                { "name": "PLAIN", "value": "plain" },
                { "name": "MADE", "value": "$(PLAIN)!" },
                { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "credentials", "key": "t" } } },
            ],
            "envFrom": [{ "prefix": "Q_", "configMapRef": { "name": "settings" } }],
        },
    ]);
    let target = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "template": { "spec": { "containers": containers } } },
    });
    objects.put("/apis/apps/v1/namespaces/shop/deployments/web", target);
    objects.secret("shop/credentials", &json!({ "t": "c2VjcmV0" }));
    let settings = json!({ "metadata": { "name": "settings" }, "data": { "USER": "me" } });
    objects.put("/api/v1/namespaces/shop/configmaps/settings", settings);
    let reference = Reference {
        target: Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        },
        version: "v1".into(),
    };
    let wanted = Wanted {
        target: Some(&reference),
        ..QUEUE
    };
    let ask = async |name: &str, container: Option<&str>| {
        let entry = json!({ "parameter": "p", "name": name, "containerName": container });
        objects.authentication(&json!({ "env": [entry] }));
        let found = read(&from, wanted).await?;
        Ok::<String, String>(found[0].1.clone())
    };
    let web = Some("web");
    assert_eq!(ask("TOKEN", None).await.unwrap(), "of the proxy");
    assert_eq!(ask("TOKEN", web).await.unwrap(), "secret");
    // The policy's `envSourceContainerName` counts where `env` names none.
    let entry = json!({ "parameter": "p", "name": "TOKEN", "containerName": "" });
    objects.authentication(&json!({ "env": [entry] }));
    let of_policy = Wanted {
        container: web,
        ..wanted
    };
    assert_eq!(read(&from, of_policy).await.unwrap(), [pair("p", "secret")]);
    let entry = json!({ "parameter": "p", "name": "TOKEN", "containerName": "proxy" });
    objects.authentication(&json!({ "env": [entry] }));
    let stated = read(&from, of_policy).await.unwrap();
    assert_eq!(stated, [pair("p", "of the proxy")]);
    assert_eq!(ask("PLAIN", web).await.unwrap(), "plain");
    assert_eq!(ask("Q_USER", web).await.unwrap(), "me");
    for (name, container, why) in [
        (
            "MADE",
            web,
            "is made of other ones, which this version doesn't follow",
        ),
        (
            "NODE",
            web,
            "the variable `NODE` is known to the running pod alone",
        ),
        ("NONE", web, "the container `web` has no variable `NONE`"),
        (
            "TOKEN",
            Some("db"),
            "means the container `db`, which the target doesn't have",
        ),
    ] {
        let error = ask(name, container).await.unwrap_err();
        assert!(error.ends_with(why), "{error}");
    }
    let without = read(&from, QUEUE).await.unwrap_err();
    assert!(
        without.ends_with("`env` needs a target that has containers"),
        "{without}"
    );
}

#[tokio::test]
async fn a_config_map_is_read_too_and_a_secret_counts_more() {
    let objects = Objects::default();
    let (from, _) = served(&objects).await;
    let settings =
        json!({ "metadata": { "name": "settings" }, "data": { "u": "plain", "p": "old" } });
    objects.put("/api/v1/namespaces/shop/configmaps/settings", settings);
    objects.secret("shop/credentials", &json!({ "p": "bmV3" }));
    objects.authentication(&json!({
        "secretTargetRef": [{ "parameter": "password", "name": "credentials", "key": "p" }],
        "configMapTargetRef": [
            { "parameter": "username", "name": "settings", "key": "u" },
            { "parameter": "password", "name": "settings", "key": "p" },
        ],
    }));
    let both = [pair("password", "new"), pair("username", "plain")];
    assert_eq!(read(&from, QUEUE).await.unwrap(), both);
}
