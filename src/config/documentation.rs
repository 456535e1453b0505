//! docs/configuration.md, made from the tables, so that it says what the program does and nothing else.

use std::fmt::Write;

use super::def::{Effect, Rule, Setting, Update};
use super::group::{self, GroupSetting};
use super::topic::{self, TopicSetting};
use super::{broker, known};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the tables in src/config by `cargo run -- configuration > docs/configuration.md`; a test compares. -->

Ottla takes Apache Kafka's settings under Kafka's names. They can be given in five ways; a later one wins:

1. the defaults below,
2. a properties file: `ottla serve --config server.properties`; with it comes Kafka's default of \
`group.initial.rebalance.delay.ms`,
3. environment variables, mapped as the image apache/kafka maps them: behind `KAFKA_`, three underscores are a dash, \
two are an underscore, one is a dot (`KAFKA_LOG_RETENTION_HOURS` is `log.retention.hours`); `CLUSTER_ID` is the \
cluster's id,
4. `--set name=value`, as often as needed,
5. flags of their own: `--listen`, `--data-dir`, `--durability`, `--ephemeral`, `--cluster-id`, `--log-level`.

A value that its setting does not take stops the start, and so does a setting that asks for what Ottla does not have \
(TLS listeners, ACLs, several controllers, tiered storage). An unknown name is a warning that suggests the nearest \
known one. A known name without effect is a warning too.

A file written for a single Kafka node of the roles broker and controller works unchanged: the controller's listener \
is not opened, as there is nobody to talk to.

Where `advertised.listeners` names a listener, clients are told that address; otherwise they are told the address \
that they dialled, so that containers, forwarded ports and several networks need no setting.
";

/// The page.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Broker settings\n\n");
    page.push_str("Changes: *start* needs a restart; *run* can be altered while the broker runs.\n");
    page.push_str("Settings marked *later* are checked, kept and described, but act only in a later version.\n\n");
    page.push_str("| Setting | Type | Default | Values | Changes | What it does |\n|---|---|---|---|---|---|\n");
    let mut settings: Vec<&Setting> = broker::SETTINGS.iter().chain(broker::INTERNAL).collect();
    settings.sort_unstable_by_key(|setting| setting.name);
    for setting in settings {
        broker_row(&mut page, setting);
    }
    page.push_str("\n## Topic settings\n\n");
    page.push_str(
        "Each can be set when a topic is created and altered later. Without a value of its own, a topic takes \
                   the first of the broker settings that is given.\n\n",
    );
    page.push_str(
        "| Setting | Type | Default | Values | Broker settings | What it does |\n|---|---|---|---|---|---|\n",
    );
    for entry in topic::SETTINGS {
        topic_row(&mut page, entry);
    }
    page.push_str("\n## Group settings\n\n");
    page.push_str(
        "Each can be altered for a group at any time, whether the group exists or not (`kafka-configs.sh --entity-type \
         groups --entity-name GROUP`). Without a value of its own, a group takes that of the broker setting; what it \
         sets must lie within the bounds that are named beside it.\n\n",
    );
    page.push_str(
        "| Setting | Type | Default | Values | Broker settings | What it does |\n|---|---|---|---|---|---|\n",
    );
    for entry in group::SETTINGS {
        group_row(&mut page, entry);
    }
    page.push_str("\n## Settings of Kafka without effect\n\n");
    page.push_str("They are accepted, so that files written for Kafka work, and named in a warning at start.\n\n");
    let names: Vec<_> = known::SETTINGS.iter().map(|setting| format!("`{}`", setting.name)).collect();
    page.push_str(&names.join(",\n"));
    page.push_str(".\n");
    page
}

fn broker_row(page: &mut String, setting: &Setting) {
    let changes = if setting.update == Update::ReadOnly { "start" } else { "run" };
    row(page, setting, changes);
}

fn topic_row(page: &mut String, entry: &TopicSetting) {
    let synonyms: Vec<_> = entry.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
    row(page, &entry.setting, &synonyms.join(", "));
}

fn group_row(page: &mut String, entry: &GroupSetting) {
    let bound = |which, limit: Option<&str>| limit.map(|name| format!("{which} `{name}`"));
    let broker = entry.broker.map(|name| format!("`{name}`"));
    let all: Vec<_> =
        [broker, bound("at least", entry.min), bound("at most", entry.max)].into_iter().flatten().collect();
    row(page, &entry.setting, &all.join(", "));
}

fn row(page: &mut String, setting: &Setting, fifth: &str) {
    let default = match setting.default {
        None => String::new(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    };
    let values = if setting.rule == Rule::Any { String::new() } else { setting.rule.to_string() };
    let later = if setting.effect == Effect::Stored { "*Later.* " } else { "" };
    let Setting { name, doc, .. } = setting;
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| `{name}` | {} | {default} | {values} | {fifth} | {later}{doc} |", setting.kind.name());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == super::markdown(), "make it anew: cargo run -- configuration > docs/configuration.md");
    }
}
