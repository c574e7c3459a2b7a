use tokio::io::BufReader;

use super::*;

fn port() -> Port {
    Port {
        span: "powertrain".parse().unwrap(),
        network: "e189".repeat(16).try_into().unwrap(),
        network_name: "garage_body".into(),
        interface: "cse189e189e1".parse().unwrap(),
        frames: Frames::Fd,
        age_ms: 100,
        adapter: None,
        bridge: false,
        bitrate: None,
        dbitrate: None,
    }
}

fn state() -> State {
    let host = HostState { name: "bench-b".into(), online: true, since: 1, ..HostState::default() };
    let span = SpanState {
        span: "powertrain".parse().unwrap(),
        network: port().network,
        problem: None,
        stopped: false,
        refused: vec![Refused { host: "bench-c".into(), reason: "it is revoked".into() }],
        missed: 4,
        lost_at_port: 1,
        held_back: 5,
        write_errors: 0,
        too_old: TooOld { before_sending: 2, on_arrival: 3, before_wire: 4 },
        frames_out: u64::MAX,
        hosts: vec![host],
    };
    State { version: "0.1.0".into(), host: "bench-a".into(), spans: vec![span], ..State::default() }
}

#[test]
fn messages_are_lines_that_read_as_the_contract_says() {
    let line = encode(ToSpan::Ports(vec![port()])).unwrap();
    assert_eq!(
        String::from_utf8(line.clone()).unwrap(),
        format!(
            "{{\"protocol\":1,\"ports\":[{{\"span\":\"powertrain\",\"network\":\"{}\",\"network_name\":\"garage_body\",\
             \"interface\":\"cse189e189e1\",\"frames\":\"fd\",\"age_ms\":100,\"adapter\":null,\"bridge\":false,\
             \"bitrate\":null,\"dbitrate\":null}}]}}\n",
            "e189".repeat(16)
        )
    );
    assert_eq!(decode(&line), Ok(ToSpan::Ports(vec![port()])));
    let forget = encode(ToSpan::Forget("bench-b".into())).unwrap();
    assert_eq!(forget, b"{\"protocol\":1,\"forget\":\"bench-b\"}\n");
    assert_eq!(decode(&forget), Ok(ToSpan::Forget("bench-b".into())));
    let told = FromSpan::State(state());
    assert_eq!(decode(&encode(&told).unwrap()), Ok(told));
    let least = br#"{"protocol":1,"state":{"version":"1","host":"a","started":5,"added":"later"}}"#;
    assert_eq!(
        decode(least),
        Ok(FromSpan::State(State { version: "1".into(), host: "a".into(), started: 5, ..State::default() }))
    );
}

#[test]
fn what_cannot_be_shown_or_is_another_protocol_is_refused_with_the_reason() {
    let long = "x".repeat(TEXT_MAX + 1);
    for (line, words) in [
        (r#"{"protocol":2,"ports":[]}"#.to_owned(), "speaks protocol 2"),
        (r#"{"ports":[]}"#.into(), "missing field `protocol`"),
        (r#"{"protocol":1}"#.into(), "not a message of protocol 1"),
        (r#"{"protocol":1,"forget":"a\u001b[2J"}"#.into(), "control character"),
        (format!(r#"{{"protocol":1,"forget":"{long}"}}"#), "1025 bytes"),
        (r#"{"protocol":1,"ports":[{"span":"../etc"}]}"#.into(), "span"),
        ("hello".into(), "not a message"),
    ] {
        let err = decode::<ToSpan>(line.as_bytes()).unwrap_err();
        assert!(err.contains(words), "{line}: {err}");
    }
}

#[tokio::test]
async fn a_line_is_read_whole_and_never_longer_than_allowed() {
    let mut line = Vec::new();
    let mut two = BufReader::with_capacity(3, &b"one\ntwo\n"[..]);
    assert!(read_line(&mut two, &mut line).await.unwrap());
    assert_eq!(line, b"one");
    line.clear();
    assert!(read_line(&mut two, &mut line).await.unwrap());
    line.clear();
    assert!(!read_line(&mut two, &mut line).await.unwrap());

    let cut = read_line(&mut &b"on"[..], &mut line).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    line.clear();
    let endless = vec![b'x'; LINE_MAX + 2];
    let err = read_line(&mut &endless[..], &mut line).await.unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::InvalidData);
}
