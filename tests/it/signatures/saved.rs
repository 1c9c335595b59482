//! Answers as a user saves them, and the verifiers that read them.

use crate::support::gateway::new_directory;
use crate::support::{Gateway, Reply, client};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// What answers are signed with, unless a story says otherwise.
pub(crate) const SECRET: &str = "sign-0123456789abcdef0123456789abcdef";

/// Another secret.
pub(crate) const OTHER: &str = "other-0123456789abcdef0123456789abcdef";

/// A request about to be sent.
pub(crate) struct Ask {
    path: String,
    body: String,
    headers: Vec<(&'static str, String)>,
    env: Vec<(String, String)>,
}

impl Ask {
    pub(crate) fn of(path: &str, body: &Value) -> Self {
        Self {
            path: path.to_owned(),
            body: body.to_string(),
            headers: Vec::new(),
            env: vec![("HMAC_SECRET".to_owned(), SECRET.to_owned())],
        }
    }

    pub(crate) fn nonce(mut self, nonce: &str) -> Self {
        self.headers.push(("x-weir-nonce", nonce.to_owned()));
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.headers.push(("x-api-key", key.to_owned()));
        self
    }

    /// The variables that verifiers have, instead of the secret.
    pub(crate) fn env(mut self, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter();
        self.env = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self
    }

    pub(crate) async fn open(&self, gateway: &Gateway) -> reqwest::Response {
        let mut request = client::http()
            .post(gateway.url(&self.path))
            .header("content-type", "application/json")
            .body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await.expect("an answer")
    }

    pub(crate) async fn send(self, gateway: &Gateway) -> Saved {
        let reply = Reply::read(self.open(gateway).await).await;
        self.saved(reply)
    }

    /// An answer to this, in files.
    pub(crate) fn saved(self, reply: Reply) -> Saved {
        let mut head = format!("HTTP/1.1 {} \r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        Saved {
            head,
            body: reply.body.to_vec(),
            reply,
            path: self.path,
            request: self.body,
            env: self.env,
        }
    }
}

/// An answer in files.
pub(crate) struct Saved {
    pub(crate) reply: Reply,
    head: String,
    body: Vec<u8>,
    path: String,
    request: String,
    env: Vec<(String, String)>,
}

impl Saved {
    /// A copy.
    pub(crate) fn same(&self) -> Self {
        Self {
            reply: Reply {
                status: self.reply.status,
                headers: self.reply.headers.clone(),
                body: self.reply.body.clone(),
                complete: self.reply.complete,
            },
            head: self.head.clone(),
            body: self.body.clone(),
            path: self.path.clone(),
            request: self.request.clone(),
            env: self.env.clone(),
        }
    }

    /// With another text, once, in its body.
    pub(crate) fn replacing(&self, from: &str, to: &str) -> Self {
        let text = String::from_utf8(self.body.clone()).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed, "there is no {from}");
        Self {
            body: changed.into_bytes(),
            ..self.same()
        }
    }

    /// Without so many bytes at its end.
    pub(crate) fn cut(&self, bytes: usize) -> Self {
        let body = self.body[..self.body.len() - bytes].to_vec();
        Self {
            body,
            ..self.same()
        }
    }

    /// With another text, once, in its header.
    pub(crate) fn heading(&self, from: &str, to: &str) -> Self {
        let head = self.head.replacen(from, to, 1);
        assert_ne!(head, self.head, "there is no {from}");
        Self {
            head,
            ..self.same()
        }
    }

    /// As if it had been asked for there.
    pub(crate) fn asking(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.same()
        }
    }

    /// For a verifier with that secret.
    pub(crate) fn secret(&self, secret: &str) -> Self {
        Self {
            env: vec![("HMAC_SECRET".to_owned(), secret.to_owned())],
            ..self.same()
        }
    }

    /// What `weir verify` says against it, if anything.
    pub(crate) fn check(&self, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("verify").env_clear();
        verdict(&self.run(command, args))
    }

    /// The same as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["verify", "--json"]).env_clear();
        let output = self.run(command, args);
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(said["verified"], output.status.success());
        said
    }

    /// What docs/verify.py says against it, if anything.
    pub(crate) fn with_python(&self, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new("python3");
        command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/verify.py"));
        verdict(&self.run(command, args))
    }

    /// What a script, given the body's file and the secret, says of it.
    pub(crate) fn python(&self, script: &str) -> String {
        let directory = self.save();
        let output = Command::new("python3")
            .args(["-c", script, "answer.txt", SECRET])
            .current_dir(&directory)
            .output()
            .expect("python3 runs");
        std::fs::remove_dir_all(directory).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn save(&self) -> PathBuf {
        let directory = new_directory();
        for (name, bytes) in [
            ("head.txt", self.head.as_bytes()),
            ("answer.txt", &self.body),
            ("request.json", self.request.as_bytes()),
        ] {
            std::fs::write(directory.join(name), bytes).unwrap();
        }
        directory
    }

    fn run(&self, mut command: Command, args: &[&str]) -> Output {
        let directory = self.save();
        let output = command
            .args(["--headers", "head.txt", "--path", &self.path])
            .args(args)
            .arg("answer.txt")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&directory)
            .output()
            .expect("the verifier runs");
        std::fs::remove_dir_all(directory).unwrap();
        output
    }
}

fn verdict(output: &Output) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(2) if said.contains("WRONG") || said.contains("not signed") => Err(said),
        code => panic!(
            "{code:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
