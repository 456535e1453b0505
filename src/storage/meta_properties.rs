//! `meta.properties`: which cluster and which node a data folder belongs to. A Java properties file.

use std::fmt::Write as _;

use uuid::Uuid;

use super::checkpoint::Malformed;
use super::partition_metadata::parse_uuid;
use crate::types::{NodeId, TopicId};

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: NodeId,
    /// `directory.id`: tells the folders of one node apart. Kafka before 3.7 wrote none.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Encodes the file, its lines in the order in which Kafka writes them.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = String::from("#\n");
        let mut line = |name: &str, value: &str| {
            file.push_str(name);
            file.push('=');
            escape(value, &mut file);
            file.push('\n');
        };
        line("node.id", &self.node_id.to_string());
        if let Some(id) = self.directory_id {
            // Every id of Kafka's prints alike.
            line("directory.id", &TopicId(id).to_string());
        }
        line("version", "1");
        line("cluster.id", &self.cluster_id);
        file.into_bytes()
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let properties = properties(bytes)?;
        let get = |name: &str| properties.iter().rfind(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let required = |name: &str| get(name).ok_or_else(|| Malformed(format!("{name} is missing")));
        match required("version")? {
            "1" => {}
            other => return Err(Malformed(format!("version = {other} is not known, only 1 is"))),
        }
        let node_id = required("node.id")?;
        let directory_id = get("directory.id")
            .map(|id| parse_uuid(id).ok_or_else(|| Malformed(format!("directory.id = {id} is no id"))))
            .transpose()?;
        Ok(Self {
            cluster_id: required("cluster.id")?.to_owned(),
            node_id: NodeId(node_id.parse().map_err(|_| Malformed(format!("node.id = {node_id} is no number")))?),
            directory_id,
        })
    }
}

/// Appends a value so that Java reads it back, whatever it holds.
fn escape(value: &str, into: &mut String) {
    for (i, c) in value.chars().enumerate() {
        match c {
            ' ' if i == 0 => into.push_str("\\ "),
            '\t' => into.push_str("\\t"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\x0c' => into.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' => {
                into.push('\\');
                into.push(c);
            }
            ' '..='~' => into.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing into a String cannot fail.
                    let _ = write!(into, "\\u{unit:04X}");
                }
            }
        }
    }
}

/// The names and values of a Java properties file, in order. Bytes are Latin-1, everything else is escaped.
fn properties(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let mut properties = Vec::new();
    let mut lines = text.split(['\n', '\r']);
    while let Some(line) = lines.next() {
        let mut line = line.trim_start_matches(BLANK).to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        // A backslash at the end, itself not escaped, joins the next line.
        while line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start_matches(BLANK));
        }
        let (name, value) = split(&line);
        properties.push((unescape(name)?, unescape(value)?));
    }
    Ok(properties)
}

const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// Splits at the first `=`, `:` or blank that no backslash escapes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANK.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, Malformed> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            chars.next().unwrap_or_default()
        } else {
            units.push(c as u16);
            continue;
        };
        units.push(match c {
            't' => u16::from(b'\t'),
            'n' => u16::from(b'\n'),
            'r' => u16::from(b'\r'),
            'f' => 0x0c,
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = if digits.len() == 4 { u16::from_str_radix(&digits, 16).ok() } else { None };
                unit.ok_or_else(|| Malformed(format!("\\u{digits} is no escaped character")))?
            }
            other => other as u16,
        });
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KAFKAS: &str = "#\n#Mon Nov 23 09:35:02 UTC 2026\nnode.id=1\ndirectory.id=DyDokjlGAFbSyD4K54KSCg\nversion=1\n\
        cluster.id=zma_nPSwS66OM88GPBFMAw\n";

    #[test]
    fn the_file_is_kafkas_but_for_the_date() {
        let read = MetaProperties::decode(KAFKAS.as_bytes()).unwrap();
        assert_eq!((read.cluster_id.as_str(), read.node_id), ("zma_nPSwS66OM88GPBFMAw", NodeId(1)));
        assert_eq!(String::from_utf8(read.encode()).unwrap(), KAFKAS.replace("#Mon Nov 23 09:35:02 UTC 2026\n", ""));
    }

    #[test]
    fn javas_syntax_is_read() {
        let file = b" ! a comment\r\nnode.id : 3\n\tversion 1\ncluster\\.id = a\\u0042\\=\\\n   c\\td \n";
        let read = MetaProperties::decode(file).unwrap();
        assert_eq!(read, MetaProperties { cluster_id: "aB=c\td ".to_owned(), node_id: NodeId(3), directory_id: None });
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (bad, named) in [
            ("node.id=1\ncluster.id=x\n", "version"),
            ("version=0\nbroker.id=1\n", "version = 0"),
            ("version=1\ncluster.id=x\n", "node.id"),
            ("version=1\nnode.id=1\n", "cluster.id"),
            ("version=1\nnode.id=one\ncluster.id=x\n", "node.id = one"),
            ("version=1\nnode.id=1\ncluster.id=x\ndirectory.id=?\n", "directory.id = ?"),
            ("version=1\nnode.id=1\ncluster.id=\\u12\n", "\\u12"),
        ] {
            let error = MetaProperties::decode(bad.as_bytes()).unwrap_err();
            assert!(error.0.contains(named), "{bad:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_cluster_id_is_read_back(cluster_id in any::<String>(), node_id: i32, id: u128) {
            let written = MetaProperties { cluster_id, node_id: NodeId(node_id), directory_id: Some(Uuid::from_u128(id)) };
            prop_assert_eq!(MetaProperties::decode(&written.encode()), Ok(written));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MetaProperties::decode(&bytes);
        }
    }
}
