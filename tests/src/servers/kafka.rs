//! An Apache Kafka broker, in the clear, by password, over TLS, and over TLS with certificates
//! of both sides.

mod client;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use starling_kubernetes_rig::shell;
use tempfile::TempDir;

use super::{Processes, free_ports, is_startable};
use crate::servers::DEADLINE;
use client::Client;

/// As in tests/kafka/fetch.
const VERSION: &str = "4.1.1";
const JAVA: &str = "/usr/bin/java";
const PACKAGE: &str = "default-jre-headless";
/// Who may do everything.
pub const USER: &str = "ann";
/// Who may do nothing.
pub const STRANGER: &str = "bob";
/// Of both.
pub const PASSWORD: &str = "p@/s=1";

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Clear,
    /// By password.
    Sasl,
    Tls,
    /// By password and with certificates of both sides.
    Mutual,
}

pub struct Kafka {
    pub processes: Processes,
    folder: TempDir,
    programs: PathBuf,
    ports: [u16; 5],
}

impl Kafka {
    /// Once it answers, and coordinates groups. Keeps what it is told over a stop. `tls` is its
    /// certificate and the key, as PEM texts; who has that certificate is let in by it.
    pub fn start(tls: (&str, &str)) -> Option<Kafka> {
        let programs = starling_kubernetes_rig::cache()
            .unwrap()
            .join("kafka")
            .join(VERSION);
        if !programs.is_dir() {
            starling_faults::leave_out("`tests/kafka/fetch` lets this test ask a Kafka");
            return None;
        }
        let mut server = Kafka {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            programs,
            ports: free_ports(),
        };
        if !is_startable(JAVA.as_ref(), PACKAGE) {
            return None;
        }
        server.prepare(tls);
        server.resume().then_some(server)
    }

    fn prepare(&self, (certificate, key): (&str, &str)) {
        let folder = self.folder.path().display();
        let file = |name: &str, text: &str| {
            fs::write(self.folder.path().join(name), text).unwrap();
        };
        file("own.pem", &format!("{key}{certificate}"));
        file("known.pem", certificate);
        let [clear, sasl, tls, mutual, controller] = self.ports;
        let listeners = format!(
            "CLEAR://127.0.0.1:{clear},SASL://127.0.0.1:{sasl},TLS://localhost:{tls},\
             MUTUAL://localhost:{mutual}"
        );
        let by_password = |name: &str| {
            let modules = "org.apache.kafka.common.security";
            format!(
                "listener.name.{name}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule \
                 required user_{USER}=\"{PASSWORD}\" user_{STRANGER}=\"{PASSWORD}\";\n\
                 listener.name.{name}.scram-sha-256.sasl.jaas.config=\
                 {modules}.scram.ScramLoginModule required;\n\
                 listener.name.{name}.scram-sha-512.sasl.jaas.config=\
                 {modules}.scram.ScramLoginModule required;\n"
            )
        };
        let (plain, safe) = (by_password("sasl"), by_password("mutual"));
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={listeners}\n\
             listener.security.protocol.map=CLEAR:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,\
             MUTUAL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=CLEAR\ncontroller.listener.names=CONTROLLER\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n{plain}{safe}\
             ssl.keystore.type=PEM\nssl.keystore.location={folder}/own.pem\n\
             ssl.truststore.type=PEM\nssl.truststore.location={folder}/known.pem\n\
             listener.name.mutual.ssl.client.auth=required\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:{USER};User:ANONYMOUS\n\
             log.dirs={folder}/data\noffsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             share.coordinator.state.topic.replication.factor=1\n"
        );
        file("server.properties", &settings);
        let mut format = self.java("kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg"]);
        format
            .arg("--config")
            .arg(self.folder.path().join("server.properties"));
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            for user in [USER, STRANGER] {
                let known = format!("{mechanism}=[name=\"{user}\",password=\"{PASSWORD}\"]");
                format.args(["--add-scram", &known]);
            }
        }
        shell::finish(&mut format, "", DEADLINE).unwrap();
    }

    /// Small, and quick to start.
    fn java(&self, class: &str) -> Command {
        let mut command = Command::new(JAVA);
        command.args(["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC"]);
        command.args(["-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(self.programs.join("*")).arg(class);
        command
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let mut command = self.java("kafka.Kafka");
        command.arg(self.folder.path().join("server.properties"));
        let runs = self.processes.start(&mut command, PACKAGE);
        if runs {
            let answers = || self.client()?.coordinates("any");
            shell::until("Kafka answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    /// As its certificate's name has it, and the port.
    pub fn address(&self, way: Way) -> String {
        format!("localhost:{}", self.ports[way as usize])
    }

    fn client(&self) -> Result<Client, String> {
        Client::connect(self.ports[0])
    }

    /// Makes a topic; when this returns, all its partitions are led.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.client().unwrap().create(topic, partitions).unwrap();
        let led = || self.client()?.ends(topic, partitions);
        shell::until("all partitions are led", DEADLINE, led).unwrap();
    }

    pub fn delete(&self, topic: &str) {
        self.client().unwrap().delete(topic).unwrap();
    }

    /// Whether there is one.
    pub fn has(&self, topic: &str) -> bool {
        self.client()
            .unwrap()
            .topics()
            .unwrap()
            .contains(&topic.to_owned())
    }

    /// Puts so many messages into a partition.
    pub fn produce(&self, topic: &str, partition: i32, messages: usize) {
        let produced = || self.client()?.produce(topic, partition, messages);
        shell::until("messages are taken", DEADLINE, produced).unwrap();
    }

    /// A group, of which nobody is there now, has done so many of a partition.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let committed = || self.client()?.commit(group, topic, partition, offset);
        shell::until("it is committed", DEADLINE, committed).unwrap();
    }
}
