//! Triggers, each by its type.

use starling_policy::schema::TRIGGER_TYPES;

use super::{AMOUNT, Rule, above_zero};

const AT: &str = "triggers[]";
/// Of these KEDA wants a `metricType`.
const RESOURCE: &str = "self.type in ['cpu', 'memory']";
/// What agents measure.
const MEASURED: &str = "self.type in ['cpu', 'memory', 'gpu', 'gpu-memory', 'disk', 'network', \
                        'psi', 'throttling']";

/// A path to what holds a text; the agent's own check says why no more is allowed.
const ONE_TEXT: &str = r#"^([^*%!=<>"\\\\()]*[.|])?#[(][^*%!=<>"\\\\()]*!?%"[*][^*%!=<>"\\\\()]*[*]"[)]#?([.|][^*%!=<>"\\\\()]*)?$"#;

pub(super) fn rules() -> Vec<Rule> {
    let quoted: Vec<String> = TRIGGER_TYPES.iter().map(|it| format!("'{it}'")).collect();
    let mut rules = vec![
        Rule::new(
            AT,
            format!("self.type in [{}]", quoted.join(", ")),
            format!("is not known; allowed: {}", TRIGGER_TYPES.join(", ")),
        )
        .blames(".type"),
        Rule::new(
            AT,
            "!has(self.name) || \
             self.name.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[A-Za-z_][A-Za-z0-9_]*)$')",
            "is not a name: only a-z, 0-9 and -, beginning and ending with a letter or digit; or \
             letters, digits and _",
        )
        .blames(".name"),
        Rule::new(
            AT,
            format!(
                "!({RESOURCE}) || (has(self.metricType) && \
                 self.metricType in ['Utilization', 'AverageValue'])"
            ),
            "cpu and memory need metricType: Utilization (percent of the requests) or \
             AverageValue (amount for each replica)",
        ),
        Rule::new(
            AT,
            format!("({MEASURED}) || !has(self.metricType) || self.metricType != 'Utilization'"),
            "must be AverageValue or Value: only what agents measure has a utilization",
        )
        .blames(".metricType"),
        Rule::new(
            AT,
            format!("!({MEASURED}) || !has(self.metricType) || self.metricType != 'Value'"),
            "must be Utilization or AverageValue: what agents measure is of each replica",
        )
        .blames(".metricType"),
    ];
    rules.extend(resource());
    rules.extend(metrics_api());
    rules.extend(prometheus());
    rules.extend(rabbitmq());
    rules.extend(redis());
    rules.extend(nats());
    rules.extend(kafka());
    rules.extend(postgresql());
    rules.extend(kubernetes_workload());
    rules.extend(mysql());
    rules.extend(external());
    rules.extend(cron());
    rules
}

fn resource() -> Vec<Rule> {
    let of = |metric_type: &str, then: &str| {
        format!(
            "!({MEASURED}) || !has(self.metricType) || self.metricType != '{metric_type}' || \
             !('value' in self.metadata) || ({then})"
        )
    };
    let percent = "self.metadata['value'].matches('^[0-9]{1,6}$') && \
                   int(self.metadata['value']) >= 1 && int(self.metadata['value']) <= 100000";
    vec![
        Rule::new(
            AT,
            format!("!({MEASURED}) || 'value' in self.metadata"),
            "what agents measure needs value: what the replicas' usage is held against",
        )
        .blames(".metadata"),
        Rule::new(
            AT,
            format!(
                "!({MEASURED}) || self.metadata.all(k, \
                 k in ['value', 'containerName', 'window', 'of', 'what'])"
            ),
            "what agents measure knows only value, containerName, window, of and what",
        )
        .blames(".metadata"),
        Rule::new(
            AT,
            of("Utilization", percent),
            "value must be a whole number of percent without a sign, 1 to 100000",
        )
        .blames(".metadata"),
        Rule::new(
            AT,
            of("AverageValue", &above_zero("self.metadata['value']")),
            format!("value {AMOUNT}"),
        )
        .blames(".metadata"),
    ]
}

/// That a trigger has another type: than this one, or than these with commas between.
fn other(kinds: &str) -> String {
    if kinds.contains(',') {
        let quoted: Vec<String> = kinds.split(", ").map(|it| format!("'{it}'")).collect();
        format!("!(self.type in [{}])", quoted.join(", "))
    } else {
        format!("self.type != '{kinds}'")
    }
}

/// A setting that triggers of this type, or of these, have to have.
fn needed(kinds: &str, key: &str, what: &str) -> Rule {
    let is_other = other(kinds);
    let plural = if kinds.contains(',') { "need" } else { "needs" };
    Rule::new(
        AT,
        format!("{is_other} || '{key}' in self.metadata"),
        format!("{kinds} {plural} {key}: {what}"),
    )
    .blames(".metadata")
}

fn metrics_api() -> Vec<Rule> {
    let need = |key, what| needed("metrics-api", key, what);
    vec![
        need("url", "where to ask"),
        need(
            "valueLocation",
            "where the number stands in the answer, such as queue.waiting",
        ),
        Rule::new(
            AT,
            format!(
                "self.type != 'metrics-api' || !('valueLocation' in self.metadata) || \
                 ('format' in self.metadata && self.metadata['format'] != 'json') || \
                 !self.metadata['valueLocation'].matches('[*][^*]*[*]') || \
                 self.metadata['valueLocation'].matches('{ONE_TEXT}')"
            ),
            "valueLocation may hold one `*`, or two around a text as in `#(name%\"*text*\")`",
        )
        .blames(".metadata"),
        target("metrics-api", "targetValue"),
        activation("metrics-api", "activationTargetValue"),
    ]
}

