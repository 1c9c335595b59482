use super::*;
use proptest::prelude::*;
use serde_yaml::Value;

/// The tree as `serde_yaml` would hold it, every scalar as text.
fn as_value(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar { text, .. } => Value::String(text.clone()),
        Kind::List(items) => Value::Sequence(items.iter().map(as_value).collect()),
        Kind::Mapping(entries) => Value::Mapping(
            entries
                .iter()
                .map(|entry| (Value::String(entry.key.clone()), as_value(&entry.value)))
                .collect(),
        ),
    }
}

fn root(text: &str) -> Node {
    let parsed = parse(text);
    assert_eq!(parsed.faults, []);
    parsed.root.unwrap()
}

fn faults(text: &str) -> Vec<(usize, usize, String)> {
    parse(text)
        .faults
        .into_iter()
        .map(|fault| (fault.mark.line, fault.mark.column, fault.message))
        .collect()
}

#[test]
fn every_value_and_key_knows_its_place() {
    let Kind::Mapping(entries) = root("# c\na:\n  b: 50.10\n  é: [x, 'y']\n").kind else {
        panic!("a mapping")
    };
    assert_eq!(
        (entries[0].key.as_str(), entries[0].mark),
        ("a", Mark { line: 2, column: 1 })
    );
    let Kind::Mapping(inner) = &entries[0].value.kind else {
        panic!("a mapping")
    };
    assert_eq!(inner[0].mark, Mark { line: 3, column: 3 });
    assert_eq!(inner[0].value.mark, Mark { line: 3, column: 6 });
    assert!(
        inner[0].value.kind
            == Kind::Scalar {
                text: "50.10".into(),
                plain: true
            }
    );
    let Kind::List(items) = &inner[1].value.kind else {
        panic!("a list")
    };
    assert_eq!(
        items[1].mark,
        Mark {
            line: 4,
            column: 10
        }
    );
    assert!(
        items[1].kind
            == Kind::Scalar {
                text: "y".into(),
                plain: false
            }
    );
}

#[test]
fn nothing_is_recognised_and_quotes_make_it_text() {
    for text in ["", "# only a comment\n", "~", "null", "---\n", "\u{feff}"] {
        assert!(root(text).is_null(), "{text:?}");
    }
    assert!(!root("'null'").is_null() && !root("\"\"").is_null());
}

#[test]
fn a_key_given_twice_is_refused_with_both_places() {
    assert_eq!(
        faults("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"),
        [
            (4, 3, "`c` is given twice; first in line 3".to_owned()),
            (5, 1, "`a` is given twice; first in line 1".to_owned())
        ]
    );
}

#[test]
fn what_is_no_plain_settings_file_is_refused_where_it_stands() {
    for (text, line, part) in [
        ("a: 1\n b: 2\n", 2, "not valid YAML"),
        ("a: [1, 2\n", 2, "not valid YAML"),
        ("a:\n\t- b\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("? [a, b]\n: 1\n", 1, "plain text"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: &x [*x]\n", 1, "contain itself"),
        ("a: *nowhere\n", 1, "not valid YAML"),
        ("a: &x b\n*x : c\n", 2, "alias"),
        ("<<: 5\n", 1, "merges mappings only"),
    ] {
        let found = faults(text);
        assert!(
            found
                .iter()
                .any(|(at, _, message)| *at == line && message.contains(part)),
            "{text:?}: {found:?}"
        );
    }
}

#[test]
fn aliases_and_merge_keys_fill_in_what_is_not_given() {
    let merged = root(
        "base: &b {x: 1, y: 2}\nother: &o {z: 3, x: 9}\nuse:\n  <<: [*b, *o]\n  y: 5\nagain: *b\n",
    );
    let wanted: Value = serde_yaml::from_str(
        "base: {x: '1', y: '2'}\nother: {z: '3', x: '9'}\nuse: {y: '5', x: '1', z: '3'}\nagain: {x: '1', y: '2'}\n",
    )
    .unwrap();
    assert_eq!(as_value(&merged), wanted);
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*l{}", level - 1);
        text.push_str(&format!(
            "l{level}: &l{level} [{}]\n",
            [alias.as_str(); 9].join(", ")
        ));
    }
    assert!(faults(&text)[0].2.contains("expand to too much"));
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("{}{}", "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1));
    assert!(faults(&deep)[0].2.contains("nested deeper"));
    for deeper in ["[", "a: {", "- ", "{a: ["] {
        let text = deeper.repeat(LARGEST_FILE / deeper.len());
        assert!(!faults(&text).is_empty(), "{deeper}");
    }
    assert!(
        faults(&" ".repeat(LARGEST_FILE + 1))[0]
            .2
            .contains("larger than")
    );
}

/// YAML-like text: enough structure to reach every part of both parsers.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{1,3}",
        Just(": ".to_owned()),
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just("- ".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just(", ".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("&x ".to_owned()),
        Just("*x ".to_owned()),
        Just("<<".to_owned()),
        Just("!t ".to_owned()),
        Just("? ".to_owned()),
        Just("|\n".to_owned()),
        Just(">-\n ".to_owned()),
        Just("# ".to_owned()),
        Just("---\n".to_owned()),
        Just("...\n".to_owned()),
        Just("%YAML 1.2\n".to_owned()),
        Just("\t".to_owned()),
        Just("é".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\r".to_owned()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,120}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(text in yamlish()) {
        let parsed = parse(&text);
        prop_assert!(parsed.root.is_some() || !parsed.faults.is_empty());
    }

    #[test]
    fn settings_read_the_same_as_with_serde_yaml(
        rows in proptest::collection::btree_map("[a-z]{1,6}", "[a-z0-9 ]{0,8}", 0..8),
    ) {
        let text = serde_yaml::to_string(&rows).unwrap();
        let wanted: Value = serde_yaml::to_value(&rows).unwrap();
        let parsed = parse(&text);
        prop_assert!(parsed.faults.is_empty());
        prop_assert_eq!(as_value(&parsed.root.unwrap()), wanted);
    }
}
