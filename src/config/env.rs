//! `KAFKA_*` variables, mapped to settings as the image apache/kafka maps them.
//!
//! Behind `KAFKA_`, in small letters: three underscores are `-`, two are `_`, one is `.`.

/// Variables of the image that are no settings: they steer the JVM, logging or the image itself.
const NO_SETTINGS: &[&str] = &[
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPT",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
];

/// The setting that a variable gives, if it gives one. `CLUSTER_ID` is the image's name for the cluster's id.
pub fn setting(variable: &str) -> Option<String> {
    if matches!(variable, "CLUSTER_ID" | "KAFKA_CLUSTER_ID") {
        return Some("ottla.cluster.id".to_owned());
    }
    if NO_SETTINGS.contains(&variable) || is_service_link(variable) {
        return None;
    }
    let name = variable.strip_prefix("KAFKA_").filter(|name| !name.is_empty())?;
    let name = name.to_lowercase().replace('_', ".").replace("...", "-").replace("..", "_");
    Some(name)
}

/// Kubernetes describes a service named kafka to every pod beside it: `KAFKA_SERVICE_PORT`, `KAFKA_PORT_9092_TCP`.
fn is_service_link(variable: &str) -> bool {
    variable == "KAFKA_PORT"
        || variable == "KAFKA_SERVICE_HOST"
        || variable.starts_with("KAFKA_SERVICE_PORT")
        || (variable.starts_with("KAFKA_PORT_") && variable.contains("_TCP"))
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn underscores_become_dots_underscores_and_dashes() {
        for (variable, name) in [
            ("KAFKA_LOG_RETENTION_HOURS", "log.retention.hours"),
            ("KAFKA_NODE_ID", "node.id"),
            ("KAFKA_OTTLA_DURABILITY", "ottla.durability"),
            ("KAFKA_LISTENER_NAME_A__B_X", "listener.name.a_b.x"),
            ("KAFKA_A___B", "a-b"),
            ("KAFKA_A____B", "a-.b"),
            ("KAFKA_A_____B", "a-_b"),
            ("CLUSTER_ID", "ottla.cluster.id"),
        ] {
            assert_eq!(setting(variable).as_deref(), Some(name), "{variable}");
        }
    }

    #[test]
    fn what_is_not_a_setting_is_left_alone() {
        for variable in [
            "PATH",
            "KAFKA_",
            "KAFKA_HEAP_OPTS",
            "KAFKA_VERSION",
            "SCALA_VERSION",
            "KAFKA_JMX_PORT",
            "KAFKA_SERVICE_HOST",
            "KAFKA_SERVICE_PORT_CLIENT",
            "KAFKA_PORT",
            "KAFKA_PORT_9092_TCP_ADDR",
        ] {
            assert_eq!(setting(variable), None, "{variable}");
        }
    }
}
