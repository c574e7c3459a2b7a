use super::*;

fn raw(pairs: &[(&str, &str)]) -> RawOptions {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

#[test]
fn defaults_are_a_vcan_and_can0_for_classic_and_fd_frames() {
    let options = NetworkOptions::parse(&raw(&[])).unwrap();
    assert_eq!(
        options,
        NetworkOptions {
            hub: HubChoice::Made,
            ifname: Naming::Exact(name("can0")),
            frames: Frames::Fd,
            heal: true,
            settings: Settings::default(),
            adapter_wait: true,
            rate: None,
            filters: Filters::default(),
            shapes: Shapes::default(),
            span: None,
        }
    );
}

#[test]
fn a_span_has_a_name_an_age_and_one_adapter_unless_told() {
    let span = |pairs: &[(&str, &str)]| NetworkOptions::parse(&raw(pairs)).unwrap().span.unwrap();
    let plain = span(&[("Span", "Powertrain")]);
    assert_eq!((plain.name.as_str(), plain.age_ms(), plain.bridge), ("powertrain", 100, false));
    let all = span(&[("span", "body-2"), ("span-age", "1.5S"), ("span-bridge", "ON")]);
    assert_eq!((all.name.as_str(), all.age_ms(), all.bridge), ("body-2", 1500, true));
}

#[test]
fn keys_and_keyword_values_are_case_insensitive() {
    let options =
        NetworkOptions::parse(&raw(&[("Hub", "vcan-Body"), ("FRAMES", "Classic"), ("Heal", "OFF")])).unwrap();
    assert_eq!(options.hub, HubChoice::Named(name("vcan-Body")));
    assert_eq!((options.frames, options.heal), (Frames::Classic, false));
}

#[test]
fn every_error_names_the_option_the_value_and_what_to_do() {
    for (options, words) in [
        (&[("hubb", "x")][..], &["hubb=x", "did you mean hub?", "adapter"][..]),
        (&[("wombat", "1")], &["wombat=1", "valid options: hub"]),
        (&[("allow-tx", "12")], &["allow-tx=12", "entry 1", "100-1FF", "`none`"]),
        (&[("allow-tx", "none 123")], &["allow-tx=none 123", "entry 1", "cannot be combined"]),
        (&[("allow-rx", "123 800")], &["allow-rx=123 800", "entry 2", "beyond 7FF"]),
        (
            &[("Allow-RX", "00000001-1FFFFFFE !01234567 !0BADCAFE")],
            &["needs", "filters in the kernel, at most 64", "aligned ranges"],
        ),
        (&[("span", "power/train")], &["span=power/train", "1 to 32 letters, digits, - or _"]),
        (&[("span-age", "1s")], &["span-age=1s", "only valid with a span", "span=NAME"]),
        (&[("span-bridge", "on")], &["span-bridge=on", "only valid with a span"]),
        (&[("span", "a"), ("span-age", "0ms")], &["span-age=0ms", "1ms to 60s", "like 100ms"]),
        (&[("span", "a"), ("span-age", "61s")], &["span-age=61s", "1ms to 60s"]),
        (&[("span", "a"), ("span-age", "100")], &["span-age=100", "1ms to 60s"]),
        (&[("span", "a"), ("span-bridge", "maybe")], &["span-bridge=maybe", "on or off"]),
        (&[("rate", "0")], &["rate=0", "off", "1000 to 100000000"]),
        (&[("rate", "-5000")], &["rate=-5000", "off", "like 500000"]),
        (&[("rate", "fast")], &["rate=fast", "off", "like 500000"]),
        (
            &[("adapter", "can0"), ("bitrate", "500000"), ("rate", "1M")],
            &["rate=1000000", "not be higher than bitrate=500000"],
        ),
        (&[("bitrate", "500000")], &["bitrate=500000", "only valid with an adapter", "adapter=can0"]),
        (&[("adapter", "can0"), ("bitrate", "fast")], &["bitrate=fast", "like 500000"]),
        (&[("adapter", "usb:1")], &["adapter=usb:1", "four hex digits"]),
        (&[("adapter", "can0"), ("adapter-wait", "off")], &["adapter-wait=off", "on or fail"]),
        (&[("adapter", "can0"), ("bitrat", "1")], &["bitrat=1", "did you mean bitrate?"]),
        (&[("hub", "a-name-of-16-byt")], &["hub=a-name-of-16-byt", "16 bytes", "allows 15"]),
        (&[("ifname", "can/0")], &["ifname=can/0", "'/'"]),
        (&[("ifname", "lo")], &["ifname=lo", "every container", "can0"]),
        (&[("hub", "a"), ("adapter", "can0")], &["hub=a", "adapter=can0", "mutually exclusive"]),
        (&[("hub", "a"), ("vxcan.id", "1")], &["vxcan.id", "cannot be combined with hub"]),
        (&[("frames", "fdd")], &["frames=fdd", "classic, fd or xl"]),
        (&[("heal", "maybe")], &["heal=maybe", "on or off"]),
        (&[("hub", "a,b")], &["hub=a,b", "comma"]),
        (&[("vxcan.peer", "thirteen-byte")], &["vxcan.peer=thirteen-byte", "12"]),
        (&[("hub", "a"), ("HUB", "b")], &["hub", "twice"]),
    ] {
        let err = NetworkOptions::parse(&raw(options)).unwrap_err();
        for word in words {
            assert!(err.contains(word), "{options:?}: {word:?} is not in {err:?}");
        }
    }
}

#[test]
fn dockers_own_options_are_ignored() {
    let options =
        raw(&[("com.docker.network.driver.mtu", "1500"), ("com.docker.network.container_iface_prefix", "x")]);
    assert!(NetworkOptions::parse(&options).is_ok());
}

#[test]
fn rustycan4dockers_options_keep_their_meaning() {
    let options = NetworkOptions::parse(&raw(&[("vxcan.dev", "vcan"), ("vxcan.id", "3")])).unwrap();
    assert_eq!(options.hub, HubChoice::Shared(name("vcan3")));
    assert_eq!(options.ifname, Naming::Prefix(name("vcanp")));
    let options = NetworkOptions::parse(&raw(&[("vxcan.peer", "can")])).unwrap();
    assert_eq!(options.hub, HubChoice::Shared(name("vcan0")));
    assert_eq!(options.ifname, Naming::Prefix(name("can")));
}

#[test]
fn an_endpoint_can_request_a_name_and_a_rate() {
    let parse = |pairs: &[(&str, &str)]| EndpointOptions::parse(&raw(pairs));
    let named = |naming| Ok(EndpointOptions { ifname: Some(naming), ..EndpointOptions::default() });
    assert_eq!(parse(&[]), Ok(EndpointOptions::default()));
    assert_eq!(parse(&[(DOCKER_IFNAME, "can7")]), named(Naming::Exact(name("can7"))));
    assert_eq!(parse(&[("vxcan.peer", "ecu")]), named(Naming::Prefix(name("ecu"))));
    assert_eq!(parse(&[("com.docker.network.endpoint.exposedports", "[]")]), Ok(EndpointOptions::default()));
    for (rate, parsed) in [("125k", Rate::Bits(125_000)), ("OFF", Rate::Off)] {
        assert_eq!(
            parse(&[("Rate", rate)]),
            Ok(EndpointOptions { rate: Some(parsed), ..EndpointOptions::default() })
        );
    }
    assert!(parse(&[("Bitrate", "500000")]).unwrap_err().contains("option of the whole bus"));
    assert!(parse(&[("ifnam", "can1")]).unwrap_err().contains("did you mean ifname?"));
    assert!(parse(&[(DOCKER_IFNAME, "a name")]).unwrap_err().contains(DOCKER_IFNAME));
    assert!(parse(&[("rate", "none")]).unwrap_err().contains("rate=none: must be off or"));
}

#[test]
fn hardware_is_recognized_by_name() {
    assert!(["can0", "can12", "slcan0"].iter().all(|text| looks_like_hardware(&name(text))));
    assert!(
        !["vcan0", "can", "canX", "candy1", "vxcan0"].iter().any(|text| looks_like_hardware(&name(text)))
    );
}

#[test]
fn each_wrong_list_of_ids_is_refused_with_its_entry_and_what_is_allowed() {
    let two_ranges = "00000001-1FFFFFFE 001-7FE";
    for key in ["allow-tx", "allow-rx"] {
        for (value, words) in [
            ("12", "entry 1 of the ids, `12`, has \"12\", which has neither three nor eight"),
            ("123;12G", "entry 2 of the ids, `12G`, has \"12G\", which is not a hexadecimal number"),
            ("123 456 800", "entry 3 of the ids, `800`, is beyond 7FF"),
            ("20000000", "entry 1 of the ids, `20000000`, is beyond 1FFFFFFF"),
            ("1FF-100", "entry 1 of the ids, `1FF-100`, ends before it starts"),
            ("100-18FEF100", "entry 1 of the ids, `100-18FEF100`, has ends with different numbers of digits"),
            ("7DF 123:1FFFFFFF", "entry 2 of the ids, `123:1FFFFFFF`, has an id and a mask with different"),
            ("123 none", "entry 2 of the ids, `none`, cannot be combined"),
            ("123 !", "entry 2 of the ids, `!`, has \"\", which has neither"),
            ("0x123", "entry 1 of the ids, `0x123`, has \"0x123\", which has neither"),
            ("100-", "entry 1 of the ids, `100-`, has \"\", which has neither"),
            ("100-1FF-200", "entry 1 of the ids, `100-1FF-200`, has \"1FF-200\", which has neither"),
            (";", "entry 1 of the ids, ``, is missing"),
            (two_ranges, "needs 76 filters in the kernel, at most 64 are possible"),
        ] {
            let why = NetworkOptions::parse(&raw(&[(key, value)])).unwrap_err();
            assert!(why.starts_with(&format!("option {key}={value}: ")) && why.contains(words), "{why}");
            assert!(why.contains("100-1FF"), "what is allowed: {why}");
        }
    }
}
