//! What comes of the documented forms of HPAs and `ScaledObject`s, and of odd ones.

mod documented;
mod page;

use super::*;

/// Reads one text.
fn import(text: &str) -> Import {
    let mut import = Import::default();
    import.read("web.yaml", text);
    import
}

/// The one policy that comes of a text, without a warning.
#[track_caller]
fn clean(text: &str) -> String {
    let mut import = import(text);
    assert_eq!(import.warnings, [], "of\n{text}");
    assert_eq!(import.policies.len(), 1, "of\n{text}");
    import.policies.remove(0).yaml
}

/// The warnings that a text gives, one line for each.
fn warnings(text: &str) -> Vec<String> {
    let import = import(text);
    import.warnings.iter().map(ToString::to_string).collect()
}

fn scaled_object(spec: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: web\n  namespace: \
         shop\nspec:\n{spec}"
    )
}

fn hpa(spec: &str) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: web\n  \
         namespace: shop\nspec:\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: \
         web}}\n  maxReplicas: 9\n{spec}"
    )
}

const API: &str = "    - type: metrics-api\n      metadata: {url: 'http://q/', valueLocation: n, \
                   targetValue: '5'}\n";

#[test]
fn an_hpa_becomes_a_policy_with_its_own_metrics_and_behavior() {
    let yaml = clean(&hpa(
        "  minReplicas: 2\n  metrics:\n    - {type: Resource, resource: {name: cpu, target: {type: \
         Utilization, averageUtilization: 70}}}\n  behavior: {scaleDown: \
         {stabilizationWindowSeconds: 60, selectPolicy: null}}\n",
    ));
    assert_eq!(
        yaml,
        "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: web
  namespace: shop
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  minReplicaCount: 2
  maxReplicaCount: 9
  metrics:
  - resource:
      name: cpu
      target:
        averageUtilization: 70
        type: Utilization
    type: Resource
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 60
"
    );
}

#[test]
fn an_hpa_without_metrics_or_a_minimum_gets_the_defaults_of_hpas() {
    let yaml = clean(&hpa(""));
    assert!(yaml.contains("minReplicaCount: 1\n"), "{yaml}");
    assert!(yaml.contains("averageUtilization: 80\n"), "{yaml}");
}

#[test]
fn a_scaled_object_becomes_a_policy_that_asks_as_often_as_keda_and_its_hpa_do() {
    let yaml = clean(&scaled_object(&format!(
        "  scaleTargetRef: {{name: web}}\n  triggers:\n{API}"
    )));
    assert_eq!(
        yaml,
        "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: web
  namespace: shop
spec:
  scaleTargetRef:
    kind: Deployment
    name: web
  pollingInterval: 15
  triggers:
  - type: metrics-api
    metadata:
      targetValue: \"5\"
      url: \"http://q/\"
      valueLocation: \"n\"
"
    );
    let polled = |spec: &str, cached: &str| {
        let yaml = clean(&scaled_object(&format!(
            "  scaleTargetRef: {{name: web}}\n{spec}  triggers:\n{API}{cached}"
        )));
        let line = yaml.lines().find(|line| line.contains("pollingInterval"));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(polled("  pollingInterval: 5\n", ""), "pollingInterval: 5");
    assert_eq!(polled("  pollingInterval: 60\n", ""), "pollingInterval: 15");
    let cached = "      useCachedMetrics: true\n";
    assert_eq!(
        polled("  pollingInterval: 60\n", cached),
        "pollingInterval: 60"
    );
    assert_eq!(polled("", cached), "pollingInterval: 30");
}

#[test]
fn sizes_waits_fallback_pauses_and_behavior_are_taken_as_they_are() {
    let yaml = clean(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata:\n  name: web\n  labels: {team: \
         a, app.kubernetes.io/managed-by: Helm}\n  annotations: \
         {autoscaling.keda.sh/paused-replicas: '3', other: x}\nspec:\n  scaleTargetRef: \
         {apiVersion: apps/v1, kind: StatefulSet, name: db}\n  minReplicaCount: 2\n  \
         maxReplicaCount: 8\n  idleReplicaCount: 0\n  cooldownPeriod: 60\n  \
         initialCooldownPeriod: 30\n  fallback: {failureThreshold: 3, replicas: 4, behavior: \
         currentReplicas}\n  advanced: {horizontalPodAutoscalerConfig: {name: x, behavior: \
         {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 30}]}}}}\n  triggers:\n    - \
         {type: cpu, name: My_CPU, metadata: {type: Utilization, value: '60'}}\n    - {type: \
         metrics-api, metadata: {url: 'http://q/', valueLocation: n, targetValue: '5'}}\n",
    );
    assert_eq!(
        yaml,
        "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: web
  labels:
    team: \"a\"
  annotations:
    autoscaling.keda.sh/paused-replicas: \"3\"
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: StatefulSet
    name: db
  minReplicaCount: 2
  maxReplicaCount: 8
  idleReplicaCount: 0
  pollingInterval: 15
  cooldownPeriod: 60
  initialCooldownPeriod: 30
  triggers:
  - type: cpu
    name: my-cpu
    metricType: Utilization
    metadata:
      value: \"60\"
  - type: metrics-api
    metadata:
      targetValue: \"5\"
      url: \"http://q/\"
      valueLocation: \"n\"
  fallback:
    failureThreshold: 3
    replicas: 4
    behavior: currentReplicas
  behavior:
    scaleUp:
      policies:
      - periodSeconds: 30
        type: Pods
        value: 1
"
    );
}

