//! Share groups and their state.
//! Written by scripts/request-schemas from the message definitions of Apache Kafka 4.3.1.

use super::{Request, Type, field, request};

pub(super) const REQUESTS: &[Request] = &[
    request(
        76,
        "ShareGroupHeartbeat",
        1..=1,
        0,
        &[
            field("GroupId", Type::STRING),
            field("MemberId", Type::STRING),
            field("MemberEpoch", Type::INT32),
            field("RackId", Type::STRING).nullable(0),
            field("SubscribedTopicNames", Type::array(&Type::STRING)).nullable(0),
        ],
    ),
    request(
        77,
        "ShareGroupDescribe",
        1..=1,
        0,
        &[field("GroupIds", Type::array(&Type::STRING)), field("IncludeAuthorizedOperations", Type::BOOL)],
    ),
    request(
        78,
        "ShareFetch",
        1..=2,
        0,
        &[
            field("GroupId", Type::STRING).nullable(0),
            field("MemberId", Type::STRING).nullable(0),
            field("ShareSessionEpoch", Type::INT32),
            field("MaxWaitMs", Type::INT32),
            field("MinBytes", Type::INT32),
            field("MaxBytes", Type::INT32),
            field("MaxRecords", Type::INT32).since(1),
            field("BatchSize", Type::INT32).since(1),
            field("ShareAcquireMode", Type::INT8).since(2),
            field("IsRenewAck", Type::BOOL).since(2),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("PartitionMaxBytes", Type::INT32).until(0),
                            field(
                                "AcknowledgementBatches",
                                Type::array(&Type::Struct(&[
                                    field("FirstOffset", Type::INT64),
                                    field("LastOffset", Type::INT64),
                                    field("AcknowledgeTypes", Type::array(&Type::INT8)),
                                ])),
                            ),
                        ])),
                    ),
                ])),
            ),
            field(
                "ForgottenTopicsData",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            ),
        ],
    ),
    request(
        79,
        "ShareAcknowledge",
        1..=2,
        0,
        &[
            field("GroupId", Type::STRING).nullable(0),
            field("MemberId", Type::STRING).nullable(0),
            field("ShareSessionEpoch", Type::INT32),
            field("IsRenewAck", Type::BOOL).since(2),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field(
                                "AcknowledgementBatches",
                                Type::array(&Type::Struct(&[
                                    field("FirstOffset", Type::INT64),
                                    field("LastOffset", Type::INT64),
                                    field("AcknowledgeTypes", Type::array(&Type::INT8)),
                                ])),
                            ),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        83,
        "InitializeShareGroupState",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("StateEpoch", Type::INT32),
                            field("StartOffset", Type::INT64),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        84,
        "ReadShareGroupState",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("LeaderEpoch", Type::INT32),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        85,
        "WriteShareGroupState",
        0..=1,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("StateEpoch", Type::INT32),
                            field("LeaderEpoch", Type::INT32),
                            field("StartOffset", Type::INT64),
                            field("DeliveryCompleteCount", Type::INT32).since(1),
                            field(
                                "StateBatches",
                                Type::array(&Type::Struct(&[
                                    field("FirstOffset", Type::INT64),
                                    field("LastOffset", Type::INT64),
                                    field("DeliveryState", Type::INT8),
                                    field("DeliveryCount", Type::INT16),
                                ])),
                            ),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        86,
        "DeleteShareGroupState",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field("Partitions", Type::array(&Type::Struct(&[field("Partition", Type::INT32)]))),
                ])),
            ),
        ],
    ),
    request(
        87,
        "ReadShareGroupStateSummary",
        0..=1,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicId", Type::UUID),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("Partition", Type::INT32),
                            field("LeaderEpoch", Type::INT32),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        90,
        "DescribeShareGroupOffsets",
        0..=1,
        0,
        &[field(
            "Groups",
            Type::array(&Type::Struct(&[
                field("GroupId", Type::STRING),
                field(
                    "Topics",
                    Type::array(&Type::Struct(&[
                        field("TopicName", Type::STRING),
                        field("Partitions", Type::array(&Type::INT32)),
                    ])),
                )
                .nullable(0),
            ])),
        )],
    ),
    request(
        91,
        "AlterShareGroupOffsets",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("TopicName", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("StartOffset", Type::INT64),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        92,
        "DeleteShareGroupOffsets",
        0..=0,
        0,
        &[
            field("GroupId", Type::STRING),
            field("Topics", Type::array(&Type::Struct(&[field("TopicName", Type::STRING)]))),
        ],
    ),
];
