use super::*;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn parent(traceparent: &str) -> Option<Parent> {
    Parent::of(&headers(&[("traceparent", traceparent)]))
}

#[test]
fn a_valid_parent_is_read_and_written_alike() {
    let text = format!("00-{TRACE}-{SPAN}-01");
    let parent = parent(&text).unwrap();
    assert_eq!(parent.trace.to_string(), TRACE);
    assert_eq!(parent.span.to_string(), SPAN);
    assert!(parent.sampled && parent.state.is_none());
    assert_eq!(parent.header().unwrap(), text.as_str());
}

#[test]
fn other_flags_and_later_versions_are_understood() {
    assert!(!parent(&format!("00-{TRACE}-{SPAN}-00")).unwrap().sampled);
    assert!(parent(&format!("00-{TRACE}-{SPAN}-ff")).unwrap().sampled);
    assert!(parent(&format!("01-{TRACE}-{SPAN}-01-more")).is_some());
    assert!(parent(&format!("cc-{TRACE}-{SPAN}-01")).is_some());
}

#[test]
fn what_is_not_valid_is_no_parent() {
    let zero = "0".repeat(32);
    for text in [
        String::new(),
        "00".into(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{zero}-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &zero[..16]),
        format!("00-{TRACE}0-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        format!("0-{TRACE}-{SPAN}-01"),
    ] {
        assert_eq!(parent(&text), None, "{text}");
    }
    let one = format!("00-{TRACE}-{SPAN}-01");
    let twice = headers(&[("traceparent", &one), ("traceparent", &one)]);
    assert_eq!(Parent::of(&twice), None, "two parents are none");
}

#[test]
fn the_state_is_joined_and_one_that_is_not_valid_is_left_out() {
    let one = format!("00-{TRACE}-{SPAN}-01");
    let state = |lines: &[&str]| {
        let mut all = vec![("traceparent", one.as_str())];
        all.extend(lines.iter().map(|line| ("tracestate", *line)));
        Parent::of(&headers(&all)).unwrap().state
    };
    let joined = state(&["rojo=00f067aa0ba902b7 , t@congo=t61", "a=1"]).unwrap();
    assert_eq!(joined, "rojo=00f067aa0ba902b7,t@congo=t61,a=1");
    let long = format!("a={}", "x".repeat(256));
    let longer = format!("b={}", "x".repeat(250));
    let longest = format!("c={}", "x".repeat(10));
    let many: String = (0..33).map(|number| format!("k{number}=v,")).collect();
    for lines in [
        &[""][..],
        &["novalue"],
        &["a=1,a=2"],
        &["A=1"],
        &["a=b=c"],
        &["a="],
        &["a@b@c=1"],
        &[many.as_str()],
        &[&long, &longer, &longest],
    ] {
        assert_eq!(state(lines), None, "{lines:?}");
    }
}

#[test]
fn a_sampler_follows_the_caller_or_the_number_of_the_trace() {
    let parent = |sampled: &str| parent(&format!("00-{TRACE}-{SPAN}-{sampled}")).unwrap();
    let none = Sampler {
        parent: true,
        billionths: 0,
    };
    let trace = TraceId::random();
    assert!(none.takes(trace, Some(&parent("01"))));
    assert!(!Sampler::ALL.takes(trace, Some(&parent("00"))));
    assert!(Sampler::ALL.takes(trace, None) && !none.takes(trace, None));
    let alone = Sampler {
        parent: false,
        ..none
    };
    assert!(!alone.takes(trace, Some(&parent("01"))));
    let half = Sampler {
        parent: false,
        billionths: WHOLE / 2,
    };
    let taken = (0..2000).filter(|_| half.takes(TraceId::random(), None));
    assert!((800..1200).contains(&taken.count()));
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(a in "[ -~]{0,80}", b in "[ -~]{0,600}") {
        let found = Parent::of(&headers(&[("traceparent", &a), ("tracestate", &b)]));
        prop_assert!(found.is_none_or(|parent| parent.header().is_some()));
    }
}
