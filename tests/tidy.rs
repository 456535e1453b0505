//! Keeps the walls of `docs/architecture.md` standing: plain text scanning, no compiler needed.
//!
//! Every rule says what it found, where, and which page says why. A rule that is wrong is changed there first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that decide and never act: no I/O, no clock, no lock, no randomness, no runtime.
const PURE: [&str; 6] = ["src/wire/", "src/log/", "src/group/", "src/txn/", "src/metadata/", "src/types.rs"];

/// Drivers that live beside the pure core they drive.
const NOT_PURE: [&str; 2] = ["src/metadata/store.rs", "src/metadata/store/"];

/// Names that a pure room may not say, and what they would bring in.
const IMPURE: [(&str, &str); 14] = [
    ("tokio", "a runtime"),
    ("fs", "the file system"),
    ("net", "the network"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("parking_lot", "a lock"),
    ("Mutex", "a lock"),
    ("RwLock", "a lock"),
    ("Condvar", "a lock"),
    ("dashmap", "a lock"),
    ("rand", "randomness"),
    ("new_v4", "randomness"),
    ("thread_rng", "randomness"),
    ("spawn", "a thread"),
];

/// Channels that grow without end, whichever crate they are from.
const UNBOUNDED: [&str; 4] = ["unbounded", "unbounded_channel", "UnboundedSender", "UnboundedReceiver"];

const MAX_LINES: usize = 800;

/// The comment that excuses a `sleep` on its own line or on the next: `tidy: may sleep: <reason>`.
const MAY_SLEEP: &str = "tidy: may sleep: ";

const ARCHITECTURE: &str = "docs/architecture.md";

#[test]
fn pure_rooms_stay_pure() {
    let mut findings = Findings::default();
    for file in rust_files(&["src"]) {
        let pure = PURE.iter().any(|room| file.path.starts_with(room));
        if !pure || NOT_PURE.iter().any(|driver| file.path.starts_with(driver)) {
            continue;
        }
        for (number, line) in file.shipped_lines() {
            for (name, what) in IMPURE {
                if words(line).any(|word| word == name) {
                    findings.add(
                        &file.path,
                        number,
                        &format!("a pure room names `{name}` ({what}); take it as an argument"),
                    );
                }
            }
        }
    }
    findings.report("Rooms");
}

#[test]
fn files_stay_short() {
    let mut findings = Findings::default();
    for file in rust_files(&["src", "tests", "compat", "benches"]) {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            findings.add(
                &file.path,
                lines,
                &format!("{lines} lines; a file ends at {MAX_LINES}: split it by what it decides"),
            );
        }
    }
    findings.report("What to avoid");
}

#[test]
fn shipped_code_does_not_panic() {
    let mut findings = Findings::default();
    for file in rust_files(&["src"]) {
        for (number, line) in file.shipped_lines() {
            for call in [".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!", "todo!", "unimplemented!"]
            {
                if contains_call(line, call) {
                    findings.add(&file.path, number, &format!("`{call}` outside tests; return an error instead"));
                }
            }
        }
    }
    findings.report("Rules that hold everywhere");
}

#[test]
fn channels_are_bounded() {
    let mut findings = Findings::default();
    for file in rust_files(&["src", "compat"]) {
        for (number, line) in file.shipped_lines() {
            let unbounded = words(line).any(|word| UNBOUNDED.contains(&word));
            // A bounded channel always takes its size; only std's unbounded one takes nothing, and one that carries one
            // value.
            let sizeless = line.contains("channel()") || (line.contains("channel::<") && line.contains(">()"));
            if unbounded || (sizeless && !line.contains("oneshot::channel")) {
                findings.add(
                    &file.path,
                    number,
                    "an unbounded channel; give it a size and say what happens when it is full",
                );
            }
        }
    }
    findings.report("Rules that hold everywhere");
}

#[test]
fn nothing_sleeps_for_a_condition() {
    let mut findings = Findings::default();
    for file in rust_files(&["src", "tests", "compat", "benches"]) {
        let original: Vec<&str> = file.text.lines().collect();
        for (number, line) in file.code_lines() {
            let sleeps = words(line).any(|word| word == "sleep" || word == "sleep_until") && line.contains("sleep");
            let excused = original[number.saturating_sub(2)..number].iter().any(|line| {
                line.split_once(MAY_SLEEP).is_some_and(|(before, why)| before.contains("//") && why.trim().len() > 10)
            });
            if sleeps && !line.trim_start().starts_with("use ") && !excused {
                let help = format!("a sleep; wait for the condition, or excuse it with `// {MAY_SLEEP}<reason>`");
                findings.add(&file.path, number, &help);
            }
        }
    }
    findings.report("Rules that hold everywhere");
}

#[test]
fn nothing_is_unsafe() {
    let mut findings = Findings::default();
    for file in rust_files(&["src", "tests", "compat", "benches"]) {
        for (number, line) in file.code_lines() {
            if words(line).any(|word| word == "unsafe") {
                findings.add(&file.path, number, "`unsafe`; rustix has safe system calls");
            }
        }
    }
    findings.report("Rules that hold everywhere");
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Spelt in halves, or this file would find itself.
    let homes = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["/Us", "ers/"]].map(|halves| halves.concat());
    let mut findings = Findings::default();
    for path in files_below(root(), &["target", ".git", "ottla-data"]) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            for home in &homes {
                let absolute = line.match_indices(home.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-~}$".contains(before))
                });
                if absolute {
                    findings.add(
                        &relative(&path),
                        index + 1,
                        &format!("an absolute path ({home}...); no two machines share it"),
                    );
                }
            }
        }
    }
    findings.report("Rules that hold everywhere");
}

