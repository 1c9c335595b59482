//! What can only be seen on the wire itself: framing, pieces, cuts, and requests that are wrong.

use super::*;

/// The pieces of a chunked answer.
fn pieces(answer: &[u8]) -> Vec<Vec<u8>> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n").unwrap() + 4;
    let mut rest = &answer[head..];
    let mut pieces = Vec::new();
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        pieces.push(rest[end + 2..end + 2 + size].to_vec());
        rest = &rest[end + 2 + size + 2..];
    }
    pieces
}

async fn whole(mock: &MockHandle, directive: &str) -> Vec<u8> {
    let mut socket = connect(
        mock,
        &request("Connection: close\r\n", &asking(directive, true)),
    )
    .await;
    let (answer, ended) = read(&mut socket).await;
    ended.unwrap();
    answer
}

#[tokio::test]
async fn every_event_is_a_piece_of_its_own_unless_told_otherwise() {
    let mock = start();
    let events = pieces(&whole(&mock, "chunks=3").await);
    assert_eq!(events.len(), 6);
    assert!(events[..5].iter().all(|piece| piece.ends_with(b"}\n\n")));
    assert_eq!(pieces(&whole(&mock, "chunks=3 coalesce=1").await).len(), 1);
}

#[tokio::test]
async fn a_stream_is_split_whatever_its_events_are() {
    let mock = start();
    for size in [1, 7, 1000] {
        let split = pieces(&whole(&mock, &format!("chunks=3 split={size}")).await);
        let (last, others) = split.split_last().unwrap();
        assert!(others.iter().all(|piece| piece.len() == size) && last.len() <= size);
        let text = String::from_utf8(split.concat()).unwrap();
        assert_eq!(content(&parse(&text)), " The weir holds");
    }
}

#[tokio::test]
async fn lines_end_with_cr_lf_on_request() {
    let mock = start();
    let text = pieces(&whole(&mock, "chunks=2 crlf=1 split=5").await).concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(text.ends_with("data: [DONE]\r\n\r\n"));
    assert_eq!(content(&parse(&text.replace("\r\n", "\n"))), " The weir");
}

#[tokio::test]
async fn a_cut_stream_ends_after_exactly_so_many_chunks() {
    let mock = start();
    for chunks in [0, 1, 4] {
        let directive = format!("chunks=4 cut_at={chunks} cut=fin tag=fin{chunks}");
        let mut socket = connect(&mock, &request("", &asking(&directive, true))).await;
        let (answer, ended) = read(&mut socket).await;
        ended.unwrap();
        assert!(!answer.ends_with(b"0\r\n\r\n"));
        let events = if chunks == 0 { 0 } else { chunks + 1 };
        assert_eq!(pieces(&answer).len(), events);
        let record = ended_record(&mock, &format!("fin{chunks}")).await;
        assert_eq!(record.produced, chunks as u64);
        assert!(!record.completed && !record.peer_left && record.announced.is_none());
    }
    let mut socket = connect(&mock, &request("", &asking("chunks=4 cut_at=2", true))).await;
    let (answer, ended) = read(&mut socket).await;
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(pieces(&answer).len(), 3);
}

use super::ended as ended_record;

#[tokio::test]
async fn a_cut_json_answer_ends_after_so_many_bytes() {
    let mock = start();
    let mut socket = connect(
        &mock,
        &request("", &asking("cut_at=10 cut=fin tag=j", false)),
    )
    .await;
    let (answer, ended) = read(&mut socket).await;
    ended.unwrap();
    let head = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - head, 10);
    assert!(ended_record(&mock, "j").await.announced.is_none());
}

#[tokio::test]
async fn an_accepted_request_can_be_dropped_without_a_byte() {
    let mock = start();
    let mut socket = connect(&mock, &request("", &asking("cut=accept tag=a", true))).await;
    let (answer, ended) = read(&mut socket).await;
    ended.unwrap();
    assert!(answer.is_empty());
    assert_eq!(ended_record(&mock, "a").await.status, None);
}

#[tokio::test]
async fn silence_lasts_until_the_peer_leaves() {
    let mock = start();
    for (directive, text) in [("hang_at=2 tag=h", " weir"), ("hang=headers tag=h", "")] {
        let mut socket = connect(&mock, &request("", &asking(directive, true))).await;
        read_to(&mut socket, text).await;
        while mock.tagged("h").is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!mock.tagged("h")[0].ended);
        drop(socket);
        let record = ended_record(&mock, "h").await;
        assert!(record.peer_left);
        assert_eq!(record.produced, if text.is_empty() { 0 } else { 2 });
        mock.forget();
    }
}

