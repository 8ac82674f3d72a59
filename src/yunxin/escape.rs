//! Escapes in JSON strings.

/// Resolves the escape that `bytes` begin with; the scanner has checked its form.
pub(super) fn unescape(bytes: &[u8]) -> (char, usize) {
    let character = match bytes.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => {
            let first = u32::from(hex4(&bytes[2..]).unwrap_or(0xfffd));
            return match first {
                0xd800..=0xdbff => match low_surrogate(&bytes[6..]) {
                    Some(low) => {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                        (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                    }
                    None => (char::REPLACEMENT_CHARACTER, 6),
                },
                code => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
            };
        }
        Some(&other) => char::from(other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, 2)
}

/// The number that four hexadecimal digits spell.
pub(super) fn hex4(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..4)?;
    digits.iter().try_fold(0_u16, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)? as u16))
}

/// The second half of a surrogate pair, when `bytes` begin with its escape.
pub(super) fn low_surrogate(bytes: &[u8]) -> Option<u16> {
    if bytes.first() != Some(&b'\\') || bytes.get(1) != Some(&b'u') {
        return None;
    }
    hex4(&bytes[2..]).filter(|code| (0xdc00..0xe000).contains(code))
}

/// Appends JSON text with every escape of half a surrogate pair replaced by that of U+FFFD.
pub(super) fn repair_into(out: &mut String, json: &str) {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let bytes = &rest.as_bytes()[at..];
        let code = if bytes.get(1) == Some(&b'u') { hex4(&bytes[2..]) } else { None };
        let (length, lone) = match code {
            Some(0xd800..=0xdbff) if low_surrogate(&bytes[6..]).is_some() => (12, false),
            Some(0xd800..=0xdfff) => (6, true),
            Some(_) => (6, false),
            None => (2, false),
        };
        let end = at + length;
        if lone {
            out.push_str(&rest[..at]);
            out.push_str("\\ufffd");
        } else {
            out.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
}

/// Appends `text` as a JSON string.
pub(super) fn quote_into(out: &mut String, text: &str) {
    out.push('"');
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[start..at]);
        start = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[start..]);
    out.push('"');
}
