use super::super::server::{Cluster, RedisServer, Sentinels};
use super::*;
use crate::settings::environment::Environment;

/// Far more than any of the patiences below, and far less than for ever.
const BOUND: Duration = Duration::from_secs(20);

fn settings(redis: &str) -> settings::Redis {
    let text = format!("stores: {{redis: {redis}}}");
    let settings = settings::parse("weir.yaml", &text, &Environment::default());
    settings.unwrap().stores.redis.unwrap()
}

fn of_url(server: &RedisServer) -> settings::Redis {
    settings(&format!("{{url: '{}'}}", server.url()))
}

fn connector(settings: &settings::Redis) -> Connector {
    Connector::new(settings).unwrap()
}

/// Writes a key and reads it back.
async fn works(connection: &mut Connection) -> RedisResult<()> {
    let set = redis::cmd("SET").arg("{t}:k").arg("v").clone();
    set.exec_async(connection).await?;
    let found: String = redis::cmd("GET")
        .arg("{t}:k")
        .query_async(connection)
        .await?;
    assert_eq!(found, "v");
    Ok(())
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(BOUND, future).await;
    ended.expect("it hangs")
}

async fn fails(connector: &Connector) -> RedisError {
    bounded(connector.connect()).await.err().unwrap()
}

#[tokio::test]
async fn one_server_is_reached_and_the_database_is_the_one_that_was_asked_for() {
    let server = RedisServer::start();
    let mut connection = connector(&of_url(&server)).connect().await.unwrap();
    works(&mut connection).await.unwrap();
    assert_eq!(connection.get_db(), 0);
    let url = format!("{{url: 'redis://127.0.0.1:{}/3'}}", server.port());
    let mut third = connector(&settings(&url)).connect().await.unwrap();
    works(&mut third.clone()).await.unwrap();
    assert_eq!(third.get_db(), 3);
    redis::cmd("DEL")
        .arg("{t}:k")
        .exec_async(&mut third)
        .await
        .unwrap();
    assert_eq!(server.command(&["GET", "{t}:k"]).text(), "v");
}

#[tokio::test]
async fn a_user_of_the_access_control_list_logs_in_and_nobody_else() {
    let server = RedisServer::with_acl("weir", "sesame");
    works(&mut connector(&of_url(&server)).connect().await.unwrap())
        .await
        .unwrap();
    let node = format!("url: 'redis://127.0.0.1:{}'", server.port());
    let named = settings(&format!("{{{node}, username: weir, password: sesame}}"));
    works(&mut connector(&named).connect().await.unwrap())
        .await
        .unwrap();
    let wrong = settings(&format!("{{{node}, username: weir, password: wrong-word}}"));
    let error = fails(&connector(&wrong)).await;
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    assert!(!format!("{error} {error:?}").contains("wrong-word"));
}

#[tokio::test]
async fn tls_trusts_the_file_and_nobody_else() {
    let server = RedisServer::with_tls();
    let file = server.ca_file();
    let trusting = format!(
        "{{url: '{}', tls: {{ca_file: '{}'}}}}",
        server.url(),
        file.display()
    );
    works(&mut connector(&settings(&trusting)).connect().await.unwrap())
        .await
        .unwrap();
    fails(&connector(&of_url(&server))).await;
    let missing = settings(&format!(
        "{{url: '{}', tls: {{ca_file: no.pem}}}}",
        server.url()
    ));
    let error = Connector::new(&missing).err().unwrap().to_string();
    assert!(error.starts_with("no.pem cannot be read"), "{error}");
}

#[tokio::test]
async fn the_sentinels_master_is_found_and_after_a_failover_the_new_one() {
    let mut sentinels = Sentinels::start();
    let connector = connector(&settings(&format!("{{sentinel: {}}}", sentinels.yaml())));
    let mut connection = connector.connect().await.unwrap();
    works(&mut connection).await.unwrap();
    let old = sentinels.master().port();
    sentinels.fail_over();
    assert!(works(&mut connection).await.is_err(), "it is gone");
    let mut connection = connector.connect().await.unwrap();
    works(&mut connection).await.unwrap();
    assert_ne!(sentinels.master().port(), old);
    assert_eq!(sentinels.master().command(&["GET", "{t}:k"]).text(), "v");
}