#[tokio::test]
async fn requests_no_gateway_may_send_are_refused() {
    let mock = start();
    let body = r#"{"messages":[{"role":"user","content":"x"}]}"#;
    let length = format!("Content-Length: {}\r\n", body.len());
    let json = "Host: a\r\nContent-Type: application/json\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (headers, body, why) in [
        (
            format!("{json}{length}{chunked}"),
            body,
            "both Content-Length",
        ),
        (
            format!("{json}{chunked}{length}"),
            body,
            "both Content-Length",
        ),
        (
            format!("{json}{length}{length}"),
            body,
            "more than one Content-Length",
        ),
        (
            format!("{json}Transfer-Encoding: gzip, chunked\r\n"),
            body,
            "other than chunked",
        ),
        (format!("{json}Content-Length: +3\r\n"), body, "no number"),
        (
            format!("{json}Content-Length: 99999999999\r\n"),
            body,
            "64 MiB",
        ),
        (format!("{json}{chunked}"), "zz\r\n", "chunk size"),
        (
            format!("{json}{chunked}"),
            "1\r\nabc\r\n0\r\n\r\n",
            "longer than its size",
        ),
        (
            format!("Content-Type: application/json\r\n{length}"),
            body,
            "no Host",
        ),
        (
            format!("{json}Host: b\r\n{length}"),
            body,
            "more than one Host",
        ),
        (
            format!("{json}Keep-Alive: timeout=5\r\n{length}"),
            body,
            "keep-alive",
        ),
        (
            format!("{json}Proxy-Authorization: x\r\n{length}"),
            body,
            "proxy-authorization",
        ),
        (
            format!("{json}Connection: keep-alive, x-foo\r\n{length}"),
            body,
            "hop before",
        ),
        (
            format!("{json}TE: gzip\r\n{length}"),
            body,
            "te was passed on",
        ),
        (
            format!("{json}Content-Encoding: gzip\r\n{length}"),
            body,
            "compressed",
        ),
        (
            format!("Host: a\r\nContent-Type: text/plain\r\n{length}"),
            body,
            "Content-Type",
        ),
        (format!("Host: a\r\n{length}"), body, "Content-Type"),
        (format!("{json}Content-Length: 2\r\n"), "{}", "no messages"),
        (format!("{json}Content-Length: 1\r\n"), "{", "invalid body"),
    ] {
        let text = format!(
            "POST /v1/chat/completions HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}"
        );
        // A second Connection line is as good as one with both options.
        let mut socket = connect(&mock, text.as_bytes()).await;
        let (answer, ended) = read(&mut socket).await;
        ended.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains(why),
            "{headers}: {answer}"
        );
        let record = mock.records().pop().unwrap();
        assert!(record.refused.unwrap().contains(why));
    }
    let mut socket = connect(&mock, b"nonsense\r\n\r\n").await;
    assert!(read(&mut socket).await.0.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_connection_carries_pipelined_and_chunked_requests() {
    let mock = start();
    let first = request("", &asking("chunks=1 tag=1", true));
    let body = asking("chunks=1 tag=2", false).to_string();
    let (start_of, end_of) = body.split_at(20);
    let second = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n14;ext=1\r\n{start_of}\r\n{:x}\r\n{end_of}\r\n0\r\nTrailer-Field: x\r\n\r\n",
        end_of.len()
    );
    let mut socket = connect(&mock, &[&first[..], second.as_bytes()].concat()).await;
    let (answers, ended) = read(&mut socket).await;
    ended.unwrap();
    assert_eq!(
        String::from_utf8(answers)
            .unwrap()
            .matches("HTTP/1.1 200 OK")
            .count(),
        2
    );
    assert!(mock.records().iter().all(|record| record.completed));
}

#[tokio::test]
async fn a_client_that_waits_for_continue_gets_it() {
    let mock = start();
    let body = asking("chunks=1", false).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = connect(&mock, head.as_bytes()).await;
    read_to(&mut socket, "100 Continue\r\n\r\n").await;
    socket.write_all(body.as_bytes()).await.unwrap();
    read_to(&mut socket, "200 OK").await;
}

#[tokio::test]
async fn http_1_0_gets_a_body_until_the_connection_closes() {
    let mock = start();
    let body = asking("chunks=1", true).to_string();
    let text = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (answer, ended) = read(&mut connect(&mock, text.as_bytes()).await).await;
    ended.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with("data: [DONE]\n\n") && !answer.contains("chunked"));
}
