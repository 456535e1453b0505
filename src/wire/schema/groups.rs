//! Consumer groups of both protocols, and streams groups.
//! Written by scripts/request-schemas from the message definitions of Apache Kafka 4.3.1.

use super::{NEVER, Request, Type, field, request};

pub(super) const REQUESTS: &[Request] = &[
    request(
        8,
        "OffsetCommit",
        2..=10,
        8,
        &[
            field("GroupId", Type::STRING),
            field("GenerationIdOrMemberEpoch", Type::INT32).since(1),
            field("MemberId", Type::STRING).since(1),
            field("GroupInstanceId", Type::STRING).since(7).nullable(7),
            field("RetentionTimeMs", Type::INT64).since(2).until(4),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING).until(9),
                    field("TopicId", Type::UUID).since(10),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("CommittedOffset", Type::INT64),
                            field("CommittedLeaderEpoch", Type::INT32).since(6),
                            field("CommittedMetadata", Type::STRING).nullable(0),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        9,
        "OffsetFetch",
        1..=10,
        6,
        &[
            field("GroupId", Type::STRING).until(7),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING).until(7),
                    field("PartitionIndexes", Type::array(&Type::INT32)).until(7),
                ])),
            )
            .until(7)
            .nullable(2),
            field(
                "Groups",
                Type::array(&Type::Struct(&[
                    field("GroupId", Type::STRING).since(8),
                    field("MemberId", Type::STRING).since(9).nullable(9),
                    field("MemberEpoch", Type::INT32).since(9),
                    field(
                        "Topics",
                        Type::array(&Type::Struct(&[
                            field("Name", Type::STRING).since(8).until(9),
                            field("TopicId", Type::UUID).since(10),
                            field("PartitionIndexes", Type::array(&Type::INT32)).since(8),
                        ])),
                    )
                    .since(8)
                    .nullable(8),
                ])),
            )
            .since(8),
            field("RequireStable", Type::BOOL).since(7),
        ],
    ),
    request(
        10,
        "FindCoordinator",
        0..=6,
        3,
        &[
            field("Key", Type::STRING).until(3),
            field("KeyType", Type::INT8).since(1),
            field("CoordinatorKeys", Type::array(&Type::STRING)).since(4),
        ],
    ),
    request(
        11,
        "JoinGroup",
        0..=9,
        6,
        &[
            field("GroupId", Type::STRING),
            field("SessionTimeoutMs", Type::INT32),
            field("RebalanceTimeoutMs", Type::INT32).since(1),
            field("MemberId", Type::STRING),
            field("GroupInstanceId", Type::STRING).since(5).nullable(5),
            field("ProtocolType", Type::STRING),
            field(
                "Protocols",
                Type::array(&Type::Struct(&[field("Name", Type::STRING), field("Metadata", Type::BYTES)])),
            ),
            field("Reason", Type::STRING).since(8).nullable(8),
        ],
    ),
    request(
        12,
        "Heartbeat",
        0..=4,
        4,
        &[
            field("GroupId", Type::STRING),
            field("GenerationId", Type::INT32),
            field("MemberId", Type::STRING),
            field("GroupInstanceId", Type::STRING).since(3).nullable(3),
        ],
    ),
    request(
        13,
        "LeaveGroup",
        0..=5,
        4,
        &[
            field("GroupId", Type::STRING),
            field("MemberId", Type::STRING).until(2),
            field(
                "Members",
                Type::array(&Type::Struct(&[
                    field("MemberId", Type::STRING).since(3),
                    field("GroupInstanceId", Type::STRING).since(3).nullable(3),
                    field("Reason", Type::STRING).since(5).nullable(5),
                ])),
            )
            .since(3),
        ],
    ),
    request(
        14,
        "SyncGroup",
        0..=5,
        4,
        &[
            field("GroupId", Type::STRING),
            field("GenerationId", Type::INT32),
            field("MemberId", Type::STRING),
            field("GroupInstanceId", Type::STRING).since(3).nullable(3),
            field("ProtocolType", Type::STRING).since(5).nullable(5),
            field("ProtocolName", Type::STRING).since(5).nullable(5),
            field(
                "Assignments",
                Type::array(&Type::Struct(&[field("MemberId", Type::STRING), field("Assignment", Type::BYTES)])),
            ),
        ],
    ),
    request(
        15,
        "DescribeGroups",
        0..=6,
        5,
        &[field("Groups", Type::array(&Type::STRING)), field("IncludeAuthorizedOperations", Type::BOOL).since(3)],
    ),
    request(
        16,
        "ListGroups",
        0..=5,
        3,
        &[
            field("StatesFilter", Type::array(&Type::STRING)).since(4),
            field("TypesFilter", Type::array(&Type::STRING)).since(5),
        ],
    ),
    request(42, "DeleteGroups", 0..=2, 2, &[field("GroupsNames", Type::array(&Type::STRING))]),
    request(
        47,
        "OffsetDelete",
        0..=0,
        NEVER,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("Partitions", Type::array(&Type::Struct(&[field("PartitionIndex", Type::INT32)]))),
                ])),
            ),
        ],
    ),
    request(
        68,
        "ConsumerGroupHeartbeat",
        0..=1,
        0,
        &[
            field("GroupId", Type::STRING),
            field("MemberId", Type::STRING),
            field("MemberEpoch", Type::INT32),
            field("InstanceId", Type::STRING).nullable(0),
            field("RackId", Type::STRING).nullable(0),
            field("RebalanceTimeoutMs", Type::INT32),
            field("SubscribedTopicNames", Type::array(&Type::STRING)).nullable(0),
            field("SubscribedTopicRegex", Type::STRING).since(1).nullable(1),
            field("ServerAssignor", Type::STRING).nullable(0),
            field(
                "TopicPartitions",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
        ],
    ),
    request(
        69,
        "ConsumerGroupDescribe",
        0..=1,
        0,
        &[field("GroupIds", Type::array(&Type::STRING)), field("IncludeAuthorizedOperations", Type::BOOL)],
    ),
    request(
        88,
        "StreamsGroupHeartbeat",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field("MemberId", Type::STRING),
            field("MemberEpoch", Type::INT32),
            field("EndpointInformationEpoch", Type::INT32),
            field("InstanceId", Type::STRING).nullable(0),
            field("RackId", Type::STRING).nullable(0),
            field("RebalanceTimeoutMs", Type::INT32),
            field(
                "Topology",
                Type::Struct(&[
                    field("Epoch", Type::INT32),
                    field(
                        "Subtopologies",
                        Type::array(&Type::Struct(&[
                            field("SubtopologyId", Type::STRING),
                            field("SourceTopics", Type::array(&Type::STRING)),
                            field("SourceTopicRegex", Type::array(&Type::STRING)),
                            field(
                                "StateChangelogTopics",
                                Type::array(&Type::Struct(&[
                                    field("Name", Type::STRING),
                                    field("Partitions", Type::INT32),
                                    field("ReplicationFactor", Type::INT16),
                                    field(
                                        "TopicConfigs",
                                        Type::array(&Type::Struct(&[
                                            field("Key", Type::STRING),
                                            field("Value", Type::STRING),
                                        ])),
                                    ),
                                ])),
                            ),
                            field("RepartitionSinkTopics", Type::array(&Type::STRING)),
                            field(
                                "RepartitionSourceTopics",
                                Type::array(&Type::Struct(&[
                                    field("Name", Type::STRING),
                                    field("Partitions", Type::INT32),
                                    field("ReplicationFactor", Type::INT16),
                                    field(
                                        "TopicConfigs",
                                        Type::array(&Type::Struct(&[
                                            field("Key", Type::STRING),
                                            field("Value", Type::STRING),
                                        ])),
                                    ),
                                ])),
                            ),
                            field(
                                "CopartitionGroups",
                                Type::array(&Type::Struct(&[
                                    field("SourceTopics", Type::array(&Type::INT16)),
                                    field("SourceTopicRegex", Type::array(&Type::INT16)),
                                    field("RepartitionSourceTopics", Type::array(&Type::INT16)),
                                ])),
                            ),
                        ])),
                    ),
                ]),
            )
            .nullable(0),
            field(
                "ActiveTasks",
                Type::array(&Type::Struct(&[
                    field("SubtopologyId", Type::STRING),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
            field(
                "StandbyTasks",
                Type::array(&Type::Struct(&[
                    field("SubtopologyId", Type::STRING),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
            field(
                "WarmupTasks",
                Type::array(&Type::Struct(&[
                    field("SubtopologyId", Type::STRING),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
            field("ProcessId", Type::STRING).nullable(0),
            field("UserEndpoint", Type::Struct(&[field("Host", Type::STRING), field("Port", Type::INT16)])).nullable(0),
            field(
                "ClientTags",
                Type::array(&Type::Struct(&[field("Key", Type::STRING), field("Value", Type::STRING)])),
            )
            .nullable(0),
            field(
                "TaskOffsets",
                Type::array(&Type::Struct(&[
                    field("SubtopologyId", Type::STRING),
                    field("Partition", Type::INT32),
                    field("Offset", Type::INT64),
                ])),
            )
            .nullable(0),
            field(
                "TaskEndOffsets",
                Type::array(&Type::Struct(&[
                    field("SubtopologyId", Type::STRING),
                    field("Partition", Type::INT32),
                    field("Offset", Type::INT64),
                ])),
            )
            .nullable(0),
            field("ShutdownApplication", Type::BOOL),
        ],
    ),
    request(
        89,
        "StreamsGroupDescribe",
        0..=0,
        0,
        &[field("GroupIds", Type::array(&Type::STRING)), field("IncludeAuthorizedOperations", Type::BOOL)],
    ),
];
