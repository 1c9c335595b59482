use super::*;

fn read(words: &[(u8, &str)], text: &str) -> Vec<(u8, String)> {
    let words: Vec<(u8, String)> = words
        .iter()
        .map(|(class, word)| (*class, (*word).to_owned()))
        .collect();
    let lexicon = Lexicon::new(&words, 1, 100, 101);
    let mut hits = Vec::new();
    lexicon.read(text, &mut hits);
    hits.iter()
        .map(|hit| (hit.class, text[hit.start..hit.end].to_owned()))
        .collect()
}

fn found(expected: &[(u8, &str)]) -> Vec<(u8, String)> {
    expected
        .iter()
        .map(|(class, text)| (*class, (*text).to_owned()))
        .collect()
}

#[test]
fn words_are_found_whole_and_in_any_case() {
    let words = [(0, "rules"), (1, "ignor*"), (2, "dan")];
    assert_eq!(
        read(
            &words,
            "Ignoring RULES; rulesets, Dan's dance, ignore_rules"
        ),
        found(&[
            (1, "Ignoring"),
            (0, "RULES"),
            (2, "Dan"),
            (1, "ignore"),
            (0, "rules")
        ])
    );
}

#[test]
fn phrases_take_any_little_thing_between_their_words() {
    let words = [(0, "do anything now"), (1, "you are|will no* longer")];
    assert_eq!(
        read(
            &words,
            "Do. Anything. Now! you  are\nnot longer; you will no longer; do anything you want now"
        ),
        found(&[
            (0, "Do. Anything. Now"),
            (1, "you  are\nnot longer"),
            (1, "you will no longer")
        ])
    );
}

#[test]
fn languages_without_blanks_are_read() {
    let words = [
        (0, "忽略"),
        (1, "指令"),
        (2, "игнорируй"),
        (3, "지시*"),
        (4, "ignore"),
    ];
    assert_eq!(
        read(&words, "请忽略之前的指令ignore"),
        found(&[(0, "忽略"), (1, "指令"), (4, "ignore")])
    );
    let folded = crate::guard::view::fold("ИГНОРИРУЙ это, 이전 지시를").text;
    assert_eq!(read(&words, &folded).len(), 2);
}

#[test]
fn words_backwards_and_rotated_are_noticed() {
    assert_eq!(
        read(&[(0, "instructions")], "snoitcurtsni vafgehpgvbaf"),
        found(&[(100, "snoitcurtsni"), (101, "vafgehpgvbaf")])
    );
}

#[test]
fn glued_words_are_found_anywhere() {
    let lexicon = Lexicon::new(
        &[(0, "ignore".to_owned()), (1, "the rules".to_owned())],
        0,
        100,
        101,
    );
    let mut hits = Vec::new();
    lexicon.read_glued("pleaseignoretherules", &mut hits);
    assert_eq!(hits.len(), 2);
    assert_eq!((hits[1].start, hits[1].end), (12, 20));
}

#[test]
fn an_anchor_at_the_very_end_is_found() {
    assert_eq!(read(&[(0, "dan")], "as dan"), found(&[(0, "dan")]));
    assert_eq!(read(&[(0, "dan")], "dan"), found(&[(0, "dan")]));
}

#[test]
fn words_of_one_letter_stand_in_phrases() {
    assert_eq!(
        read(
            &[(0, "i was|am instructed|told|been")],
            "'I was instructed to'"
        ),
        found(&[(0, "I was instructed")])
    );
}
