//! Settings of Apache Kafka 4.3 that have no effect in Ottla: giving one is allowed and warned of by name.
//!
//! They are here so that a file written for Kafka starts unchanged, a misspelt name is told from a known one, and
//! DescribeConfigs answers the names that tools look for. A setting that comes to act moves to [`super::broker`].

use super::def::{Effect, Rule, Setting, Type, Update};

/// What DescribeConfigs says of each.
const DOC: &str = "Apache Kafka has this setting; in Ottla it has no effect.";

macro_rules! known {
    ($($name:literal $kind:ident $update:ident $(= $default:literal)?;)*) => {
        &[$(row($name, Type::$kind, known!(@default $($default)?), Update::$update)),*]
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

const fn row(name: &'static str, kind: Type, default: Option<&'static str>, update: Update) -> Setting {
    Setting::new(name, kind, default, Rule::Any).update(update).effect(Effect::Nothing).doc(DOC)
}

/// By name: type, whether it can change at run time, Kafka's default where it has one.
pub const SETTINGS: &[Setting] = known! {
    "add.partitions.to.txn.retry.backoff.ms" Int ReadOnly = "20";
    "alter.config.policy.class.name" Class ReadOnly;
    "alter.log.dirs.replication.quota.window.num" Int ReadOnly = "11";
    "alter.log.dirs.replication.quota.window.size.seconds" Int ReadOnly = "1";
    "authorizer.class.name" String ReadOnly = "";
    "auto.leader.rebalance.enable" Boolean ReadOnly = "true";
    "background.threads" Int ClusterWide = "10";
    "broker.heartbeat.interval.ms" Int ReadOnly = "2000";
    "broker.session.timeout.ms" Int ReadOnly = "9000";
    "client.quota.callback.class" Class ReadOnly;
    "config.providers" List ClusterWide = "";
    "connection.failed.authentication.delay.ms" Int ReadOnly = "100";
    "connections.max.reauth.ms" Long ReadOnly = "0";
    "controlled.shutdown.enable" Boolean ReadOnly = "true";
    "controller.quorum.append.linger.ms" Int ReadOnly = "25";
    "controller.quorum.auto.join.enable" Boolean ReadOnly = "false";
    "controller.quorum.election.backoff.max.ms" Int ReadOnly = "1000";
    "controller.quorum.election.timeout.ms" Int ReadOnly = "1000";
    "controller.quorum.fetch.max.bytes" Int ReadOnly = "1048576";
    "controller.quorum.fetch.snapshot.max.bytes" Int ReadOnly = "1048576";
    "controller.quorum.fetch.timeout.ms" Int ReadOnly = "2000";
    "controller.quorum.request.timeout.ms" Int ReadOnly = "2000";
    "controller.quorum.retry.backoff.ms" Int ReadOnly = "20";
    "controller.quota.window.num" Int ReadOnly = "11";
    "controller.quota.window.size.seconds" Int ReadOnly = "1";
    "controller.socket.timeout.ms" Int ReadOnly = "30000";
    "cordoned.log.dirs" List PerBroker = "";
    "create.topic.policy.class.name" Class ReadOnly;
    "delegation.token.expiry.check.interval.ms" Long ReadOnly = "3600000";
    "delegation.token.expiry.time.ms" Long ReadOnly = "86400000";
    "delegation.token.max.lifetime.ms" Long ReadOnly = "604800000";
    "delegation.token.secret.key" Password ReadOnly;
    "delete.records.purgatory.purge.interval.requests" Int ReadOnly = "1";
    "early.start.listeners" List ReadOnly;
    "fetch.purgatory.purge.interval.requests" Int ReadOnly = "1000";
    "follower.fetch.last.tiered.offset.enable" Boolean ClusterWide = "false";
    "group.coordinator.append.linger.ms" Int ReadOnly = "-1";
    "group.coordinator.background.threads" Int ReadOnly = "2";
    "group.coordinator.cached.buffer.max.bytes" Int ClusterWide = "1048588";
    "group.coordinator.rebalance.protocols" List ReadOnly = "classic,consumer,streams";
    "group.coordinator.threads" Int ReadOnly = "4";
    "group.share.assignment.interval.ms" Int ClusterWide = "1000";
    "group.share.assignors" List ReadOnly = "simple";
    "group.share.delivery.count.limit" Int ReadOnly = "5";
    "group.share.heartbeat.interval.ms" Int ReadOnly = "5000";
    "group.share.max.assignment.interval.ms" Int ReadOnly = "15000";
    "group.share.max.delivery.count.limit" Int ReadOnly = "10";
    "group.share.max.heartbeat.interval.ms" Int ReadOnly = "15000";
    "group.share.max.partition.max.record.locks" Int ReadOnly = "4000";
    "group.share.max.record.lock.duration.ms" Int ReadOnly = "60000";
    "group.share.max.session.timeout.ms" Int ReadOnly = "60000";
    "group.share.max.share.sessions" Int ReadOnly = "2000";
    "group.share.max.size" Int ReadOnly = "200";
    "group.share.min.assignment.interval.ms" Int ReadOnly = "0";
    "group.share.min.delivery.count.limit" Int ReadOnly = "2";
    "group.share.min.heartbeat.interval.ms" Int ReadOnly = "5000";
    "group.share.min.partition.max.record.locks" Int ReadOnly = "100";
    "group.share.min.record.lock.duration.ms" Int ReadOnly = "15000";
    "group.share.min.session.timeout.ms" Int ReadOnly = "45000";
    "group.share.partition.max.record.locks" Int ReadOnly = "2000";
    "group.share.record.lock.duration.ms" Int ReadOnly = "30000";
    "group.share.session.timeout.ms" Int ReadOnly = "45000";
    "group.streams.assignment.interval.ms" Int ClusterWide = "1000";
    "group.streams.heartbeat.interval.ms" Int ReadOnly = "5000";
    "group.streams.initial.rebalance.delay.ms" Int ReadOnly = "3000";
    "group.streams.max.assignment.interval.ms" Int ReadOnly = "15000";
    "group.streams.max.heartbeat.interval.ms" Int ReadOnly = "15000";
    "group.streams.max.session.timeout.ms" Int ReadOnly = "60000";
    "group.streams.max.size" Int ReadOnly = "2147483647";
    "group.streams.max.standby.replicas" Int ReadOnly = "2";
    "group.streams.min.assignment.interval.ms" Int ReadOnly = "0";
    "group.streams.min.heartbeat.interval.ms" Int ReadOnly = "5000";
    "group.streams.min.session.timeout.ms" Int ReadOnly = "45000";
    "group.streams.num.standby.replicas" Int ReadOnly = "0";
    "group.streams.session.timeout.ms" Int ReadOnly = "45000";
    "initial.broker.registration.timeout.ms" Int ReadOnly = "60000";
    "kafka.metrics.polling.interval.secs" Int ReadOnly = "10";
    "kafka.metrics.reporters" List ReadOnly = "";
    "leader.imbalance.check.interval.seconds" Long ReadOnly = "300";
    "log.cleaner.io.buffer.load.factor" Double ClusterWide = "0.9";
    "log.cleaner.io.buffer.size" Int ClusterWide = "524288";
    "log.cleaner.threads" Int ClusterWide = "1";
    "log.dir.failure.timeout.ms" Long ReadOnly = "30000";
    "log.flush.offset.checkpoint.interval.ms" Int ReadOnly = "60000";
    "log.flush.start.offset.checkpoint.interval.ms" Int ReadOnly = "60000";
    "log.retention.check.interval.ms" Long ReadOnly = "300000";
    "max.connection.creation.rate" Int ClusterWide = "2147483647";
    "metadata.log.dir" String ReadOnly;
    "metadata.log.max.record.bytes.between.snapshots" Long ReadOnly = "20971520";
    "metadata.log.max.snapshot.interval.ms" Long ReadOnly = "3600000";
    "metadata.log.segment.bytes" Int ReadOnly = "1073741824";
    "metadata.log.segment.ms" Long ReadOnly = "604800000";
    "metadata.max.idle.interval.ms" Int ReadOnly = "500";
    "metadata.max.retention.bytes" Long ReadOnly = "104857600";
    "metadata.max.retention.ms" Long ReadOnly = "604800000";
    "metric.reporters" List ClusterWide = "org.apache.kafka.common.metrics.JmxReporter";
    "metrics.num.samples" Int ReadOnly = "2";
    "metrics.recording.level" String ReadOnly = "INFO";
    "metrics.sample.window.ms" Long ReadOnly = "30000";
    "num.io.threads" Int ClusterWide = "8";
    "num.network.threads" Int ClusterWide = "3";
    "num.recovery.threads.per.data.dir" Int ClusterWide = "2";
    "num.replica.alter.log.dirs.threads" Int ReadOnly;
    "num.replica.fetchers" Int ClusterWide = "1";
    "offsets.load.buffer.size" Int ReadOnly = "5242880";
    "principal.builder.class" Class PerBroker
        = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder";
    "producer.purgatory.purge.interval.requests" Int ReadOnly = "1000";
    "queued.max.requests" Int ReadOnly = "500";
    "quota.window.num" Int ReadOnly = "11";
    "quota.window.size.seconds" Int ReadOnly = "1";
    "remote.fetch.max.wait.ms" Int ClusterWide = "500";
    "remote.list.offsets.request.timeout.ms" Long ClusterWide = "30000";
    "remote.log.index.file.cache.total.size.bytes" Long ClusterWide = "1073741824";
    "remote.log.manager.copier.thread.pool.size" Int ClusterWide = "10";
    "remote.log.manager.copy.max.bytes.per.second" Long ClusterWide = "9223372036854775807";
    "remote.log.manager.copy.quota.window.num" Int ReadOnly = "11";
    "remote.log.manager.copy.quota.window.size.seconds" Int ReadOnly = "1";
    "remote.log.manager.expiration.thread.pool.size" Int ClusterWide = "10";
    "remote.log.manager.fetch.max.bytes.per.second" Long ClusterWide = "9223372036854775807";
    "remote.log.manager.fetch.quota.window.num" Int ReadOnly = "11";
    "remote.log.manager.fetch.quota.window.size.seconds" Int ReadOnly = "1";
    "remote.log.manager.follower.thread.pool.size" Int ClusterWide = "2";
    "remote.log.manager.task.interval.ms" Long ReadOnly = "30000";
    "remote.log.manager.thread.pool.size" Int ReadOnly = "2";
    "remote.log.metadata.custom.metadata.max.bytes" Int ReadOnly = "128";
    "remote.log.metadata.manager.class.name" String ReadOnly
        = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager";
    "remote.log.metadata.manager.class.path" String ReadOnly;
    "remote.log.metadata.manager.impl.prefix" String ReadOnly = "rlmm.config.";
    "remote.log.metadata.manager.listener.name" String ReadOnly;
    "remote.log.reader.max.pending.tasks" Int ReadOnly = "100";
    "remote.log.reader.threads" Int ClusterWide = "10";
    "remote.log.storage.manager.class.name" String ReadOnly;
    "remote.log.storage.manager.class.path" String ReadOnly;
    "remote.log.storage.manager.impl.prefix" String ReadOnly = "rsm.config.";
    "remote.log.storage.system.enable" Boolean ReadOnly = "false";
    "replica.fetch.backoff.ms" Int ReadOnly = "1000";
    "replica.fetch.max.bytes" Int ReadOnly = "1048576";
    "replica.fetch.min.bytes" Int ReadOnly = "1";
    "replica.fetch.response.max.bytes" Int ReadOnly = "10485760";
    "replica.fetch.wait.max.ms" Int ReadOnly = "500";
    "replica.high.watermark.checkpoint.interval.ms" Long ReadOnly = "5000";
    "replica.lag.time.max.ms" Long ReadOnly = "30000";
    "replica.selector.class" String ReadOnly;
    "replica.socket.receive.buffer.bytes" Int ReadOnly = "65536";
    "replica.socket.timeout.ms" Int ReadOnly = "30000";
    "replication.quota.window.num" Int ReadOnly = "11";
    "replication.quota.window.size.seconds" Int ReadOnly = "1";
    "request.timeout.ms" Int ReadOnly = "30000";
    "sasl.client.callback.handler.class" Class ReadOnly;
    "sasl.enabled.mechanisms" List PerBroker = "GSSAPI";
    "sasl.jaas.config" Password PerBroker;
    "sasl.kerberos.kinit.cmd" String PerBroker = "/usr/bin/kinit";
    "sasl.kerberos.min.time.before.relogin" Long PerBroker = "60000";
    "sasl.kerberos.principal.to.local.rules" List PerBroker = "DEFAULT";
    "sasl.kerberos.service.name" String PerBroker;
    "sasl.kerberos.ticket.renew.jitter" Double PerBroker = "0.05";
    "sasl.kerberos.ticket.renew.window.factor" Double PerBroker = "0.8";
    "sasl.login.callback.handler.class" Class ReadOnly;
    "sasl.login.class" Class ReadOnly;
    "sasl.login.connect.timeout.ms" Int ReadOnly;
    "sasl.login.read.timeout.ms" Int ReadOnly;
    "sasl.login.refresh.buffer.seconds" Short PerBroker = "300";
    "sasl.login.refresh.min.period.seconds" Short PerBroker = "60";
    "sasl.login.refresh.window.factor" Double PerBroker = "0.8";
    "sasl.login.refresh.window.jitter" Double PerBroker = "0.05";
    "sasl.login.retry.backoff.max.ms" Long ReadOnly = "10000";
    "sasl.login.retry.backoff.ms" Long ReadOnly = "100";
    "sasl.mechanism.controller.protocol" String ReadOnly = "GSSAPI";
    "sasl.mechanism.inter.broker.protocol" String PerBroker = "GSSAPI";
    "sasl.oauthbearer.assertion.algorithm" String ReadOnly = "RS256";
    "sasl.oauthbearer.assertion.claim.aud" String ReadOnly;
    "sasl.oauthbearer.assertion.claim.exp.seconds" Int ReadOnly = "300";
    "sasl.oauthbearer.assertion.claim.iss" String ReadOnly;
    "sasl.oauthbearer.assertion.claim.jti.include" Boolean ReadOnly = "false";
    "sasl.oauthbearer.assertion.claim.nbf.seconds" Int ReadOnly = "60";
    "sasl.oauthbearer.assertion.claim.sub" String ReadOnly;
    "sasl.oauthbearer.assertion.file" String ReadOnly;
    "sasl.oauthbearer.assertion.private.key.file" String ReadOnly;
    "sasl.oauthbearer.assertion.private.key.passphrase" Password ReadOnly;
    "sasl.oauthbearer.assertion.template.file" String ReadOnly;
    "sasl.oauthbearer.client.credentials.client.id" String ReadOnly;
    "sasl.oauthbearer.client.credentials.client.secret" Password ReadOnly;
    "sasl.oauthbearer.clock.skew.seconds" Int ReadOnly = "30";
    "sasl.oauthbearer.expected.audience" List ReadOnly = "";
    "sasl.oauthbearer.expected.issuer" String ReadOnly;
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" Long ReadOnly = "3600000";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" Long ReadOnly = "10000";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" Long ReadOnly = "100";
    "sasl.oauthbearer.jwks.endpoint.url" String ReadOnly;
    "sasl.oauthbearer.jwt.retriever.class" Class ReadOnly
        = "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever";
    "sasl.oauthbearer.jwt.validator.class" Class ReadOnly
        = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator";
    "sasl.oauthbearer.scope" String ReadOnly;
    "sasl.oauthbearer.scope.claim.name" String ReadOnly = "scope";
    "sasl.oauthbearer.sub.claim.name" String ReadOnly = "sub";
    "sasl.oauthbearer.token.endpoint.url" String ReadOnly;
    "sasl.server.callback.handler.class" Class ReadOnly;
    "sasl.server.max.receive.size" Int ReadOnly = "524288";
    "security.providers" String ReadOnly;
    "share.coordinator.append.linger.ms" Int ReadOnly = "-1";
    "share.coordinator.cached.buffer.max.bytes" Int ClusterWide = "1048588";
    "share.coordinator.load.buffer.size" Int ReadOnly = "5242880";
    "share.coordinator.snapshot.update.records.per.snapshot" Int ReadOnly = "500";
    "share.coordinator.state.topic.compression.codec" Int ReadOnly = "0";
    "share.coordinator.state.topic.min.isr" Short ReadOnly = "2";
    "share.coordinator.state.topic.num.partitions" Int ReadOnly = "50";
    "share.coordinator.state.topic.replication.factor" Short ReadOnly = "3";
    "share.coordinator.state.topic.segment.bytes" Int ReadOnly = "104857600";
    "share.coordinator.threads" Int ReadOnly = "1";
    "share.coordinator.write.timeout.ms" Int ReadOnly = "5000";
    "share.fetch.purgatory.purge.interval.requests" Int ReadOnly = "1000";
    "socket.connection.setup.timeout.max.ms" Long ReadOnly = "30000";
    "socket.connection.setup.timeout.ms" Long ReadOnly = "10000";
    "ssl.allow.dn.changes" Boolean ReadOnly = "false";
    "ssl.allow.san.changes" Boolean ReadOnly = "false";
    "ssl.cipher.suites" List PerBroker = "";
    "ssl.client.auth" String PerBroker = "none";
    "ssl.enabled.protocols" List PerBroker = "TLSv1.2,TLSv1.3";
    "ssl.endpoint.identification.algorithm" String PerBroker = "https";
    "ssl.engine.factory.class" Class PerBroker;
    "ssl.key.password" Password PerBroker;
    "ssl.keymanager.algorithm" String PerBroker = "SunX509";
    "ssl.keystore.certificate.chain" Password PerBroker;
    "ssl.keystore.key" Password PerBroker;
    "ssl.keystore.location" String PerBroker;
    "ssl.keystore.password" Password PerBroker;
    "ssl.keystore.type" String PerBroker = "JKS";
    "ssl.principal.mapping.rules" String ReadOnly = "DEFAULT";
    "ssl.protocol" String PerBroker = "TLSv1.3";
    "ssl.provider" String PerBroker;
    "ssl.secure.random.implementation" String PerBroker;
    "ssl.trustmanager.algorithm" String PerBroker = "PKIX";
    "ssl.truststore.certificates" Password PerBroker;
    "ssl.truststore.location" String PerBroker;
    "ssl.truststore.password" Password PerBroker;
    "ssl.truststore.type" String PerBroker = "JKS";
    "telemetry.max.bytes" Int ReadOnly = "1048576";
    "transaction.state.log.load.buffer.size" Int ReadOnly = "5242880";
    "transaction.state.log.min.isr" Int ReadOnly = "2";
    "transaction.two.phase.commit.enable" Boolean ReadOnly = "false";
};

/// What replication may use in bytes per second: Kafka knows these only as settings that are altered at run time.
pub static THROTTLES: [Setting; 3] = [
    throttle_of("follower.replication.throttled.rate"),
    throttle_of("leader.replication.throttled.rate"),
    throttle_of("replica.alter.log.dirs.io.max.bytes.per.second"),
];

const fn throttle_of(name: &'static str) -> Setting {
    Setting::new(name, Type::Long, None, Rule::Min(0)).update(Update::ClusterWide).effect(Effect::Nothing).doc(DOC)
}

/// The throttle of a name.
pub fn throttle(name: &str) -> Option<&'static Setting> {
    THROTTLES.iter().find(|setting| setting.name == name)
}

/// Names that Kafka takes and does not describe (its own switches for tests), and those that only exist as dynamic
/// settings.
pub const UNDESCRIBED: &[&str] = &[
    "allow.everyone.if.no.acl.found",
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "follower.replication.throttled.rate",
    "group.share.initialize.retry.interval.ms",
    "group.share.persister.class.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "leader.replication.throttled.rate",
    "log.initial.task.delay.ms",
    "producer.id.expiration.check.interval.ms",
    "remote.log.index.file.cache.ttl.ms",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "super.users",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// The setting of a name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.binary_search_by(|setting| setting.name.cmp(name)).ok().and_then(|index| SETTINGS.get(index))
}

/// Whether Kafka knows the name without describing it.
pub fn is_undescribed(name: &str) -> bool {
    UNDESCRIBED.binary_search(&name).is_ok()
}