#[tokio::test]
async fn a_server_that_is_no_master_is_not_taken_for_one() {
    let master = RedisServer::start();
    let sentinels = Sentinels::naming(RedisServer::replica_of(&master));
    let yaml = sentinels.yaml();
    let error = fails(&connector(&settings(&format!("{{sentinel: {yaml}}}")))).await;
    assert!(error.to_string().contains("is no master"), "{error}");
    sentinels.first().promote();
    let connected = connector(&settings(&format!("{{sentinel: {yaml}}}")))
        .connect()
        .await;
    works(&mut connected.unwrap()).await.unwrap();
    let other = format!("{{sentinel: {}}}", yaml.replace("mymaster", "other"));
    let error = fails(&connector(&settings(&other))).await;
    assert_eq!(error.kind(), ErrorKind::MasterNameNotFoundBySentinel);
    assert!(error.to_string().contains("no sentinel knows"), "{error}");
}

#[tokio::test]
async fn a_cluster_takes_functions_on_every_master_and_commands_by_their_key() {
    let cluster = Cluster::start();
    let connector = connector(&settings(&format!("{{cluster: {}}}", cluster.yaml())));
    let mut connection = connector.connect().await.unwrap();
    works(&mut connection).await.unwrap();
    let library = "#!lua name=test\nredis.register_function('test_set', function(keys, args) \
                   return redis.call('SET', keys[1], args[1]) end)";
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(library);
    load.exec_async(&mut connection).await.unwrap();
    for number in 0..20 {
        let mut call = redis::cmd("FCALL");
        call.arg("test_set")
            .arg(1)
            .arg(format!("{{{number}}}"))
            .arg(number);
        call.exec_async(&mut connection).await.unwrap();
    }
    let kept = cluster.servers.iter();
    let kept: Vec<i64> = kept.map(|one| one.command(&["DBSIZE"]).number()).collect();
    assert!(kept.iter().all(|count| *count > 0), "{kept:?}");
    assert_eq!(kept.iter().sum::<i64>(), 21);
}

#[tokio::test]
async fn a_cluster_with_a_node_down_fails_what_is_there_and_serves_the_rest() {
    let mut cluster = Cluster::start();
    let text = format!(
        "{{cluster: {}, timeout: 100ms, connect_timeout: 500ms}}",
        cluster.yaml()
    );
    let connector = connector(&settings(&text));
    let mut connection = connector.connect().await.unwrap();
    let slot = cluster.servers[0].command(&["CLUSTER", "KEYSLOT", "{t}:k"]);
    let at = usize::try_from(slot.number() / 5461).unwrap().min(2);
    cluster.servers[at].pause();
    assert!(bounded(works(&mut connection)).await.is_err());
    cluster.servers[at].kill();
    assert!(bounded(works(&mut connection)).await.is_err());
    // Whether there is a connection without it is the client library's affair; it says so in time.
    let _ = bounded(connector.connect()).await;
}

#[tokio::test]
async fn a_dead_server_is_an_error_at_once_and_a_silent_one_in_time() {
    let mut server = RedisServer::durable();
    let text = format!(
        "{{url: '{}', timeout: 100ms, connect_timeout: 300ms}}",
        server.url()
    );
    let connector = connector(&settings(&text));
    let mut connection = connector.connect().await.unwrap();
    works(&mut connection).await.unwrap();

    server.pause();
    assert!(fails(&connector).await.is_timeout());
    let late = bounded(works(&mut connection)).await.err().unwrap();
    assert!(late.is_timeout());
    // More than fits into the queue, and none of them hangs either.
    let many = (0..3000).map(|_| {
        let mut connection = connection.clone();
        tokio::spawn(async move { works(&mut connection).await })
    });
    for one in many.collect::<Vec<_>>() {
        assert!(bounded(one).await.unwrap().is_err());
    }
    server.resume();
    works(&mut connection).await.unwrap();

    server.kill();
    assert!(works(&mut connection).await.is_err());
    fails(&connector).await;
    server.again();
    assert!(works(&mut connection).await.is_err(), "it stays broken");
    assert_eq!(server.command(&["GET", "{t}:k"]).text(), "v");
    works(&mut connector.connect().await.unwrap())
        .await
        .unwrap();
    server.flush_all();
    server.restart();
    server.restart_empty();
    works(&mut connector.connect().await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn sentinels_that_say_nothing_are_not_waited_for_in_vain() {
    let sentinels = Sentinels::start();
    let text = format!(
        "{{sentinel: {}, timeout: 100ms, connect_timeout: 500ms}}",
        sentinels.yaml()
    );
    let connector = connector(&settings(&text));
    sentinels.pause();
    assert!(fails(&connector).await.is_timeout());
    sentinels.resume();
    works(&mut connector.connect().await.unwrap())
        .await
        .unwrap();
}
