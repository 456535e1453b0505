//! Authentication, authorization, quotas, telemetry and the cluster itself.
//! Written by scripts/request-schemas from the message definitions of Apache Kafka 4.3.1.

use super::{NEVER, Request, Type, field, request};

pub(super) const REQUESTS: &[Request] = &[
    request(17, "SaslHandshake", 0..=1, NEVER, &[field("Mechanism", Type::STRING)]),
    request(
        29,
        "DescribeAcls",
        1..=3,
        2,
        &[
            field("ResourceTypeFilter", Type::INT8),
            field("ResourceNameFilter", Type::STRING).nullable(0),
            field("PatternTypeFilter", Type::INT8).since(1),
            field("PrincipalFilter", Type::STRING).nullable(0),
            field("HostFilter", Type::STRING).nullable(0),
            field("Operation", Type::INT8),
            field("PermissionType", Type::INT8),
        ],
    ),
    request(
        30,
        "CreateAcls",
        1..=3,
        2,
        &[field(
            "Creations",
            Type::array(&Type::Struct(&[
                field("ResourceType", Type::INT8),
                field("ResourceName", Type::STRING),
                field("ResourcePatternType", Type::INT8).since(1),
                field("Principal", Type::STRING),
                field("Host", Type::STRING),
                field("Operation", Type::INT8),
                field("PermissionType", Type::INT8),
            ])),
        )],
    ),
    request(
        31,
        "DeleteAcls",
        1..=3,
        2,
        &[field(
            "Filters",
            Type::array(&Type::Struct(&[
                field("ResourceTypeFilter", Type::INT8),
                field("ResourceNameFilter", Type::STRING).nullable(0),
                field("PatternTypeFilter", Type::INT8).since(1),
                field("PrincipalFilter", Type::STRING).nullable(0),
                field("HostFilter", Type::STRING).nullable(0),
                field("Operation", Type::INT8),
                field("PermissionType", Type::INT8),
            ])),
        )],
    ),
    request(
        34,
        "AlterReplicaLogDirs",
        1..=2,
        2,
        &[field(
            "Dirs",
            Type::array(&Type::Struct(&[
                field("Path", Type::STRING),
                field(
                    "Topics",
                    Type::array(&Type::Struct(&[
                        field("Name", Type::STRING),
                        field("Partitions", Type::array(&Type::INT32)),
                    ])),
                ),
            ])),
        )],
    ),
    request(36, "SaslAuthenticate", 0..=2, 2, &[field("AuthBytes", Type::BYTES)]),
    request(
        38,
        "CreateDelegationToken",
        1..=3,
        2,
        &[
            field("OwnerPrincipalType", Type::STRING).since(3).nullable(3),
            field("OwnerPrincipalName", Type::STRING).since(3).nullable(3),
            field(
                "Renewers",
                Type::array(&Type::Struct(&[
                    field("PrincipalType", Type::STRING),
                    field("PrincipalName", Type::STRING),
                ])),
            ),
            field("MaxLifetimeMs", Type::INT64),
        ],
    ),
    request(39, "RenewDelegationToken", 1..=2, 2, &[field("Hmac", Type::BYTES), field("RenewPeriodMs", Type::INT64)]),
    request(
        40,
        "ExpireDelegationToken",
        1..=2,
        2,
        &[field("Hmac", Type::BYTES), field("ExpiryTimePeriodMs", Type::INT64)],
    ),
    request(
        41,
        "DescribeDelegationToken",
        1..=3,
        2,
        &[field(
            "Owners",
            Type::array(&Type::Struct(&[field("PrincipalType", Type::STRING), field("PrincipalName", Type::STRING)])),
        )
        .nullable(0)],
    ),
    request(
        43,
        "ElectLeaders",
        0..=2,
        2,
        &[
            field("ElectionType", Type::INT8).since(1),
            field(
                "TopicPartitions",
                Type::array(&Type::Struct(&[
                    field("Topic", Type::STRING),
                    field("Partitions", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
            field("TimeoutMs", Type::INT32),
        ],
    ),
    request(
        45,
        "AlterPartitionReassignments",
        0..=1,
        0,
        &[
            field("TimeoutMs", Type::INT32),
            field("AllowReplicationFactorChange", Type::BOOL).since(1),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field(
                        "Partitions",
                        Type::array(&Type::Struct(&[
                            field("PartitionIndex", Type::INT32),
                            field("Replicas", Type::array(&Type::INT32)).nullable(0),
                        ])),
                    ),
                ])),
            ),
        ],
    ),
    request(
        46,
        "ListPartitionReassignments",
        0..=0,
        0,
        &[
            field("TimeoutMs", Type::INT32),
            field(
                "Topics",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("PartitionIndexes", Type::array(&Type::INT32)),
                ])),
            )
            .nullable(0),
        ],
    ),
    request(
        48,
        "DescribeClientQuotas",
        0..=1,
        1,
        &[
            field(
                "Components",
                Type::array(&Type::Struct(&[
                    field("EntityType", Type::STRING),
                    field("MatchType", Type::INT8),
                    field("Match", Type::STRING).nullable(0),
                ])),
            ),
            field("Strict", Type::BOOL),
        ],
    ),
    request(
        49,
        "AlterClientQuotas",
        0..=1,
        1,
        &[
            field(
                "Entries",
                Type::array(&Type::Struct(&[
                    field(
                        "Entity",
                        Type::array(&Type::Struct(&[
                            field("EntityType", Type::STRING),
                            field("EntityName", Type::STRING).nullable(0),
                        ])),
                    ),
                    field(
                        "Ops",
                        Type::array(&Type::Struct(&[
                            field("Key", Type::STRING),
                            field("Value", Type::FLOAT64),
                            field("Remove", Type::BOOL),
                        ])),
                    ),
                ])),
            ),
            field("ValidateOnly", Type::BOOL),
        ],
    ),
    request(
        50,
        "DescribeUserScramCredentials",
        0..=0,
        0,
        &[field("Users", Type::array(&Type::Struct(&[field("Name", Type::STRING)]))).nullable(0)],
    ),
    request(
        51,
        "AlterUserScramCredentials",
        0..=0,
        0,
        &[
            field(
                "Deletions",
                Type::array(&Type::Struct(&[field("Name", Type::STRING), field("Mechanism", Type::INT8)])),
            ),
            field(
                "Upsertions",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("Mechanism", Type::INT8),
                    field("Iterations", Type::INT32),
                    field("Salt", Type::BYTES),
                    field("SaltedPassword", Type::BYTES),
                ])),
            ),
        ],
    ),
    request(
        55,
        "DescribeQuorum",
        0..=2,
        0,
        &[field(
            "Topics",
            Type::array(&Type::Struct(&[
                field("TopicName", Type::STRING),
                field("Partitions", Type::array(&Type::Struct(&[field("PartitionIndex", Type::INT32)]))),
            ])),
        )],
    ),
    request(
        57,
        "UpdateFeatures",
        0..=2,
        0,
        &[
            field("timeoutMs", Type::INT32),
            field(
                "FeatureUpdates",
                Type::array(&Type::Struct(&[
                    field("Feature", Type::STRING),
                    field("MaxVersionLevel", Type::INT16),
                    field("AllowDowngrade", Type::BOOL).until(0),
                    field("UpgradeType", Type::INT8).since(1),
                ])),
            ),
            field("ValidateOnly", Type::BOOL).since(1),
        ],
    ),
    request(64, "UnregisterBroker", 0..=0, 0, &[field("BrokerId", Type::INT32)]),
    request(71, "GetTelemetrySubscriptions", 0..=0, 0, &[field("ClientInstanceId", Type::UUID)]),
    request(
        72,
        "PushTelemetry",
        0..=0,
        0,
        &[
            field("ClientInstanceId", Type::UUID),
            field("SubscriptionId", Type::INT32),
            field("Terminating", Type::BOOL),
            field("CompressionType", Type::INT8),
            field("Metrics", Type::BYTES),
        ],
    ),
    request(
        80,
        "AddRaftVoter",
        0..=1,
        0,
        &[
            field("ClusterId", Type::STRING).nullable(0),
            field("TimeoutMs", Type::INT32),
            field("VoterId", Type::INT32),
            field("VoterDirectoryId", Type::UUID),
            field(
                "Listeners",
                Type::array(&Type::Struct(&[
                    field("Name", Type::STRING),
                    field("Host", Type::STRING),
                    field("Port", Type::INT16),
                ])),
            ),
            field("AckWhenCommitted", Type::BOOL).since(1),
        ],
    ),
    request(
        81,
        "RemoveRaftVoter",
        0..=0,
        0,
        &[
            field("ClusterId", Type::STRING).nullable(0),
            field("VoterId", Type::INT32),
            field("VoterDirectoryId", Type::UUID),
        ],
    ),
];
