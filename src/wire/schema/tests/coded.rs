//! Every request that `kafka-protocol` can code, for tests and fuzz targets.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, VersionRange};

/// How the crate codes one request.
pub struct Coded {
    /// Which one.
    pub api: ApiKey,
    /// The versions that it codes.
    pub versions: VersionRange,
    /// Size of its structure.
    pub size: usize,
    /// Decodes; gives the bytes that were left.
    pub decode: fn(i16, Bytes) -> Result<usize, String>,
    /// Decodes, encodes and decodes again; gives the bytes that were left.
    pub round_trip: fn(i16, Bytes) -> Result<usize, String>,
    /// The default request, where the version can carry it.
    pub default: fn(i16) -> Option<Bytes>,
}

fn decode<T: Decodable>(version: i16, mut bytes: Bytes) -> Result<usize, String> {
    T::decode(&mut bytes, version).map_err(|error| error.to_string())?;
    Ok(bytes.len())
}

fn round_trip<T: Decodable + Encodable + PartialEq>(version: i16, mut bytes: Bytes) -> Result<usize, String> {
    let decoded = T::decode(&mut bytes, version).map_err(|error| error.to_string())?;
    // Values that a version does not carry are defaults; encoding may only fail for one that the crate's default is not.
    let mut encoded = BytesMut::new();
    if decoded.encode(&mut encoded, version).is_ok() {
        let again = T::decode(&mut encoded, version).map_err(|error| error.to_string())?;
        if again != decoded {
            return Err("it does not read back".to_owned());
        }
    }
    Ok(bytes.len())
}

fn default<T: Default + Encodable>(version: i16) -> Option<Bytes> {
    let mut encoded = BytesMut::new();
    T::default().encode(&mut encoded, version).ok()?;
    Some(encoded.freeze())
}

macro_rules! coded {
    ($($api:ident: $request:ty),* $(,)?) => {
        /// All of them.
        pub const CODED: &[Coded] = &[$(Coded {
            api: ApiKey::$api,
            versions: <$request>::VERSIONS,
            size: size_of::<$request>(),
            decode: decode::<$request>,
            round_trip: round_trip::<$request>,
            default: default::<$request>,
        }),*];
    };
}

coded! {
    Produce: ProduceRequest,
    Fetch: FetchRequest,
    ListOffsets: ListOffsetsRequest,
    Metadata: MetadataRequest,
    OffsetCommit: OffsetCommitRequest,
    OffsetFetch: OffsetFetchRequest,
    FindCoordinator: FindCoordinatorRequest,
    JoinGroup: JoinGroupRequest,
    Heartbeat: HeartbeatRequest,
    LeaveGroup: LeaveGroupRequest,
    SyncGroup: SyncGroupRequest,
    DescribeGroups: DescribeGroupsRequest,
    ListGroups: ListGroupsRequest,
    SaslHandshake: SaslHandshakeRequest,
    ApiVersions: ApiVersionsRequest,
    CreateTopics: CreateTopicsRequest,
    DeleteTopics: DeleteTopicsRequest,
    DeleteRecords: DeleteRecordsRequest,
    InitProducerId: InitProducerIdRequest,
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest,
    AddPartitionsToTxn: AddPartitionsToTxnRequest,
    AddOffsetsToTxn: AddOffsetsToTxnRequest,
    EndTxn: EndTxnRequest,
    WriteTxnMarkers: WriteTxnMarkersRequest,
    TxnOffsetCommit: TxnOffsetCommitRequest,
    DescribeAcls: DescribeAclsRequest,
    CreateAcls: CreateAclsRequest,
    DeleteAcls: DeleteAclsRequest,
    DescribeConfigs: DescribeConfigsRequest,
    AlterConfigs: AlterConfigsRequest,
    AlterReplicaLogDirs: AlterReplicaLogDirsRequest,
    DescribeLogDirs: DescribeLogDirsRequest,
    SaslAuthenticate: SaslAuthenticateRequest,
    CreatePartitions: CreatePartitionsRequest,
    CreateDelegationToken: CreateDelegationTokenRequest,
    RenewDelegationToken: RenewDelegationTokenRequest,
    ExpireDelegationToken: ExpireDelegationTokenRequest,
    DescribeDelegationToken: DescribeDelegationTokenRequest,
    DeleteGroups: DeleteGroupsRequest,
    ElectLeaders: ElectLeadersRequest,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
    AlterPartitionReassignments: AlterPartitionReassignmentsRequest,
    ListPartitionReassignments: ListPartitionReassignmentsRequest,
    OffsetDelete: OffsetDeleteRequest,
    DescribeClientQuotas: DescribeClientQuotasRequest,
    AlterClientQuotas: AlterClientQuotasRequest,
    DescribeUserScramCredentials: DescribeUserScramCredentialsRequest,
    AlterUserScramCredentials: AlterUserScramCredentialsRequest,
    DescribeQuorum: DescribeQuorumRequest,
    UpdateFeatures: UpdateFeaturesRequest,
    DescribeCluster: DescribeClusterRequest,
    DescribeProducers: DescribeProducersRequest,
    UnregisterBroker: UnregisterBrokerRequest,
    DescribeTransactions: DescribeTransactionsRequest,
    ListTransactions: ListTransactionsRequest,
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest,
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest,
    GetTelemetrySubscriptions: GetTelemetrySubscriptionsRequest,
    PushTelemetry: PushTelemetryRequest,
    ListConfigResources: ListConfigResourcesRequest,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest,
    ShareGroupHeartbeat: ShareGroupHeartbeatRequest,
    ShareGroupDescribe: ShareGroupDescribeRequest,
    ShareFetch: ShareFetchRequest,
    ShareAcknowledge: ShareAcknowledgeRequest,
    AddRaftVoter: AddRaftVoterRequest,
    RemoveRaftVoter: RemoveRaftVoterRequest,
    InitializeShareGroupState: InitializeShareGroupStateRequest,
    ReadShareGroupState: ReadShareGroupStateRequest,
    WriteShareGroupState: WriteShareGroupStateRequest,
    DeleteShareGroupState: DeleteShareGroupStateRequest,
    ReadShareGroupStateSummary: ReadShareGroupStateSummaryRequest,
    DescribeShareGroupOffsets: DescribeShareGroupOffsetsRequest,
    AlterShareGroupOffsets: AlterShareGroupOffsetsRequest,
    DeleteShareGroupOffsets: DeleteShareGroupOffsetsRequest,
}