#[test]
fn the_scanner_reads_rust() {
    let file = RustFile::new(
        "x.rs",
        "fn a() { b(\"unsafe\", 'x', r#\"todo!() \"# ); } // panic!\n\
         /* unsafe /* nested */ unsafe */ fn c<'a>(x: &'a str) { d('\\'', b'\"') }\n\
         #[cfg(test)]\n\
         mod tests {\n    fn e() { f.unwrap() }\n}\n\
         fn g() { h.unwrap() }\n",
    );
    let code: Vec<String> = file.code_lines().map(|(_, line)| line.to_owned()).collect();
    assert!(!code.join("\n").contains("unsafe"));
    assert!(!code[0].contains("todo!") && !code[0].contains("panic!"));
    assert!(code[1].contains("fn c<'a>"));
    let unwraps: Vec<usize> =
        file.shipped_lines().filter(|(_, line)| line.contains(".unwrap()")).map(|(number, _)| number).collect();
    assert_eq!(unwraps, [7], "the test module is exempt, what follows it is not");
}

/// What a rule found, one line each.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, path: &str, line: usize, what: &str) {
        self.0.push(format!("{path}:{line}: {what}"));
    }

    fn report(self, section: &str) {
        assert!(
            self.0.is_empty(),
            "\n\n{}\n\n{} finding(s). The rule is written in {ARCHITECTURE}, under \"{section}\".\n",
            self.0.join("\n"),
            self.0.len()
        );
    }
}

/// A source file, and the same text with comments and literals blanked.
struct RustFile {
    path: String,
    text: String,
    code: String,
    /// Per line: whether it belongs to an item under `#[cfg(test)]`.
    test_only: Vec<bool>,
}

impl RustFile {
    fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let test_only = lines_under_cfg_test(&code);
        Self { path: path.to_owned(), text: text.to_owned(), code, test_only }
    }

    /// Lines without comments and literals, numbered from 1.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The same, without items under `#[cfg(test)]`.
    fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().filter(|(number, _)| !self.test_only[number - 1])
    }

    /// Folders and files of this file's `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let path = Path::new(&self.path);
        let stem = path.file_stem().unwrap().to_string_lossy();
        let parent = path.parent().unwrap();
        let folder = if matches!(&*stem, "mod" | "lib" | "main") { parent.to_owned() } else { parent.join(&*stem) };
        self.code_lines()
            .filter(|(number, line)| self.test_only[number - 1] && line.trim_end().ends_with(';'))
            .filter_map(|(_, line)| {
                line.split_once("mod ").map(|(_, name)| name.trim().trim_end_matches(';').to_owned())
            })
            .map(|name| folder.join(name).to_string_lossy().into_owned())
            .collect()
    }
}

/// All Rust files below these folders of the project; files that are test modules count as test-only throughout.
fn rust_files(folders: &[&str]) -> Vec<RustFile> {
    let mut files = Vec::new();
    for folder in folders {
        for path in files_below(root().join(folder), &["target"]) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(RustFile::new(&relative(&path), &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let test_modules: Vec<String> = files.iter().flat_map(RustFile::test_modules).collect();
    for file in &mut files {
        if test_modules
            .iter()
            .any(|module| file.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
        {
            file.test_only.fill(true);
        }
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn files_below(folder: PathBuf, except: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            if except.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether the line has this call or macro as a whole: `.expect(` is no part of `.expected(`, `panic!` none of `dont_panic!`.
fn contains_call(line: &str, call: &str) -> bool {
    line.match_indices(call).any(|(at, _)| {
        call.starts_with('.') || !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Replaces comments, strings and characters by spaces, so that what is left is code; lines stay where they are.
fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let follows = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if follows(1) == '/' => (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len()),
        '/' if follows(1) == '*' => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        'r' if !inside_word && matches!(follows(1), '"' | '#') => raw_string_end(chars, at + 1).unwrap_or(at),
        'b' if !inside_word && follows(1) == 'r' => raw_string_end(chars, at + 2).unwrap_or(at),
        // A character, not a lifetime: closed after one character or after an escape.
        '\'' if follows(1) == '\\' || follows(2) == '\'' => quoted_end(chars, at, '\''),
        _ => at,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `hashes` is where the `#`s or the quote of a raw string begin; `None` when it is a raw identifier.
fn raw_string_end(chars: &[char], hashes: usize) -> Option<usize> {
    let count = chars[hashes..].iter().take_while(|&&c| c == '#').count();
    if chars.get(hashes + count) != Some(&'"') {
        return None;
    }
    let body = hashes + count + 1;
    let closed = (body..chars.len())
        .find(|&i| chars[i] == '"' && (1..=count).all(|hash| chars.get(i + hash) == Some(&'#')))
        .unwrap_or(chars.len());
    Some((closed + 1 + count).min(chars.len()))
}

/// Marks the lines of every item that stands under `#[cfg(test)]`: up to its closing brace, or its semicolon.
fn lines_under_cfg_test(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let mut depth = 0_usize;
        let body = start + attribute.len();
        let mut end = code.len();
        for (offset, c) in code[body..].char_indices() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = body + offset;
                break;
            }
        }
        let first = code[..start].matches('\n').count();
        let last = code[..end].matches('\n').count();
        marks.iter_mut().take(last + 1).skip(first).for_each(|mark| *mark = true);
    }
    marks
}
