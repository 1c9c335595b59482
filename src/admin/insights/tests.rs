use super::*;

fn read(query: &[(&str, &str)], accept: Option<&'static str>) -> Result<Asked, String> {
    let pairs = query
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    }
    let asked = Asked::read(Ok(Query(pairs.collect())), &headers, ("hours", 24, 100));
    asked.map_err(|refusal| refusal.to_string())
}

#[test]
fn a_parameter_that_is_wrong_is_named() {
    for (query, said) in [
        (
            &[("hours", "0")][..],
            "The parameter `hours` must be a number between 1 and 100",
        ),
        (&[("hours", "+1")], "`hours`"),
        (&[("hours", "")], "`hours`"),
        (&[("hours", "1"), ("hours", "2")], "`hours` is there twice"),
        (&[("limit", "10001")], "`limit`"),
        (&[("offset", "-1")], "`offset`"),
        (
            &[("group_by", "tier")],
            "`group_by` must be model, agent, user or provider",
        ),
        (&[("format", "xml")], "`format`"),
        (&[("days", "1")], "`days` is not known"),
    ] {
        let error = read(query, None).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let asked = read(
        &[("hours", "3"), ("group_by", "user"), ("limit", "5")],
        Some("text/csv"),
    );
    let asked = asked.unwrap();
    assert_eq!((asked.span, asked.group, asked.csv), (3, Group::User, true));
    assert_eq!(asked.one_more().limit, 6);
    assert!(!read(&[("format", "json")], Some("text/csv")).unwrap().csv);
}

#[test]
fn numbers_are_exact_and_nothing_is_divided_by_nothing() {
    let text = |cell| match cell {
        Cell::Number(raw) => raw.get().to_owned(),
        Cell::Text(text) => text,
    };
    assert_eq!(text(decimal(2, 3, 4)), "0.6666");
    assert_eq!(text(decimal(6, 3, 4)), "2.0");
    assert_eq!(text(decimal(1, 0, 3)), "0.0");
    assert_eq!(
        text(decimal(i128::from(i64::MAX), 1_000_000_000, 12)),
        "9223372036.854775807"
    );
    assert_eq!(text(usd(9_007_199_254_740_991)), "9007199.254740991");
}

#[test]
fn a_spreadsheet_sees_no_formula_in_a_name() {
    let figures = Figures {
        day_ms: 1_738_281_600_000,
        name: "=1+\"a\",b".into(),
        requests: 3,
        successes: 2,
        tokens: 10,
        nano_usd: 1_500_000,
        latency_count: 2,
        latency_sum_ms: 7,
    };
    let rows = [(figures.clone(), stat(Group::User, &figures))];
    assert_eq!(
        csv(Group::User, &rows),
        "user,total_requests,success_rate,total_tokens,total_cost,avg_latency_ms,tokens_per_request\r\n\
         \"'=1+\"\"a\"\",b\",3,66.6666,10,0.0015,3.5,3.333\r\n"
    );
    let rows = [(figures.clone(), trend(Group::Model, &figures))];
    let text = csv(Group::Model, &rows);
    assert!(
        text.starts_with("date,model,requests,tokens,cost,"),
        "{text}"
    );
    assert!(text.contains("2025-01-31,"), "{text}");
}
