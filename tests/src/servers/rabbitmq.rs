//! A RabbitMQ with its management API.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::{Processes, await_ready, curl, free_ports};

const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
pub const USER: &str = "ann";
/// What an address has to encode.
pub const PASSWORD: &str = "p@/s";

pub struct RabbitMq {
    pub processes: Processes,
    folder: TempDir,
    ports: [u16; 4],
}

impl RabbitMq {
    /// Once it answers.
    pub fn start() -> Option<RabbitMq> {
        let mut server = RabbitMq {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            ports: free_ports(),
        };
        let [amqp, management, ..] = server.ports;
        // What happens counts within a second, in place of five.
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\ndefault_user = {USER}\n\
             default_pass = {PASSWORD}\ncollect_statistics_interval = 1000\n"
        );
        let folder = server.folder.path();
        fs::write(folder.join("rabbitmq.conf"), config).unwrap();
        fs::write(folder.join("plugins"), "[rabbitmq_management].\n").unwrap();
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let folder = self.folder.path();
        let [_, _, epmd, distribution] = self.ports;
        let mut command = Command::new(PROGRAM);
        command
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", "rabbit@localhost")
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        let runs = self.processes.start(&mut command, "rabbitmq-server");
        if runs {
            let url = format!("{}/api/overview", self.address());
            await_ready("RabbitMQ answers", &["-u", &user(), &url]);
        }
        runs
    }

    /// Of the management API.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    /// Makes a queue that outlives a stop, in the virtual host `/`.
    pub fn declare(&self, queue: &str) {
        let path = format!("queues/%2F/{queue}");
        self.call(&["-X", "PUT"], &path, r#"{"durable": true}"#);
    }

    /// Puts so many messages into it, one after the other.
    pub fn publish(&self, queue: &str, messages: u32) {
        let message = format!(
            r#"{{"properties": {{"delivery_mode": 2}}, "routing_key": "{queue}", "payload": "x",
                "payload_encoding": "string"}}"#
        );
        for _ in 0..messages {
            let said = self.call(&[], "exchanges/%2F/amq.default/publish", &message);
            assert!(said.contains("true"), "{said}");
        }
    }

    /// Takes so many out.
    pub fn consume(&self, queue: &str, messages: u32) {
        let count = format!(
            r#"{{"count": {messages}, "ackmode": "ack_requeue_false", "encoding": "auto"}}"#
        );
        self.call(&[], &format!("queues/%2F/{queue}/get"), &count);
    }

    fn call(&self, words: &[&str], path: &str, body: &str) -> String {
        let (user, url) = (user(), format!("{}/api/{path}", self.address()));
        let json = ["-H", "content-type: application/json", "-d", body];
        curl(&[words, &["-u", &user], &json, &[&url]].concat()).unwrap()
    }
}

fn user() -> String {
    format!("{USER}:{PASSWORD}")
}
