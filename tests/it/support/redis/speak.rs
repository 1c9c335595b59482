//! As much of Redis's protocol as tests need to look into a server from outside.

use super::PATIENCE;
use std::io::{BufRead as _, BufReader, Error, Read as _, Result, Write as _};
use std::net::TcpStream;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing.
    Nil,
    /// A number.
    Number(i64),
    /// A text, or the name of a state.
    Text(String),
    /// An error.
    Error(String),
    /// A list.
    List(Vec<Said>),
}

impl Said {
    /// The text or number as text; fails for anything else.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The number; fails for anything else.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text.parse().expect("a number"),
            other => panic!("no number: {other:?}"),
        }
    }

    /// The texts of a list; fails for anything else.
    pub(crate) fn list(self) -> Vec<String> {
        match self {
            Self::List(items) => items.into_iter().map(Self::text).collect(),
            other => panic!("no list: {other:?}"),
        }
    }
}

/// Sends one command on a new connection.
pub(super) fn ask(port: u16, login: Option<(&str, &str)>, words: &[&str]) -> Result<Said> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    if let Some((user, password)) = login {
        send(&mut stream, &["AUTH", user, password])?;
        read(&mut stream)?;
    }
    send(&mut stream, words)?;
    read(&mut stream)
}

fn send(stream: &mut BufReader<TcpStream>, words: &[&str]) -> Result<()> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.get_mut().write_all(text.as_bytes())
}

fn read(stream: &mut BufReader<TcpStream>) -> Result<Said> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let wrong = || Error::other(format!("no answer of Redis: {line:?}"));
    let rest = line.get(1..).ok_or_else(wrong)?;
    let number = || rest.parse::<i64>().map_err(|_| wrong());
    let length = || usize::try_from(number()?).map_err(|_| wrong());
    Ok(match line.as_bytes().first() {
        Some(b'+') => Said::Text(rest.to_owned()),
        Some(b'-') => Said::Error(rest.to_owned()),
        Some(b':') => Said::Number(number()?),
        Some(b'$' | b'*') if rest == "-1" => Said::Nil,
        Some(b'$') => {
            let mut bytes = vec![0; length()? + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Said::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some(b'*') => Said::List(
            (0..length()?)
                .map(|_| read(stream))
                .collect::<Result<_>>()?,
        ),
        _ => return Err(wrong()),
    })
}
