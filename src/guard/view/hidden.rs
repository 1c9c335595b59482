//! Text in characters that nobody sees.

/// What is written in tag characters and in variation selectors. Flags of regions are left out: their
/// names are written in tags.
pub(in crate::guard) fn hidden(text: &str) -> String {
    let mut found = String::new();
    let mut bytes = Vec::new();
    let mut flag = false;
    for character in text.chars() {
        let code = u32::from(character);
        match code {
            0x1F3F4 => flag = true,
            0xE007F => flag = false,
            0xE0020..=0xE007E if !flag => found.extend(char::from_u32(code - 0xE0000)),
            0xE0020..=0xE007E => {}
            // One selector after a character chooses its look; several in a row are bytes.
            0xFE00..=0xFE0F => bytes.extend(u8::try_from(code - 0xFE00)),
            0xE0100..=0xE01EF => bytes.extend(u8::try_from(code - 0xE0100 + 16)),
            _ => {
                flag = false;
                flush(&mut bytes, &mut found);
            }
        }
    }
    flush(&mut bytes, &mut found);
    found
}

fn flush(bytes: &mut Vec<u8>, found: &mut String) {
    if bytes.len() >= 4 {
        found.push_str(&String::from_utf8_lossy(bytes));
    }
    bytes.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_selectors_are_read() {
        let tags: String = "ignore"
            .chars()
            .filter_map(|one| char::from_u32(u32::from(one) + 0xE0000))
            .collect();
        assert_eq!(hidden(&format!("hi{tags} there")), "ignore");
        let selectors: String = "rules"
            .bytes()
            .filter_map(|byte| char::from_u32(0xE0100 + u32::from(byte) - 16))
            .collect();
        assert_eq!(hidden(&format!("🙂{selectors}")), "rules");
    }

    #[test]
    fn emoji_and_flags_hide_nothing() {
        assert_eq!(
            hidden(
                "❤\u{fe0f} 👩\u{200d}👩\u{200d}👧 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}"
            ),
            ""
        );
    }
}