fn prometheus() -> Vec<Rule> {
    let need = |key, what| needed("prometheus", key, what);
    vec![
        need("serverAddress", "where to ask"),
        need("query", "what to ask, with one series for an answer"),
        target("prometheus", "threshold"),
        activation("prometheus", "activationThreshold"),
    ]
}

fn rabbitmq() -> Vec<Rule> {
    vec![
        needed("rabbitmq", "queueName", "the queue that is looked at"),
        Rule::new(
            AT,
            "self.type != 'rabbitmq' || 'queueLength' in self.metadata || \
             ('mode' in self.metadata) == ('value' in self.metadata)",
            "rabbitmq: mode and value go together",
        )
        .blames(".metadata"),
        target("rabbitmq", "value"),
        target("rabbitmq", "queueLength"),
        activation("rabbitmq", "activationValue"),
    ]
}

/// A `lagCount` of 0 is none, as with KEDA.
fn redis() -> Vec<Rule> {
    const KEY: &str = "redis, redis-sentinel, redis-cluster";
    const STREAM: &str = "redis-streams, redis-sentinel-streams, redis-cluster-streams";
    vec![
        needed(KEY, "listName", "the key that is counted"),
        target(KEY, "listLength"),
        activation(KEY, "activationListLength"),
        needed(STREAM, "stream", "the stream that is looked at"),
        target(STREAM, "streamLength"),
        target(STREAM, "pendingEntriesCount"),
        activation(STREAM, "lagCount"),
        activation(STREAM, "activationLagCount"),
    ]
}

fn nats() -> Vec<Rule> {
    let need = |key, what| needed("nats-jetstream", key, what);
    vec![
        need("natsServerMonitoringEndpoint", "where to ask, as HOST:PORT"),
        need("stream", "the stream that is looked at"),
        need("consumer", "whose lag counts"),
        target("nats-jetstream", "lagThreshold"),
        activation("nats-jetstream", "activationLagThreshold"),
    ]
}

fn kafka() -> Vec<Rule> {
    let need = |key, what| needed("kafka", key, what);
    vec![
        need("bootstrapServers", "where to ask, as HOST:PORT,HOST:PORT"),
        need("consumerGroup", "whose lag counts"),
        target("kafka", "lagThreshold"),
        activation("kafka", "activationLagThreshold"),
    ]
}

fn postgresql() -> Vec<Rule> {
    vec![
        needed(
            "postgresql",
            "query",
            "what to ask, with one number for an answer",
        ),
        target("postgresql", "targetQueryValue"),
        activation("postgresql", "activationTargetQueryValue"),
    ]
}

fn kubernetes_workload() -> Vec<Rule> {
    vec![
        needed(
            "kubernetes-workload",
            "podSelector",
            "whose pods are counted",
        ),
        target("kubernetes-workload", "value"),
        activation("kubernetes-workload", "activationValue"),
    ]
}

fn mysql() -> Vec<Rule> {
    vec![
        needed(
            "mysql",
            "query",
            "what to ask, with one number for an answer",
        ),
        target("mysql", "queryValue"),
        activation("mysql", "activationQueryValue"),
    ]
}

/// What the value is held against says the server.
fn external() -> Vec<Rule> {
    let need = |kind| needed(kind, "scalerAddress", "where to ask, as HOST:PORT");
    vec![need("external"), need("external-push")]
}

/// What a value that is asked for is held against.
fn target(kinds: &str, key: &str) -> Rule {
    Rule::new(
        AT,
        format!(
            "{} || !('{key}' in self.metadata) || ({})",
            other(kinds),
            above_zero(&format!("self.metadata['{key}']"))
        ),
        format!("{key} {AMOUNT}"),
    )
    .blames(".metadata")
}

/// Above this the workload is to run at all.
fn activation(kinds: &str, key: &str) -> Rule {
    Rule::new(
        AT,
        format!(
            "{} || !('{key}' in self.metadata) || \
             (isQuantity(self.metadata['{key}']) && \
             quantity(self.metadata['{key}']).compareTo(quantity('0')) >= 0)",
            other(kinds)
        ),
        format!("{key} must be an amount that isn't negative"),
    )
    .blames(".metadata")
}

fn cron() -> Vec<Rule> {
    let need = |key, what| needed("cron", key, what);
    vec![
        need("timezone", "such as Europe/Berlin or Etc/UTC"),
        need("start", "when the window opens, such as 0 8 * * 1-5"),
        need("end", "when it closes, such as 0 18 * * 1-5"),
        need("desiredReplicas", "how many are wanted within it"),
        Rule::new(
            AT,
            "self.type != 'cron' || self.metadata.all(k, \
             k in ['timezone', 'start', 'end', 'desiredReplicas'])",
            "cron knows only timezone, start, end and desiredReplicas",
        )
        .blames(".metadata"),
        // Blanks around it are no fault.
        Rule::new(
            AT,
            "self.type != 'cron' || !('desiredReplicas' in self.metadata) || \
             self.metadata['desiredReplicas'].matches('^\\\\s*[+]?0*[1-9][0-9]{0,5}\\\\s*$')",
            "desiredReplicas must be a whole number, 1 to 100000",
        )
        .blames(".metadata"),
        Rule::new(
            AT,
            "self.type != 'cron' || !('start' in self.metadata) || \
             !('end' in self.metadata) || self.metadata['start'] != self.metadata['end']",
            "end must not be the same as start",
        )
        .blames(".metadata"),
        Rule::new(
            AT,
            "self.type != 'cron' || !has(self.metricType) || self.metricType == 'AverageValue'",
            "must be AverageValue, or left out: a calendar wants so many replicas",
        )
        .blames(".metricType"),
    ]
}
