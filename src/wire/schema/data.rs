//! Reading and writing records, topics and their settings.
//! Written by scripts/request-schemas from the message definitions of Apache Kafka 4.3.1.

use super::{Request, Type, field, request};

pub(super) const REQUESTS: &[Request] = &[
    request(
        0,
        "Produce",
        3..=13,
        9,
        &[
            field("TransactionalId", Type::STRING).since(3).nullable(3),
            field("Acks", Type::INT16),
            field("TimeoutMs", Type::INT32),
            field(
                "TopicData",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING).until(12),
                    field("TopicId", Type::UUID).since(13),
                    field(
                        "PartitionData",
                        Type::array(&Type::Struct(&[
                            field("Index", Type::INT32),
                            field("Records", Type::BYTES).nullable(0),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        1,
        "Fetch",
        4..=18,
        12,
        &[
            field("ClusterId", Type::STRING).since(12).nullable(12).tag(0),
            field("ReplicaId", Type::INT32).until(14),
            field(
                "ReplicaState",
                Type::Struct(&[
                    field("ReplicaId", Type::INT32).since(15),
                    field("ReplicaEpoch", Type::INT64).since(15),
                ]),
            )
            .since(15)
            .tag(1),
            field("MaxWaitMs", Type::INT32),
            field("MinBytes", Type::INT32),
            field("MaxBytes", Type::INT32).since(3),
            field("IsolationLevel", Type::INT8).since(4),
            field("SessionId", Type::INT32).since(7),
            field("SessionEpoch", Type::INT32).since(7),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Topic", Type::STRING).until(12),
                    field("TopicId", Type::UUID).since(13),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("CurrentLeaderEpoch", Type::INT32).since(9),
                            field("FetchOffset", Type::INT64),
                            field("LastFetchedEpoch", Type::INT32).since(12),
                            field("LogStartOffset", Type::INT64).since(5),
                            field("PartitionMaxBytes", Type::INT32),
                            field("ReplicaDirectoryId", Type::UUID).since(17).tag(0),
                            field("HighWatermark", Type::INT64).since(18).tag(1),
                        ])),
                    ),
                ])),
            ),
            field(
                "ForgottenTopicsData",
                Type::array(&Type::Struct(&[
                    field("Topic", Type::STRING).since(7).until(12),
                    field("TopicId", Type::UUID).since(13),
                    field("Partitions", Type::array(&Type::INT32)).since(7),
                ])),
            )
            .since(7),
            field("RackId", Type::STRING).since(11),
        ],
    ),
    request(
        2,
        "ListOffsets",
        1..=11,
        6,
        &[
            field("ReplicaId", Type::INT32),
            field("IsolationLevel", Type::INT8).since(2),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("CurrentLeaderEpoch", Type::INT32).since(4),
                            field("Timestamp", Type::INT64),
                        ])),
                    ),
                ])),
            ),
            field("TimeoutMs", Type::INT32).since(10),
        ],
    ),
    request(
        3,
        "Metadata",
        0..=13,
        9,
        &[
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID).since(10),
                    field("Name", Type::STRING).nullable(10),
                ])),
            )
            .nullable(1),
            field("AllowAutoTopicCreation", Type::BOOL).since(4),
            field("IncludeClusterAuthorizedOperations", Type::BOOL).since(8).until(10),
            field("IncludeTopicAuthorizedOperations", Type::BOOL).since(8),
        ],
    ),
    request(
        18,
        "ApiVersions",
        0..=4,
        3,
        &[field("ClientSoftwareName", Type::STRING).since(3), field("ClientSoftwareVersion", Type::STRING).since(3)],
    ),
    request(
        19,
        "CreateTopics",
        2..=7,
        5,
        &[
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("NumPartitions", Type::INT32),
                    field("ReplicationFactor", Type::INT16),
                    field(
                        "Assignments",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("BrokerIds", Type::array(&Type::INT32)),
                        ])),
                    ),
                    field(
                        "Configs",
                        Type::array(&Type::Struct(&[
                            field("Name", Type::STRING),
                            field("Value", Type::STRING).nullable(0),
                        ])),
                    ),
                ])),
            ),
            field("timeoutMs", Type::INT32),
            field("validateOnly", Type::BOOL).since(1),
        ],
    ),
    request(
        20,
        "DeleteTopics",
        1..=6,
        4,
        &[
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING).since(6).nullable(6),
                    field("TopicId", Type::UUID).since(6),
                ])),
            )
            .since(6),
            field("TopicNames", Type::array(&Type::STRING)).until(5),
            field("TimeoutMs", Type::INT32),
        ],
    ),
    request(
        21,
        "DeleteRecords",
        0..=2,
        2,
        &[
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("Offset", Type::INT64),
                        ])),
                    ),
                ])),
            ),
            field("TimeoutMs", Type::INT32),
        ],
    ),
    request(
        23,
        "OffsetForLeaderEpoch",
        2..=4,
        4,
        &[
            field("ReplicaId", Type::INT32).since(3),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Topic", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("CurrentLeaderEpoch", Type::INT32).since(2),
                            field("LeaderEpoch", Type::INT32),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        32,
        "DescribeConfigs",
        1..=4,
        4,
        &[
            field(
                "Resources",
                Type::array(&Type::Struct(&[
                    field("ResourceType", Type::INT8),
                    field("ResourceName", Type::STRING),
                    field("ConfigurationKeys", Type::array(&Type::STRING)).nullable(0),
                ])),
            ),
            field("IncludeSynonyms", Type::BOOL).since(1),
            field("IncludeDocumentation", Type::BOOL).since(3),
        ],
    ),
    request(
        33,
        "AlterConfigs",
        0..=2,
        2,
        &[
            field(
                "Resources",
                Type::array(&Type::Struct(&[
                    field("ResourceType", Type::INT8),
                    field("ResourceName", Type::STRING),
                    field(
                        "Configs",
                        Type::array(&Type::Struct(&[
                            field("Name", Type::STRING),
                            field("Value", Type::STRING).nullable(0),
                        ])),
                    ),
                ])),
            ),
            field("ValidateOnly", Type::BOOL),
        ],
    ),
    request(
        35,
        "DescribeLogDirs",
        1..=5,
        2,
        &[field(
            "Topics",
            Type::array(&Type::Struct(&[field("Topic", Type::STRING), field("Partitions", Type::array(&Type::INT32))])),
        )
        .nullable(0)],
    ),
    request(
        37,
        "CreatePartitions",
        0..=3,
        2,
        &[
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("Count", Type::INT32),
                    field("Assignments", Type::array(&Type::Struct(&[field("BrokerIds", Type::array(&Type::INT32))])))
                        .nullable(0),
                ])),
            ),
            field("TimeoutMs", Type::INT32),
            field("ValidateOnly", Type::BOOL),
        ],
    ),
    request(
        44,
        "IncrementalAlterConfigs",
        0..=1,
        1,
        &[
            field(
                "Resources",
                Type::array(&Type::Struct(&[
                    field("ResourceType", Type::INT8),
                    field("ResourceName", Type::STRING),
                    field(
                        "Configs",
                        Type::array(&Type::Struct(&[
                            field("Name", Type::STRING),
                            field("ConfigOperation", Type::INT8),
                            field("Value", Type::STRING).nullable(0),
                        ])),
                    ),
                ])),
            ),
            field("ValidateOnly", Type::BOOL),
        ],
    ),
    request(
        60,
        "DescribeCluster",
        0..=2,
        0,
        &[
            field("IncludeClusterAuthorizedOperations", Type::BOOL),
            field("EndpointType", Type::INT8).since(1),
            field("IncludeFencedBrokers", Type::BOOL).since(2),
        ],
    ),
    request(74, "ListConfigResources", 0..=1, 0, &[field("ResourceTypes", Type::array(&Type::INT8)).since(1)]),
    request(
        75,
        "DescribeTopicPartitions",
        0..=0,
        0,
        &[
            field("Topics", Type::array(&Type::Struct(&[field("Name", Type::STRING)]))),
            field("ResponsePartitionLimit", Type::INT32),
            field("Cursor", Type::Struct(&[field("TopicName", Type::STRING), field("PartitionIndex", Type::INT32)]))
                .nullable(0),
        ],
    ),
];
