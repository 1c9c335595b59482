//! Every recorded answer, at many splits: without findings it leaves as it came.

use super::*;
use std::path::PathBuf;

fn recorded() -> Vec<(String, AnswerKind, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut answers = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let kind = match path.extension().and_then(|end| end.to_str()) {
            Some("sse") => AnswerKind::EventStream,
            Some("json") if name != "expected.json" => AnswerKind::Json,
            _ => continue,
        };
        answers.push((name, kind, std::fs::read(&path).unwrap()));
    }
    assert!(answers.len() > 180);
    answers
}

fn screened(kind: AnswerKind, body: &[u8], size: usize) -> (Vec<u8>, Screen) {
    let mut screen = super::screen(kind, enforced());
    let mut left = Vec::new();
    for part in body.chunks(size) {
        left.extend_from_slice(&screen.push(Bytes::copy_from_slice(part)));
    }
    left.extend_from_slice(&screen.finish());
    (left, screen)
}

#[test]
fn recorded_answers_without_findings_leave_as_they_came_however_they_are_split() {
    let mut with_findings = Vec::new();
    for (name, kind, body) in recorded() {
        let (whole, screen) = screened(kind, &body, body.len().max(1));
        assert_eq!(screen.refused(), None, "{name}");
        let acted = screen
            .findings()
            .iter()
            .any(|found| found.action != Action::Flag);
        if acted {
            with_findings.push((name.clone(), screen.findings()));
        } else {
            assert!(whole == body, "{name}");
        }
        let sizes: &[usize] = match (kind, body.len()) {
            (AnswerKind::EventStream, ..8_000) => &[1, 7, 64],
            (AnswerKind::EventStream, _) => &[61],
            (AnswerKind::Json, _) => &[],
        };
        for size in sizes {
            let (split, _) = screened(kind, &body, *size);
            assert!(split == whole, "{name} in pieces of {size}");
        }
        if kind == AnswerKind::EventStream && body.len() < 8_000 {
            let crlf = String::from_utf8(body)
                .unwrap()
                .replace('\n', "\r\n")
                .into_bytes();
            let (split, _) = screened(kind, &crlf, 5);
            assert!(acted || split == crlf, "{name} with CRLF");
        }
    }
    // Real answers: what is found in them is worth a look.
    assert!(with_findings.len() < 8, "{with_findings:#?}");
}