/// As KEDA's own pages write it.
#[test]
fn what_keda_ignores_of_cpu_and_memory_is_left_out() {
    let policy = clean(&scaled_object(
        "  scaleTargetRef: {name: web, envSourceContainerName: app}\n  triggers:\n  - type: cpu\n    \
         metricType: Utilization\n    metadata: {type: Utilization, value: '50', activationValue: \
         '30', containerName: ''}\n  - type: memory\n    metadata: {type: AverageValue, value: \
         64Mi, activationValue: '1', containerName: foo}\n",
    ));
    let expected = "  scaleTargetRef:\n    kind: Deployment\n    name: web\n    \
                    envSourceContainerName: app\n";
    assert!(policy.contains(expected), "{policy}");
    assert!(!policy.contains("activation"), "{policy}");
    assert_eq!(policy.matches("containerName: ").count(), 1, "{policy}");
}

#[test]
fn a_formula_its_names_and_who_asks_are_taken_as_they_are() {
    let yaml = clean(&scaled_object(
        "  scaleTargetRef: {name: web}\n  fallback: {failureThreshold: 3, replicas: 4, behavior: \
         scalingModifiers}\n  advanced:\n    scalingModifiers:\n      formula: trig_One + (two ?? \
         5)\n      target: '2.5'\n      activationTarget: '1'\n      metricType: Value\n  \
         triggers:\n    - type: metrics-api\n      name: trig_One\n      metadata: {url: \
         'http://q/', valueLocation: n, authMode: bearer}\n      authenticationRef: {name: a, \
         kind: ClusterTriggerAuthentication}\n    - type: metrics-api\n      name: two\n      \
         metadata: {url: 'http://q/', valueLocation: m}\n      authenticationRef: {name: b}\n",
    ));
    for kept in [
        "  - type: metrics-api\n    name: trig_One\n",
        "    authenticationRef:\n      name: a\n      kind: ClusterTriggerAuthentication\n",
        "    authenticationRef:\n      name: b\n  scalingModifiers:\n    formula: \"trig_One + (two ?? 5)\"\n",
        "    target: \"2.5\"\n    activationTarget: \"1\"\n    metricType: Value\n",
        "    behavior: scalingModifiers\n",
    ] {
        assert!(yaml.contains(kept), "{kept}\nin\n{yaml}");
    }
}

