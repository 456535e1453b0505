//! Java's `.properties` files, as `java.util.Properties.load` reads them.
//!
//! `#` and `!` begin comment lines, `=`, `:` or blanks end a key, a backslash at the end of a line continues it,
//! `\t \n \r \f \uXXXX` are escapes, and any other escaped character stands for itself. The last of two equal keys wins.

use std::iter::Peekable;
use std::str::Chars;

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u needs four hexadecimal digits")]
pub struct MalformedEscape {
    /// Its number, from 1.
    pub line: usize,
}

/// All keys with their values, in the order of the file.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, MalformedEscape> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = Vec::new();
    let mut lines = text.split('\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let malformed = || MalformedEscape { line: index + 1 };
        let mut rest = logical.chars().peekable();
        let key = unescape(&mut rest, true).ok_or_else(malformed)?;
        skip_separator(&mut rest);
        let value = unescape(&mut rest, false).ok_or_else(malformed)?;
        result.push((key, value));
    }
    Ok(result)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// An odd number of backslashes at its end continues a line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn skip_separator(rest: &mut Peekable<Chars<'_>>) {
    let blanks = |rest: &mut Peekable<Chars<'_>>| while rest.next_if(|next| BLANKS.contains(next)).is_some() {};
    blanks(rest);
    if rest.next_if(|next| matches!(next, '=' | ':')).is_some() {
        blanks(rest);
    }
}

/// Reads to the end of the key or of the line; `None` for a malformed `\u`.
fn unescape(rest: &mut Peekable<Chars<'_>>, key: bool) -> Option<String> {
    let mut units: Vec<u16> = Vec::new();
    let mut buffer = [0; 2];
    while let Some(next) = rest.next_if(|next| !(key && (matches!(next, '=' | ':') || BLANKS.contains(next)))) {
        if next != '\\' {
            units.extend_from_slice(next.encode_utf16(&mut buffer));
            continue;
        }
        match rest.next() {
            Some('t') => units.push(0x09),
            Some('n') => units.push(0x0a),
            Some('r') => units.push(0x0d),
            Some('f') => units.push(0x0c),
            Some('u') => units.push(hexadecimal(rest)?),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    Some(String::from_utf16_lossy(&units))
}

fn hexadecimal(rest: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + u16::try_from(rest.next()?.to_digit(16)?).ok()?;
    }
    Some(unit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_blanks_and_comments() {
        let text = "# c\n! c\n\n a = b \nc:d\ne f\ng\th=i\nj==k\nl\nm\\ n=o\n#a=b";
        let expected = [
            pair("a", "b "),
            pair("c", "d"),
            pair("e", "f"),
            pair("g", "h=i"),
            pair("j", "=k"),
            pair("l", ""),
            pair("m n", "o"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn continuation_lines_join_without_their_indent() {
        assert_eq!(pairs("a=1,\\\n   2,\\\r\n\t3\nb=4"), [pair("a", "1,2,3"), pair("b", "4")]);
        // Two backslashes are one escaped one; a comment sign in a continuation is text; the file may end in one.
        assert_eq!(pairs("a=b\\\\\nc=d"), [pair("a", "b\\"), pair("c", "d")]);
        assert_eq!(pairs("a=b\\\n#c"), [pair("a", "b#c")]);
        assert_eq!(pairs("a=b\\"), [pair("a", "b")]);
        assert_eq!(pairs("a=b\\\n\nc=d"), [pair("a", "b"), pair("c", "d")]);
    }

    #[test]
    fn escapes() {
        assert_eq!(pairs(r"a=\t\n\q\u00e9\uD83D\uDE00"), [pair("a", "\t\nq\u{e9}\u{1f600}")]);
        assert_eq!(pairs(r"a\=b\:c=d"), [pair("a=b:c", "d")]);
        assert_eq!(parse("x=1\na=\\u12"), Err(MalformedEscape { line: 2 }));
    }

    #[test]
    fn lines_end_in_any_way() {
        assert_eq!(pairs("a=1\r\nb=2\rc=3\n"), [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
    }
}
