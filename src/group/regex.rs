//! The regular expressions by which members of consumer groups subscribe to topics (KIP-848): RE2's syntax, as the
//! library RE2/J of Kafka's broker reads it.
//!
//! The crate `regex` works as RE2 does, in time linear in the name, but reads another syntax. What RE2/J reads is
//! therefore checked here and written anew: nested classes and set operations, `(?x)`, `\<` and `a++`, which mean
//! something else or nothing to RE2/J, do not reach the crate, `\Q...\E` and a `{` that begins no repetition do.
//! Topics have ASCII names, so that nothing needs tables of Unicode: a class such as `\pL` stands for those of its
//! characters that names may have, and a name of a class that is not known here (most are of scripts) for none.
//!
//! Not read, though RE2/J does: octal escapes (`\123`), and groups in more than 250 levels.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// The largest compiled expression, in bytes. What a name costs grows with it.
const MAX_COMPILED: usize = 1 << 20;
/// The largest count in a repetition (RE2's).
const MAX_REPEAT: u32 = 1000;
/// The names of classes in brackets.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];
/// A byte that no name has.
const NEVER: &str = r"\xFF";

/// The topics that a pattern stands for: those whose whole name matches, in ascending order. Internal topics are among
/// them, as in Kafka. The time is proportional to the names times the compiled pattern in the worst case: with many
/// topics this is no work for a thread that others wait for.
///
/// # Errors
///
/// As [`check`].
pub fn resolve<'a>(pattern: &str, topics: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let regex = compile(pattern)?;
    let mut matching: Vec<String> =
        topics.filter(|name| regex.is_match(name.as_bytes())).map(ToOwned::to_owned).collect();
    matching.sort_unstable();
    Ok(matching)
}

/// Whether a pattern can be read.
///
/// # Errors
///
/// What is wrong with it, in words for a message to the client, which gets INVALID_REGULAR_EXPRESSION.
pub fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(drop)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |translated: String| {
        RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
            .unicode(false)
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(|error| describe(&error))
    };
    translate(pattern).and_then(build)
}

/// The last line of what the crate says; the lines above it draw where in the translated pattern it is.
fn describe(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes"),
        error => {
            let text = error.to_string();
            text.rsplit("error: ").next().unwrap_or_default().trim().to_owned()
        }
    }
}

/// Writes a pattern of RE2's syntax in the crate's.
fn translate(pattern: &str) -> Result<String, String> {
    let (rest, out) = (pattern.chars().peekable(), String::with_capacity(pattern.len()));
    let mut translator = Translator { rest, out, names: BTreeSet::new() };
    translator.expression()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Of the groups so far.
    names: BTreeSet<String>,
}

