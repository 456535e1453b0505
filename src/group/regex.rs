//! Placeholder: a literal, or a prefix followed by `.*`.

/// Topics that a pattern stands for.
pub fn resolve<'a>(pattern: &str, topics: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    if pattern.contains('(') {
        return Err("missing closing )".to_owned());
    }
    let matches = |name: &&str| pattern.strip_suffix(".*").map_or(*name == pattern, |prefix| name.starts_with(prefix));
    Ok(topics.filter(matches).map(str::to_owned).collect())
}
