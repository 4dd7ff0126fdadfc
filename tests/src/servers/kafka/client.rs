//! What a test tells a Kafka: topics, messages, and how far a group has got. Written and read
//! by another's hand than the source's own questions.

use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::servers::DEADLINE;

const TIMEOUT_MS: i32 = 10_000;

pub struct Client(TcpStream);

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn told(error: impl Display) -> String {
    error.to_string()
}

/// All of Kafka's errors.
fn sound(codes: impl IntoIterator<Item = i16>) -> Result<(), String> {
    let failed = codes.into_iter().find(|code| *code != 0);
    failed.map_or(Ok(()), |code| Err(format!("error {code} of Kafka's")))
}

impl Client {
    pub fn connect(port: u16) -> Result<Client, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(told)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(told)?;
        Ok(Client(stream))
    }

    fn ask<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
        &mut self,
        key: ApiKey,
        version: i16,
        question: &Q,
    ) -> Result<A, String> {
        let head = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut body = BytesMut::new();
        encode_request_header_into_buffer(&mut body, &head).map_err(told)?;
        question.encode(&mut body, version).map_err(told)?;
        let length = (body.len() as i32).to_be_bytes();
        self.0
            .write_all(&[&length[..], &body].concat())
            .map_err(told)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length).map_err(told)?;
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).map_err(told)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(told)?;
        A::decode(&mut answer, version).map_err(told)
    }

    pub fn coordinates(&mut self, group: &str) -> Result<(), String> {
        let question = FindCoordinatorRequest::default().with_key(text(group));
        let answer: FindCoordinatorResponse = self.ask(ApiKey::FindCoordinator, 3, &question)?;
        sound([answer.error_code])?;
        // One that has just started names itself before it knows what was committed.
        let question = OffsetFetchRequest::default()
            .with_group_id(text(group).into())
            .with_topics(None);
        let answer: OffsetFetchResponse = self.ask(ApiKey::OffsetFetch, 7, &question)?;
        sound([answer.error_code])
    }

    pub fn topics(&mut self) -> Result<Vec<String>, String> {
        let question = MetadataRequest::default().with_topics(None);
        let answer: MetadataResponse = self.ask(ApiKey::Metadata, 9, &question)?;
        let names = answer.topics.into_iter().filter_map(|topic| topic.name);
        Ok(names.map(|name| name.to_string()).collect())
    }

    pub fn create(&mut self, topic: &str, partitions: i32) -> Result<(), String> {
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let question = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS);
        let answer: CreateTopicsResponse = self.ask(ApiKey::CreateTopics, 5, &question)?;
        sound(answer.topics.iter().map(|topic| topic.error_code))
    }

    /// Whether it is said of each partition where it ends.
    pub fn ends(&mut self, topic: &str, partitions: i32) -> Result<(), String> {
        const NO_REPLICA: BrokerId = BrokerId(-1);
        const THE_END: i64 = -1;
        let partition = |index: i32| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(THE_END)
        };
        let topic = ListOffsetsTopic::default()
            .with_name(name(topic))
            .with_partitions((0..partitions).map(partition).collect());
        let question = ListOffsetsRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_topics(vec![topic]);
        let answer: ListOffsetsResponse = self.ask(ApiKey::ListOffsets, 5, &question)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        sound(partitions.map(|it| it.error_code))
    }

    pub fn delete(&mut self, topic: &str) -> Result<(), String> {
        let question = DeleteTopicsRequest::default()
            .with_topic_names(vec![name(topic)])
            .with_timeout_ms(TIMEOUT_MS);
        let answer: DeleteTopicsResponse = self.ask(ApiKey::DeleteTopics, 5, &question)?;
        sound(answer.responses.iter().map(|topic| topic.error_code))
    }

    pub fn produce(&mut self, topic: &str, partition: i32, count: usize) -> Result<(), String> {
        let record = |offset: usize| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: offset as i64,
            // As the library has it, those of one batch count up.
            sequence: offset as i32,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from_static(b"x")),
            headers: IndexMap::new(),
        };
        let records: Vec<_> = (0..count).map(record).collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        RecordBatchEncoder::encode(&mut batch, &records, &options).map_err(told)?;
        let partition = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.freeze()));
        let topic = TopicProduceData::default()
            .with_name(name(topic))
            .with_partition_data(vec![partition]);
        let question = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let answer: ProduceResponse = self.ask(ApiKey::Produce, 9, &question)?;
        let partitions = answer
            .responses
            .iter()
            .flat_map(|it| &it.partition_responses);
        sound(partitions.map(|it| it.error_code))
    }

    pub fn commit(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), String> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition]);
        let question = OffsetCommitRequest::default()
            .with_group_id(text(group).into())
            .with_topics(vec![topic]);
        let answer: OffsetCommitResponse = self.ask(ApiKey::OffsetCommit, 8, &question)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        sound(partitions.map(|it| it.error_code))
    }
}
