use super::*;
use std::path::PathBuf;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("weir-lines-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("a/lines.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn add(lines: &mut Lines, text: &str) {
    lines.append(|_| text.to_owned()).unwrap();
}

#[test]
fn what_one_writes_is_news_to_the_other_once() {
    let folder = Folder::new();
    let (mut one, mut two) = (Lines::at(&folder.file()), Lines::at(&folder.file()));
    assert_eq!(two.news().unwrap(), News::default());
    add(&mut one, "a\n");
    let news = two.news().unwrap();
    assert_eq!((news.lines, news.anew), (vec!["a".to_owned()], true));
    add(&mut one, "b\n");
    two.append(|news| {
        assert_eq!(news.unwrap().lines, ["b"]);
        "c\n".to_owned()
    })
    .unwrap();
    assert_eq!(two.news().unwrap().lines, Vec::<String>::new());
    assert_eq!(one.news().unwrap().lines, ["c"]);
}

#[test]
fn a_line_that_a_crash_has_cut_is_gone_with_the_next_one() {
    let folder = Folder::new();
    let mut one = Lines::at(&folder.file());
    add(&mut one, "a\n");
    let mut file = OpenOptions::new().append(true).open(folder.file()).unwrap();
    file.write_all(b"half a li").unwrap();
    assert_eq!(one.news().unwrap().lines, Vec::<String>::new());
    add(&mut one, "b\n");
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), "a\nb\n");
}

#[test]
fn a_file_that_is_replaced_or_put_away_is_noticed_by_everybody() {
    let folder = Folder::new();
    let (mut one, mut two) = (Lines::at(&folder.file()), Lines::at(&folder.file()));
    add(&mut one, "a\nb\n");
    two.news().unwrap();
    add(&mut two, "c\n");
    one.replace(|news| {
        assert_eq!(news.lines, ["c"]);
        "abc\n".to_owned()
    })
    .unwrap();
    add(&mut two, "d\n");
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), "abc\nd\n");
    let away = folder.0.join("a/old");
    one.put_away(&away).unwrap();
    two.append(|news| {
        assert_eq!(news, None);
        "e\n".to_owned()
    })
    .unwrap();
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), "e\n");
    assert_eq!(std::fs::read_to_string(away).unwrap(), "abc\nd\n");
    let news = one.news().unwrap();
    assert!(news.anew && news.lines == ["e"]);
}
