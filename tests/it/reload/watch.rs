//! Files that are watched: whoever replaces one, and however, it takes effect when it is sound.

use super::{KEY, OTHER, count, counted, said, two_agents, write};
use crate::support::{Agent, Gateway, Provider, eventually};
use std::os::unix::fs::symlink;
use std::path::Path;

const WATCH: &str = "reload: {watch: true, debounce: 50ms}";

/// Puts a link in the place of whatever is at `path`, in one step.
fn relink(target: &str, path: &Path) {
    let new = path.with_file_name("new-link");
    symlink(target, &new).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_or_replaced_takes_effect_and_a_bad_one_does_not() {
    let provider = Provider::start().await;
    let setup = two_agents(&provider).settings(WATCH);
    let gateway = setup.clone().start().await;
    gateway.write_policy(&setup.clone().agent(Agent::new("written", "1")));
    counted(&gateway, "applied", 1).await;
    said(&gateway, &["reload.by=watch", "agent `written` added"]).await;
    assert_eq!(gateway.chat("x").agent("written").send().await.status, 200);

    // As editors and `mv` do it.
    let text = setup
        .clone()
        .agent(Agent::new("moved", "1"))
        .policy_text(&gateway.directory);
    write(&gateway, "policy.yaml~", &text);
    let policy = gateway.directory.join("policy.yaml");
    std::fs::rename(gateway.directory.join("policy.yaml~"), &policy).unwrap();
    counted(&gateway, "applied", 2).await;
    assert_eq!(gateway.chat("x").agent("moved").send().await.status, 200);

    write(&gateway, "models.yaml", "models: {x: {provder: y}}\n");
    counted(&gateway, "refused", 1).await;
    said(&gateway, &["ERROR", "models.yaml:1:", "provder"]).await;
    assert_eq!(gateway.chat("x").agent("moved").send().await.status, 200);

    std::fs::remove_file(gateway.directory.join("models.yaml")).unwrap();
    counted(&gateway, "refused", 2).await;
    // The same content as is in force, in another file.
    write(&gateway, "models.yaml", &format!("{}\n", super::MODELS));
    counted(&gateway, "unchanged", 1).await;
    // The last change is one that is told from all before it.
    gateway.write_policy(&setup.agent(Agent::new("last", "1")));
    counted(&gateway, "applied", 3).await;
    assert_eq!(
        (
            count(&gateway, "refused").await,
            count(&gateway, "unchanged").await
        ),
        (2, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_of_kubernetes_takes_effect_when_its_link_is_replaced() {
    let provider = Provider::start().await;
    let setup = two_agents(&provider).settings(WATCH);
    let gateway = setup.clone().start().await;
    let root = gateway.directory.clone();
    let version = |name: &str, agent: &str| {
        let text = setup
            .clone()
            .agent(Agent::new(agent, "1"))
            .policy_text(&root);
        std::fs::create_dir(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("policy.yaml"), text).unwrap();
    };
    version("..1", "one");
    relink("..1", &root.join("..data"));
    relink("..data/policy.yaml", &root.join("policy.yaml"));
    counted(&gateway, "applied", 1).await;
    for (number, agent) in [(2, "two"), (3, "three")] {
        let name = format!("..{number}");
        version(&name, agent);
        relink(&name, &root.join("..data"));
        std::fs::remove_dir_all(root.join(format!("..{}", number - 1))).unwrap();
        counted(&gateway, "applied", number).await;
        assert_eq!(gateway.chat("x").agent(agent).send().await.status, 200);
    }
    // What is behind the links now is watched as well.
    let text = setup.agent(Agent::new("inside", "1")).policy_text(&root);
    std::fs::write(root.join("..3/policy.yaml"), text).unwrap();
    counted(&gateway, "applied", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_of_dotenv_are_watched_and_a_key_that_is_replaced_there_stops() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .settings(WATCH)
        .env("CLIENT_KEY", KEY)
        .start()
        .await;
    let policy = gateway.setup().policy_text(&gateway.directory);
    let keys = "auth:\n  keys:\n    - {id: env, key: \"${CLIENT_KEY}\", agent: default}\n    - {id: file, key: \"${FILE_KEY}\", agent: default}\n";
    write(
        &gateway,
        ".env",
        &format!("FILE_KEY={OTHER}\nCLIENT_KEY=not-in-force-at-all\n"),
    );
    write(&gateway, "policy.yaml", &(policy + keys));
    counted(&gateway, "applied", 1).await;
    for key in [KEY, OTHER] {
        assert_eq!(gateway.chat("x").key(key).send().await.status, 200);
    }
    write(
        &gateway,
        ".env",
        "FILE_KEY=yet-another-key-of-some-length\n",
    );
    let line = said(&gateway, &["reload.by=watch", "key `file` replaced"]).await;
    assert!(!line.contains("of-some-length"), "{line}");
    assert_eq!(gateway.chat("x").key(OTHER).send().await.status, 401);
    assert_eq!(
        gateway
            .chat("x")
            .key("yet-another-key-of-some-length")
            .send()
            .await
            .status,
        200
    );
    assert_eq!(
        gateway.chat("x").key(KEY).send().await.status,
        200,
        "variables are not read again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_files_are_left_alone() {
    let provider = Provider::start().await;
    let gateway = two_agents(&provider).start().await;
    let inotify = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
        let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        links.any(|link| link.to_string_lossy().contains("inotify"))
    };
    assert!(!inotify());
    let watching = two_agents(&provider).settings(WATCH).start().await;
    eventually("a watch", || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", watching.pid())).unwrap();
        let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        links
            .any(|link| link.to_string_lossy().contains("inotify"))
            .then_some(())
    })
    .await;
}
