//! Idempotent and transactional producers.
//! Written by scripts/request-schemas from the message definitions of Apache Kafka 4.3.1.

use super::{Request, Type, field, request};

pub(super) const REQUESTS: &[Request] = &[
    request(
        22,
        "InitProducerId",
        0..=5,
        2,
        &[
            field("TransactionalId", Type::STRING).nullable(0),
            field("TransactionTimeoutMs", Type::INT32),
            field("ProducerId", Type::INT64).since(3),
            field("ProducerEpoch", Type::INT16).since(3),
            field("Enable2Pc", Type::BOOL).since(6),
            field("KeepPreparedTxn", Type::BOOL).since(6),
        ],
    ),
    request(
        24,
        "AddPartitionsToTxn",
        0..=5,
        3,
        &[
            field(
                "Transactions",
                Type::array(&Type::Struct(&[
                    field("TransactionalId", Type::STRING).since(4),
                    field("ProducerId", Type::INT64).since(4),
                    field("ProducerEpoch", Type::INT16).since(4),
                    field("VerifyOnly", Type::BOOL).since(4),
                    field(
                        "Topics",
                        Type::array(&Type::Struct(&[
                            field("Name", Type::STRING),
                            field("Partitions", Type::array(&Type::INT32)),
                        ])),
                    )
                    .since(4),
                ])),
            )
            .since(4),
            field("V3AndBelowTransactionalId", Type::STRING).until(3),
            field("V3AndBelowProducerId", Type::INT64).until(3),
            field("V3AndBelowProducerEpoch", Type::INT16).until(3),
            field(
                "V3AndBelowTopics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .until(3),
        ],
    ),
    request(
        25,
        "AddOffsetsToTxn",
        0..=4,
        3,
        &[
            field("TransactionalId", Type::STRING),
            field("ProducerId", Type::INT64),
            field("ProducerEpoch", Type::INT16),
            field("GroupId", Type::STRING),
        ],
    ),
    request(
        26,
        "EndTxn",
        0..=5,
        3,
        &[
            field("TransactionalId", Type::STRING),
            field("ProducerId", Type::INT64),
            field("ProducerEpoch", Type::INT16),
            field("Committed", Type::BOOL),
        ],
    ),
    request(
        27,
        "WriteTxnMarkers",
        1..=2,
        1,
        &[field(
            "Markers",
            Type::array(&Type::Struct(&[
                field("ProducerId", Type::INT64),
                field("ProducerEpoch", Type::INT16),
                field("TransactionResult", Type::BOOL),
                field(
                    "Topics",
                    Type::array(&Type::Struct(&[
                        field("Name", Type::STRING),
                        field("PartitionIndexes", Type::array(&Type::INT32)),
                    ])),
                ),
                field("CoordinatorEpoch", Type::INT32),
                field("TransactionVersion", Type::INT8).since(2),
            ])),
        )],
    ),
    request(
        28,
        "TxnOffsetCommit",
        0..=5,
        3,
        &[
            field("TransactionalId", Type::STRING),
            field("GroupId", Type::STRING),
            field("ProducerId", Type::INT64),
            field("ProducerEpoch", Type::INT16),
            field("GenerationId", Type::INT32).since(3),
            field("MemberId", Type::STRING).since(3),
            field("GroupInstanceId", Type::STRING).since(3).nullable(3),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("CommittedOffset", Type::INT64),
                            field("CommittedLeaderEpoch", Type::INT32).since(2),
                            field("CommittedMetadata", Type::STRING).nullable(0),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        61,
        "DescribeProducers",
        0..=0,
        0,
        &[field(
            "Topics",
            Type::array(&Type::Struct(&[
                field("Name", Type::STRING),
                field("PartitionIndexes", Type::array(&Type::INT32)),
            ])),
        )],
    ),
    request(65, "DescribeTransactions", 0..=0, 0, &[field("TransactionalIds", Type::array(&Type::STRING))]),
    request(
        66,
        "ListTransactions",
        0..=2,
        0,
        &[
            field("StateFilters", Type::array(&Type::STRING)),
            field("ProducerIdFilters", Type::array(&Type::INT64)),
            field("DurationFilter", Type::INT64).since(1),
            field("TransactionalIdPattern", Type::STRING).since(2).nullable(2),
        ],
    ),
];