#[test]
fn a_formula_of_a_trigger_that_is_left_out_makes_no_policy() {
    let import = import(&scaled_object(
        "  scaleTargetRef: {name: web}\n  advanced: {scalingModifiers: {formula: a + b, target: \
         '1'}}\n  triggers:\n    - {type: aws-sqs-queue, name: a, metadata: {topic: a}}\n    - {type: \
         cron, name: b, metadata: {timezone: Etc/UTC, start: 0 8 * * *, end: 0 9 * * *, \
         desiredReplicas: '1'}}\n",
    ));
    assert_eq!(import.policies, []);
    let last = import.warnings.last().unwrap().to_string();
    assert!(last.contains("names `a`, which is no trigger"), "{last}");
}

#[test]
fn what_usage_alone_can_t_wake_is_kept_at_one() {
    let import = import(&scaled_object(
        "  scaleTargetRef: {name: web}\n  minReplicaCount: 0\n  triggers:\n    - {type: aws-sqs-queue, \
         metadata: {topic: a}}\n    - {type: cpu, metricType: Utilization, metadata: {value: \
         '60'}}\n",
    ));
    assert_eq!(import.warnings.len(), 2);
    assert_eq!(import.warnings[1].field, "spec.minReplicaCount");
    let yaml = &import.policies[0].yaml;
    assert!(yaml.contains("minReplicaCount: 1\n"), "{yaml}");
}

#[test]
fn what_has_no_equivalent_is_named_with_its_place_and_what_to_do() {
    assert_eq!(
        warnings(&scaled_object(&format!(
            "  scaleTargetRef: {{name: web}}\n  advanced:\n    restoreToOriginalReplicaCount: \
             true\n  newField: 1\n  triggers:\n    - {{type: aws-sqs-queue, metadata: {{topic: a}}}}\n{API}"
        ))),
        [
            "web.yaml:10:3: ScaledObject shop/web: spec.newField: isn't known to this version, and \
             is left out",
            "web.yaml:9:36: ScaledObject shop/web: spec.advanced.restoreToOriginalReplicaCount: has \
             no equivalent: a workload keeps the size that it has when its policy is removed; set \
             the size that you want after it with `kubectl scale`",
            "web.yaml:12:14: ScaledObject shop/web: spec.triggers[0].type: `aws-sqs-queue` isn't a type of \
             trigger in this version, and is left out; if an adapter has its value in \
             external.metrics.k8s.io, write it as an `External` metric",
        ]
    );
}

#[test]
fn a_policy_without_any_measure_left_is_told_and_not_printed() {
    let import = import(&scaled_object(
        "  scaleTargetRef: {name: web}\n  triggers:\n    - {type: aws-sqs-queue, metadata: {topic: a}}\n",
    ));
    assert_eq!(import.policies, []);
    assert_eq!(import.found, 1);
    let last = import.warnings.last().unwrap().to_string();
    assert_eq!(
        last,
        "web.yaml:1:1: ScaledObject shop/web: isn't converted: nothing is left of it that this \
         version can measure"
    );
}

#[test]
fn a_measure_that_a_policy_can_t_have_is_left_out_by_its_own_name() {
    let text = hpa(
        "  metrics:\n    - {type: Resource, resource: {name: cpu, target: {type: Utilization, \
         averageUtilization: 70}}}\n    - {type: Resource, resource: {name: ephemeral-storage, \
         target: {type: AverageValue, averageValue: 1Gi}}}\n",
    );
    let import = import(&text);
    assert_eq!(import.policies.len(), 1);
    let warning = import.warnings[0].to_string();
    assert!(
        warning.starts_with(
            "web.yaml:11:41: HorizontalPodAutoscaler shop/web: spec.metrics[1].resource.name: \
             `ephemeral-storage` is not known; allowed: "
        ) && warning.ends_with("; this metric is left out"),
        "{warning}"
    );
}