impl Translator<'_> {
    fn expression(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        let mut repeated = false;
        while let Some(next) = self.rest.next() {
            let was_repeated = std::mem::take(&mut repeated);
            match next {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => {
                    // Flags alone open no group.
                    depth += usize::from(self.group()?);
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("unexpected )")?;
                    self.out.push(')');
                }
                '*' | '+' | '?' => {
                    self.repetition(was_repeated, &next.to_string())?;
                    repeated = true;
                }
                '{' => {
                    if let Some(counts) = self.counts()? {
                        self.repetition(was_repeated, &counts)?;
                        repeated = true;
                    } else {
                        self.literal('{');
                    }
                }
                '.' | '^' | '$' | '|' => self.out.push(next),
                literal => self.literal(literal),
            }
        }
        if depth == 0 { Ok(()) } else { Err("missing closing )".to_owned()) }
    }

    /// A repetition, lazy or not. RE2 repeats no repetition.
    fn repetition(&mut self, was_repeated: bool, operator: &str) -> Result<(), String> {
        if was_repeated {
            return Err(format!("bad repetition operator: {operator}"));
        }
        self.out.push_str(operator);
        self.out.extend(self.rest.next_if_eq(&'?'));
        Ok(())
    }

    /// Takes `n}`, `n,}` or `n,m}`; anything else after a `{` makes that one a character as any other.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let ahead: String = self.rest.clone().take_while(|next| *next != '}').take(12).collect();
        let (least, most) = ahead.split_once(',').unwrap_or((&ahead, &ahead));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let closed = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        if !closed || !digits(least) || !(most.is_empty() || digits(most)) {
            return Ok(None);
        }
        let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= MAX_REPEAT);
        let invalid = || format!("invalid repeat count: {{{ahead}}}");
        let least = count(least).ok_or_else(invalid)?;
        let most = if most.is_empty() { None } else { Some(count(most).ok_or_else(invalid)?) };
        if most.is_some_and(|most| most < least) {
            return Err(invalid());
        }
        self.rest.by_ref().take(ahead.len() + 1).for_each(drop);
        Ok(Some(format!("{{{ahead}}}")))
    }

    /// What follows a `(`. Says whether it opens a group.
    fn group(&mut self) -> Result<bool, String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(true);
        }
        if self.rest.next_if_eq(&'P').is_some() || self.rest.peek() == Some(&'<') {
            return self.name().map(|()| true);
        }
        self.out.push('?');
        loop {
            let next = self.rest.next().ok_or("missing closing )")?;
            self.out.push(next);
            match next {
                ':' => return Ok(true),
                ')' => return Ok(false),
                'i' | 'm' | 's' | 'U' | '-' => {}
                other => return Err(format!("invalid or unsupported Perl syntax: (?{other}")),
            }
        }
    }

    /// Takes the name of a group, which nobody asks for, but which no other may have.
    fn name(&mut self) -> Result<(), String> {
        let open = self.rest.next() == Some('<');
        let mut name = String::new();
        while let Some(next) = self.rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
            name.push(next);
        }
        if !open || name.is_empty() || self.rest.next() != Some('>') {
            return Err("invalid named capture".to_owned());
        }
        if self.names.insert(name) { Ok(()) } else { Err("duplicate capture group name".to_owned()) }
    }

    /// A class in brackets, after its `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        self.out.extend(self.rest.next_if_eq(&'^'));
        let mut first = true;
        loop {
            match self.rest.next().ok_or("missing closing ]")? {
                ']' if !first => break,
                '[' if self.rest.peek() == Some(&':') => self.named_class()?,
                '\\' if self.rest.peek().is_some_and(|next| "dDsSwWpP".contains(*next)) => self.escape(true)?,
                low => self.range(low)?,
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` within a class, after its first `[`.
    fn named_class(&mut self) -> Result<(), String> {
        self.rest.next();
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut name = String::new();
        while let Some(next) = self.rest.next_if(char::is_ascii_lowercase) {
            name.push(next);
        }
        // The crate would take one that it does not know for a class of these characters.
        let is_known = CLASSES.contains(&name.as_str());
        if !is_known || self.rest.next() != Some(':') || self.rest.next() != Some(']') {
            return Err("invalid character class range".to_owned());
        }
        self.out.push_str(if negated { "[:^" } else { "[:" });
        self.out.push_str(&name);
        self.out.push_str(":]");
        Ok(())
    }

    /// A character within a class, or a range of them, after its first character.
    fn range(&mut self, low: char) -> Result<(), String> {
        self.class_character(low)?;
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']') {
            self.out.extend(self.rest.next());
            let high = self.rest.next().ok_or("missing closing ]")?;
            self.class_character(high)?;
        }
        Ok(())
    }

    fn class_character(&mut self, next: char) -> Result<(), String> {
        if next == '\\' {
            return self.character_escape();
        }
        self.literal(next);
        Ok(())
    }

    /// What follows a backslash, in a class or outside.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some(&next) = self.rest.peek() else { return Err("trailing backslash at end of expression".to_owned()) };
        match next {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => self.pass(next),
            'A' | 'z' | 'b' | 'B' if !in_class => self.pass(next),
            'p' | 'P' => self.property()?,
            'Q' if !in_class => self.quoted(),
            _ => self.character_escape()?,
        }
        Ok(())
    }

    fn pass(&mut self, letter: char) {
        self.rest.next();
        self.out.extend(['\\', letter]);
    }

    /// An escape that stands for one character.
    fn character_escape(&mut self) -> Result<(), String> {
        let next = self.rest.next().ok_or("trailing backslash at end of expression")?;
        match next {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => self.out.extend(['\\', next]),
            'x' => {
                let character = self.hexadecimal().ok_or(r"invalid escape sequence: \x")?;
                self.literal(character);
            }
            other if other.is_ascii_punctuation() || other == ' ' => self.literal(other),
            other => return Err(format!(r"invalid escape sequence: \{other}")),
        }
        Ok(())
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<char> {
        let mut value = 0_u32;
        if self.rest.next_if_eq(&'{').is_none() {
            for _ in 0..2 {
                value = value * 16 + self.rest.next()?.to_digit(16)?;
            }
            return char::from_u32(value);
        }
        let mut digits = 0;
        while let Some(digit) = self.rest.next_if(|next| *next != '}') {
            value = value.checked_mul(16)?.checked_add(digit.to_digit(16)?)?;
            digits += 1;
        }
        self.rest.next().filter(|_| digits > 0).and_then(|_| char::from_u32(value))
    }

    /// A class by its name in Unicode, after its backslash.
    fn property(&mut self) -> Result<(), String> {
        let mut negated = self.rest.next() == Some('P');
        let mut name = String::new();
        match self.rest.next() {
            Some('{') => {
                negated ^= self.rest.next_if_eq(&'^').is_some();
                while let Some(next) = self.rest.next_if(|next| *next == '_' || next.is_ascii_alphabetic()) {
                    name.push(next);
                }
                if self.rest.next() != Some('}') {
                    name.clear();
                }
            }
            letter => name.extend(letter.filter(char::is_ascii_alphabetic)),
        }
        if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Err("invalid character class range".to_owned());
        }
        let members = match name.as_str() {
            "L" | "Latin" => "A-Za-z",
            "Lu" => "A-Z",
            "Ll" => "a-z",
            "N" | "Nd" => "0-9",
            "P" => r"\-._",
            "Pd" => r"\-",
            "Pc" => "_",
            "Po" => ".",
            "Common" => r"0-9\-._",
            "Any" => r"\x00-\xFF",
            _ => NEVER,
        };
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(members);
        self.out.push(']');
        Ok(())
    }

    /// What stands between `\Q` and `\E`, or the end.
    fn quoted(&mut self) {
        self.rest.next();
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            self.literal(next);
        }
    }

    /// A character that stands for itself.
    fn literal(&mut self, character: char) {
        match character {
            _ if character.is_ascii_alphanumeric() => self.out.push(character),
            _ if character.is_ascii() => {
                let digit = |value: u32| char::from_digit(value, 16).unwrap_or_default();
                let code = u32::from(character);
                self.out.extend(['\\', 'x', digit(code >> 4), digit(code & 0xf)]);
            }
            _ => self.out.push_str(NEVER),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPICS: [&str; 9] =
        ["orders", "orders.eu", "orders-us", "Orders", "a{1}", "a_b", "__consumer_offsets", "x9", "order+s"];

    fn matches(pattern: &str) -> Vec<String> {
        resolve(pattern, TOPICS.into_iter()).unwrap()
    }

    #[test]
    fn the_whole_name_has_to_match() {
        assert_eq!(matches("orders"), ["orders"]);
        assert_eq!(matches("orders|a"), ["orders"]);
        assert_eq!(matches("orders.*"), ["orders", "orders-us", "orders.eu"]);
        assert_eq!(matches("^order$"), [""; 0]);
        assert_eq!(matches("o|orders"), ["orders"], "alternatives that match a part do not hide one that matches all");
    }

    #[test]
    fn all_topics_can_match_and_come_sorted() {
        let mut all = TOPICS.map(str::to_owned).to_vec();
        all.sort();
        assert_eq!(matches(".*"), all);
        assert_eq!(matches(""), [""; 0]);
    }

    #[test]
    fn re2_syntax_is_read() {
        for (pattern, expected) in [
            (r"\Qorders.eu\E", "orders.eu"),
            (r"\Qorder+s", "order+s"),
            (r"\Qorder+\Es?", "order+s"),
            ("a{1}", ""),
            (r"a\{1}", "a{1}"),
            (r"\<?orders", "orders"),
            ("a{1}{,2", ""),
            ("a{,1}", ""),
            ("(?i)ORDERS", "Orders orders"),
            ("(?i:ORDERS)", "Orders orders"),
            ("(?P<name>orders)", "orders"),
            ("(?<name>orders)", "orders"),
            (r"\x6frders", "orders"),
            (r"\x{6F}rders", "orders"),
            (r"[[:lower:]]+", "orders"),
            (r"[[:lower:][]+", "orders"),
            (r"[]o[&&r-s~~de]+", "orders"),
            (r"orders[+--]\w+", "orders-us"),
            (r"orders[--.]\w+", "orders-us orders.eu"),
            (r"\pL+", "Orders orders"),
            (r"\p{Lu}\p{Ll}+", "Orders"),
            (r"[\pL\d]+", "Orders orders x9"),
            (r"[^\p{Ll}_]\P{Lu}+", "Orders"),
            (r"\p{^N}\p{Nd}", "x9"),
            (r"\p{Greek}*orders", "orders"),
            (r"é*orders", "orders"),
            (r"[a-é]+", "orders"),
            (r"\borders\b", "orders"),
            (r"or\w{4}?", "orders"),
            (r"or\w{2,4}", "orders"),
            (r"or\w{2,}", "orders"),
            (r"\Aorders\z", "orders"),
        ] {
            let expected: Vec<&str> = expected.split_whitespace().collect();
            assert_eq!(matches(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused_with_a_reason() {
        for (pattern, reason) in [
            ("(", "missing closing )"),
            ("a)|(b", "unexpected )"),
            ("a++", "bad repetition operator: +"),
            ("a**", "bad repetition operator: *"),
            ("a{2}{3}", "bad repetition operator: {3}"),
            ("*a", "repetition operator missing expression"),
            ("a{1001}", "invalid repeat count: {1001}"),
            ("a{99999999999}", "invalid repeat count: {99999999999}"),
            ("a{3,2}", "invalid repeat count: {3,2}"),
            ("(?=a)", "invalid or unsupported Perl syntax: (?="),
            ("(?x) a", "invalid or unsupported Perl syntax: (?x"),
            ("(?P<>a)", "invalid named capture"),
            ("(?P<n>a)(?<n>b)", "duplicate capture group name"),
            ("[[:any:]]", "invalid character class range"),
            ("[[:^any:]]", "invalid character class range"),
            (r"(a)\1", r"invalid escape sequence: \1"),
            (r"\C", r"invalid escape sequence: \C"),
            (r"a\", "trailing backslash at end of expression"),
            ("[a", "missing closing ]"),
            ("[b-a]", "invalid character class range, the start must be <= the end"),
            (r"[\Qa\E]", r"invalid escape sequence: \Q"),
            (r"\p{", "invalid character class range"),
            (r"\x{110000}", r"invalid escape sequence: \x"),
        ] {
            assert_eq!(check(pattern), Err(reason.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        let error = check("((a{1000}){1000}){1000}").unwrap_err();
        assert!(error.contains("takes more than 1048576 bytes"), "{error}");
        assert!(check(&"(".repeat(30_000)).is_err());
        assert!(check(&format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000))).is_err());
    }

    proptest! {
        #[test]
        fn any_pattern_has_an_answer(pattern in r"[\\a-e\[\](){}?*+|^$.,:<>&~\-0-3PQEpxiL]{0,20}") {
            let _ = resolve(&pattern, TOPICS.into_iter());
        }

        #[test]
        fn a_quoted_name_stands_for_itself(name in r"[a-z.&\[\]{}()*+?|^$~_\-]{1,12}") {
            let quoted = format!(r"\Q{name}\E");
            let escaped: String = name.chars().flat_map(|c| {
                let escape = (!c.is_ascii_alphanumeric()).then_some('\\');
                escape.into_iter().chain([c])
            }).collect();
            for pattern in [quoted, escaped] {
                let found = resolve(&pattern, [name.as_str(), "zzzzzzzzzzzzzz"].into_iter()).unwrap();
                prop_assert_eq!(found, vec![name.clone()]);
            }
        }
    }
}
