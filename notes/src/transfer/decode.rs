//! Detects the encoding and the format of a document.

use encoding_rs::{Encoding, UTF_8};

use super::document::DocumentFormat;

/// The number of control characters up to which any text is accepted; with more, and with U+0000, which
/// no note contains, a document may be binary.
const STRAY_CONTROLS: usize = 2;

/// Decodes a document, and returns its encoding if that had to be guessed. `None`: the document is
/// not text.
pub(super) fn decode(bytes: &[u8]) -> Option<(String, Option<&'static Encoding>)> {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes[length..]);
        return Some((text.into_owned(), None));
    }
    let controls = bytes.iter().filter(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31)).count();
    if let Ok(text) = std::str::from_utf8(bytes) {
        let is_binary =
            bytes.contains(&0) && controls > STRAY_CONTROLS && controls > bytes.len() / 10;
        return (!is_binary).then(|| (text.to_owned(), None));
    }
    if controls > 0 {
        return None;
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let encoding = detector.guess(None, chardetng::Utf8Detection::Deny);
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    Some((text.into_owned(), Some(encoding).filter(|encoding| *encoding != UTF_8)))
}

/// Detects JSON by its first two tokens. Markdown does not begin like this: a link is `[text]`, and
/// a checkbox is part of a list.
pub(super) fn detect_format(text: &str) -> DocumentFormat {
    let mut tokens = text.chars().filter(|character| !character.is_whitespace());
    match (tokens.next(), tokens.next()) {
        (Some('['), Some('{' | ']')) | (Some('{'), Some('"' | '}')) => DocumentFormat::Json,
        _ => DocumentFormat::Markdown,
    }
}