#[test]
fn an_object_that_contradicts_itself_is_refused_with_the_reason() {
    assert_eq!(
        warnings(&scaled_object(&format!(
            "  scaleTargetRef: {{name: web}}\n  minReplicaCount: 5\n  maxReplicaCount: 3\n  \
             triggers:\n{API}"
        ))),
        [
            "web.yaml:1:1: ScaledObject shop/web: isn't converted: spec.minReplicaCount: is 5, more \
             than spec.maxReplicaCount, 3"
        ]
    );
    assert_eq!(
        warnings(&scaled_object(
            "  scaleTargetRef: {nam: web}\n  triggers: 5\n"
        )),
        [
            "web.yaml:7:19: ScaledObject shop/web: isn't converted: spec.scaleTargetRef: `name` is \
             missing",
            "web.yaml:7:20: ScaledObject shop/web: spec.scaleTargetRef.nam: isn't known to this \
             version, and is left out",
            "web.yaml:8:13: ScaledObject shop/web: isn't converted: spec.triggers: must be a list",
        ]
    );
}

#[test]
fn lists_and_several_documents_are_read_and_other_kinds_passed_over() {
    let list = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: x}}\n---\napiVersion: v1\nkind: \
         List\nitems:\n  - apiVersion: v1\n    kind: ConfigMap\n  - {}\n---\n{}",
        hpa("").replace('\n', "\n    "),
        scaled_object(&format!(
            "  scaleTargetRef: {{name: other}}\n  triggers:\n{API}"
        ))
        .replace("name: web", "name: other")
    );
    let import = import(&list);
    assert_eq!(import.warnings, []);
    let from: Vec<&str> = import.policies.iter().map(|it| it.from.as_str()).collect();
    assert_eq!(
        from,
        [
            "HorizontalPodAutoscaler shop/web",
            "ScaledObject shop/other"
        ]
    );
}

#[test]
fn an_object_that_says_something_twice_is_not_converted_and_a_list_of_two_lists_is_told() {
    let twice = scaled_object(&format!(
        "  scaleTargetRef: {{name: web}}\n  minReplicaCount: 1\n  minReplicaCount: 2\n  \
         maxReplicaCount: x\n  triggers:\n{API}"
    ));
    let told = warnings(&twice);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].contains("minReplicaCount: is written in line 8 already"),
        "{told:#?}"
    );
    assert!(
        told[1].contains("maxReplicaCount: must be a whole number"),
        "{told:#?}"
    );
    let list = "apiVersion: v1\nkind: List\nitems: []\nitems: []\n";
    assert_eq!(warnings(list).len(), 1);
}

#[test]
fn an_hpa_that_keda_made_is_left_to_its_scaled_object() {
    let text = hpa("").replace(
        "  name: web\n  namespace",
        "  name: keda-hpa-web\n  ownerReferences:\n    - {apiVersion: keda.sh/v1alpha1, kind: \
         ScaledObject, name: web, uid: x}\n  namespace",
    );
    let import = import(&text);
    assert_eq!((import.found, import.policies.len()), (0, 0));
    assert_eq!(import.warnings, []);
    assert_eq!(
        import.notes,
        [
            "HorizontalPodAutoscaler shop/keda-hpa-web is made by KEDA for ScaledObject web, which is \
          what is converted"
        ]
    );
}

#[test]
fn two_objects_never_become_policies_of_one_name_or_one_target() {
    let both = format!(
        "{}---\n{}",
        hpa(""),
        scaled_object(&format!(
            "  scaleTargetRef: {{name: web}}\n  triggers:\n{API}"
        ))
    );
    let import = import(&both);
    assert_eq!(import.policies.len(), 1);
    assert_eq!(
        import.warnings[0].why,
        "isn't converted: HorizontalPodAutoscaler shop/web has the name shop/web already; keep one \
         of the two, or change this one and convert it by itself"
    );
}

#[test]
fn a_text_that_isn_t_yaml_is_told_and_the_others_are_read() {
    let import = import(&format!("a: [\n---\n{}", hpa("")));
    assert_eq!(import.policies.len(), 1);
    assert!(import.warnings[0].to_string().starts_with("web.yaml:"));
}
