//! Medians, ratios, one table, and the same as JSON.

use std::collections::HashMap;

/// All that was measured, in the order in which figures first appeared.
#[derive(Default)]
pub struct Table {
    figures: Vec<String>,
    values: HashMap<(String, &'static str), Vec<f64>>,
}

impl Table {
    /// Adds one measured value of a broker.
    pub fn add(&mut self, figure: String, broker: &'static str, value: f64) {
        if !self.figures.contains(&figure) {
            self.figures.push(figure.clone());
        }
        self.values.entry((figure, broker)).or_default().push(value);
    }

    fn median(&self, figure: &str, broker: &'static str) -> Option<f64> {
        let mut values = self.values.get(&(figure.to_owned(), broker))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(f64::midpoint(lower, upper))
    }

    /// A table in Markdown: one line a figure, one column a broker; the ratio says how many times better Ottla is.
    pub fn markdown(&self, brokers: &[&'static str]) -> String {
        let mut lines = vec![format!("| figure | {} | Ottla is better by |", brokers.join(" | "))];
        lines.push(format!("|---|{}---:|", "---:|".repeat(brokers.len())));
        for figure in &self.figures {
            let medians: Vec<Option<f64>> = brokers.iter().map(|broker| self.median(figure, broker)).collect();
            let cells: Vec<String> = medians.iter().map(|median| median.map_or_else(String::new, readable)).collect();
            let ratio = match medians.as_slice() {
                [Some(ours), Some(theirs)] => better(figure, *ours, *theirs),
                _ => String::new(),
            };
            lines.push(format!("| {figure} | {} | {ratio} |", cells.join(" | ")));
        }
        lines.join("\n")
    }

    /// Every value, for whoever wants to compute with them.
    pub fn json(&self, brokers: &[&'static str]) -> String {
        let figures: Vec<String> = self
            .figures
            .iter()
            .map(|figure| {
                let of: Vec<String> = brokers
                    .iter()
                    .filter_map(|broker| {
                        let values = self.values.get(&(figure.clone(), broker))?;
                        let median = self.median(figure, broker)?;
                        Some(format!("\"{broker}\": {{\"median\": {median}, \"values\": {values:?}}}"))
                    })
                    .collect();
                format!("  \"{}\": {{{}}}", figure.trim(), of.join(", "))
            })
            .collect();
        format!("{{\n{}\n}}\n", figures.join(",\n"))
    }
}

fn better(figure: &str, ours: f64, theirs: f64) -> String {
    let more_is_better = (figure.contains("msg/s") || figure.contains("per second")) && !figure.contains("CPU");
    let (good, bad) = if more_is_better { (ours, theirs) } else { (theirs, ours) };
    // Below the resolution of what is measured a ratio says nothing.
    if bad <= 0.0 { "-".to_owned() } else { format!("{:.2}x", good / bad) }
}

fn readable(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
