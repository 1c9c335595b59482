use super::*;
use proptest::prelude::*;

fn entry(number: u32) -> Entry {
    let mut entry = Entry::new(Event::OutputFilter, Severity::High, "blocked");
    entry.who = Some(Who::of_caller("sk-secret"));
    entry.findings.push(Found {
        kind: "secret".into(),
        rule: "openai_key".into(),
        count: number,
    });
    entry.with("hash", "a text that looks like \",\"hash\":\"")
}

fn chain(count: u32) -> Vec<String> {
    let mut head = Head::default();
    (0..count)
        .map(|number| head.write(&entry(number), 1_700_000_000_000 + u64::from(number)))
        .collect()
}

fn verify(lines: &[String]) -> Result<Head, Broken> {
    let mut verifier = Verifier::default();
    for line in lines {
        verifier.line(line)?;
    }
    Ok(verifier.head())
}

#[test]
fn a_chain_holds_from_any_of_its_lines_on() {
    let lines = chain(5);
    assert_eq!(verify(&lines).unwrap().seq, 5);
    assert_eq!(verify(&lines[2..]).unwrap(), verify(&lines).unwrap());
    let line = Line::read(&lines[0]).unwrap();
    assert_eq!(line.fields["timestamp"], "2023-11-14T22:13:20.000Z");
    assert_eq!(line.fields["event"], "output_filter");
    assert_eq!(line.fields["findings"][0]["rule"], "openai_key");
    assert!(!lines[0].contains("sk-secret"));
}

#[test]
fn a_line_taken_away_or_moved_or_doubled_shows() {
    let lines = chain(5);
    let mut without = lines.clone();
    without.remove(2);
    let mut moved = lines.clone();
    moved.swap(1, 2);
    let mut doubled = lines.clone();
    doubled.insert(3, lines[2].clone());
    for wrong in [without, moved, doubled] {
        assert_eq!(verify(&wrong), Err(Broken::Torn));
    }
}

#[test]
fn a_chain_that_begins_with_one_follows_nothing() {
    let mut head = Head {
        seq: 0,
        hash: Hash::of("something"),
    };
    let line = head.write(&entry(1), 0);
    assert_eq!(verify(&[line]), Err(Broken::Torn));
}

proptest! {
    #[test]
    fn no_changed_byte_stays_unseen(line in 0_usize..4, at in any::<prop::sample::Index>(), to in 0x20_u8..0x7f) {
        let mut lines = chain(4);
        let mut bytes = lines[line].clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        lines[line] = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&lines).is_err());
    }

    #[test]
    fn no_text_makes_it_fail_otherwise(text in ".{0,200}") {
        let _ = Line::read(&text);
    }
}
