//! `allow-tx` and `allow-rx`: exactly the allowed frames arrive, once.

use proptest::prelude::*;
use socketcan::id::{CAN_EFF_FLAG as EXTENDED, CAN_RTR_FLAG as REMOTE};

use super::*;
use crate::{
    filters::{Filters, IdList, Way},
    kernel::{Filter, RuleFlags, fake::Frame},
};

fn filters(tx: Option<&str>, rx: Option<&str>) -> Filters {
    let list = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    Filters { tx: list(tx), rx: list(rx), lost: false }
}

/// One bus, a member for each of these lists.
fn bus(members: &[Filters]) -> (FakeKernel, Model) {
    let (kernel, mut model) = (FakeKernel::new(), Model::default());
    let network = network(1, &[]);
    for (number, filters) in (16..).zip(members) {
        kernel.add_sandbox(sandbox(number));
        model.put_endpoint(Endpoint { filters: filters.clone(), ..endpoint(number, &network) });
    }
    model.put_network(network);
    (kernel, model)
}

fn end(kernel: &FakeKernel, model: &Model, number: u8) -> u32 {
    host_end(kernel, model, number).index
}

/// How often `to` hears a frame of `from`.
fn heard(kernel: &FakeKernel, [from, to]: [u32; 2], frame: Frame) -> usize {
    kernel.deliveries(from, frame).heard.get(&to).copied().unwrap_or_default()
}

fn assert_nothing_to_do(kernel: &FakeKernel, model: &Model) {
    assert_eq!(plan_all(kernel, model).steps, []);
}

#[test]
fn remote_frames_follow_their_id_and_error_frames_the_list() {
    for (tx, data, errors) in
        [("123", 1, 0), ("!123", 0, 1), ("none", 0, 0), ("!456", 1, 1), ("00000123", 0, 0)]
    {
        let (kernel, model) = bus(&[filters(Some(tx), None), Filters::default()]);
        heal(&kernel, &model);
        assert_nothing_to_do(&kernel, &model);
        let ends @ [one, other] = [16, 17].map(|number| end(&kernel, &model, number));
        for (frame, times) in [
            (Frame::CLASSIC, data),
            (Frame::FD, data),
            (Frame { id: 0x123 | REMOTE, fd: false }, data),
            (Frame::ERROR, errors),
        ] {
            assert_eq!(heard(&kernel, ends, frame), times, "{tx}: {frame:?}");
            assert_eq!(heard(&kernel, [other, one], frame), 1, "{tx}: the other way is open");
        }
    }
}

#[test]
fn a_bus_without_lists_has_the_rules_that_it_always_had() {
    let (kernel, model) = bus(&[Filters::default(), Filters::default()]);
    heal(&kernel, &model);
    let rules = kernel.rules().unwrap();
    assert_eq!(rules.len(), 6 * 3);
    assert!(rules.iter().all(|status| [Filter::default(), Filter::ERRORS].contains(&status.rule.filter)));
}

#[test]
fn rules_that_let_more_pass_are_removed_and_missing_ones_come_back() {
    let (kernel, model) = bus(&[filters(Some("100-1FF"), None), filters(None, Some("123 7DF"))]);
    heal(&kernel, &model);
    let ends = [16, 17].map(|number| end(&kernel, &model, number));
    let ours: Vec<Rule> = kernel.rules().unwrap().iter().map(|status| status.rule).collect();
    let way: Vec<Rule> =
        ours.iter().filter(|rule| [rule.source, rule.destination] == ends).copied().collect();
    assert_eq!(way.len(), 2, "the intersection is one ID: {way:?}");
    kernel.delete_rules(&way).unwrap();
    let open = Rule { filter: Filter::default(), flags: RuleFlags::IIF_TX_OK, ..way[0] };
    kernel.add_rules(&[open]).unwrap();
    assert_eq!(heard(&kernel, ends, Frame { id: 0x555, fd: false }), 1);
    assert_eq!(heal(&kernel, &model).len(), 2);
    let mut now: Vec<Rule> = kernel.rules().unwrap().iter().map(|status| status.rule).collect();
    let mut wanted = ours;
    now.sort();
    wanted.sort();
    assert_eq!(now, wanted);
}

#[test]
fn a_member_whose_lists_are_lost_keeps_its_rules_and_gets_no_others() {
    let (kernel, mut model) = bus(&[filters(Some("123"), None), Filters::default()]);
    heal(&kernel, &model);
    let before = kernel.rules().unwrap();
    let network = network(1, &[]);
    let lost = Filters { lost: true, ..Filters::default() };
    model.put_endpoint(Endpoint { filters: lost.clone(), ..endpoint(16, &network) });
    let plan = plan_all(&kernel, &model);
    // Its alias is written again.
    assert!(plan.steps.iter().all(|step| !step.action.acts_on_rules()), "{:?}", plan.steps);
    let [problem] = &plan.problems[..] else { panic!("{:?}", plan.problems) };
    assert!(problem.text.contains("start the container again"), "{}", problem.text);
    assert_eq!(kernel.rules().unwrap(), before);

    kernel.delete_link(None, end(&kernel, &model, 16)).unwrap();
    heal(&kernel, &model);
    let ends @ [one, other] = [16, 17].map(|number| end(&kernel, &model, number));
    assert_eq!(heard(&kernel, ends, Frame::CLASSIC), 0, "a new pair stays closed");
    assert_eq!(heard(&kernel, [other, one], Frame::CLASSIC), 0);

    // A network whose lists are lost closes those that have none of their own.
    let (kernel, mut model) = bus(&[filters(Some("123"), Some("none")), Filters::default()]);
    model.put_network(super::network(1, &[]).with_lists_lost(true));
    heal(&kernel, &model);
    let hub =
        look(&kernel, &model.want()).links.iter().find(|link| link.kind == LinkKind::Vcan).unwrap().index;
    let [one, other] = [16, 17].map(|number| end(&kernel, &model, number));
    assert_eq!([one, other].map(|from| heard(&kernel, [from, hub], Frame::CLASSIC)), [1, 0]);
}

#[test]
fn lost_lists_block_the_join_of_their_member_only() {
    let lost = Filters { lost: true, ..Filters::default() };
    let (kernel, model) = bus(&[lost, Filters::default()]);
    let (want, network) = (model.want(), network(1, &[]));
    let blocks = |scope| {
        let plan = plan(&want, &look(&kernel, &want), scope);
        plan.problems.iter().map(|problem| problem.blocks).collect::<Vec<_>>()
    };
    let [one, other] = [16, 17].map(|number| endpoint(number, &network).id);
    assert_eq!(blocks(Scope::Join(&one)), [Blocks::Join]);
    assert_eq!(blocks(Scope::Join(&other)), []);
    assert_eq!(blocks(Scope::Everything), [Blocks::Nothing]);
}

/// An entry and a model of it.
#[derive(Debug, Clone)]
struct Entry {
    out: bool,
    extended: bool,
    kind: u8,
    a: u32,
    b: u32,
}

impl Entry {
    fn text(&self) -> String {
        let Self { extended, kind, a, b, .. } = *self;
        let id = |id: u32| if extended { format!("{id:08X}") } else { format!("{id:03X}") };
        let bang = if self.out { "!" } else { "" };
        match kind {
            0 => format!("{bang}{}", id(a)),
            1 => format!("{bang}{}-{}", id(a.min(b)), id(a.max(b))),
            _ => format!("{bang}{}:{}", id(a), id(b)),
        }
    }

    fn names(&self, id: u32, extended: bool) -> bool {
        let Self { kind, a, b, .. } = *self;
        extended == self.extended
            && match kind {
                0 => id == a,
                1 => (a.min(b)..=a.max(b)).contains(&id),
                _ => (id ^ a) & b == 0,
            }
    }
}

fn allows(list: &[Entry], id: u32, extended: bool) -> bool {
    let names = |out| list.iter().any(|entry| entry.out == out && entry.names(id, extended));
    (list.is_empty() || list.iter().all(|entry| entry.out) || names(false)) && !names(true)
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<bool>(), any::<bool>(), 0..3u8, any::<u32>(), any::<u32>(), 0..4u8).prop_map(
        |(out, extended, kind, a, b, bits)| {
            let max = if extended { 0x1FFF_FFFF } else { 0x7FF };
            // A mask with many free bits overlaps others.
            Entry {
                out,
                extended,
                kind,
                a: a & max,
                b: if kind == 2 { (b | b >> bits) & max } else { b & max },
            }
        },
    )
}

fn list() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..4)
}

/// Fails if it needs too many filters.
fn parse(list: &[Entry]) -> Result<Option<IdList>, String> {
    let words: Vec<String> = list.iter().map(Entry::text).collect();
    (!words.is_empty()).then(|| words.join(" ").parse()).transpose()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn exactly_the_allowed_frames_arrive_once(
        (tx, rx) in (list(), list()),
        ids in prop::collection::vec(0..0x2000_0000_u32, 500),
    ) {
        let (Ok(sends), Ok(hears)) = (parse(&tx), parse(&rx)) else {
            // It needs too many filters.
            return Ok(());
        };
        let sender = Filters { tx: sends, ..Filters::default() };
        let (kernel, model) = bus(&[sender, Filters { rx: hears, ..Filters::default() }]);
        heal(&kernel, &model);
        assert_nothing_to_do(&kernel, &model);
        let [from, to] = [16, 17].map(|number| end(&kernel, &model, number));
        let hub = look(&kernel, &model.want()).links.iter().find(|link| link.kind == LinkKind::Vcan).unwrap().index;
        let near = tx.iter().chain(&rx).filter(|entry| entry.extended);
        let near = near.flat_map(|entry| [entry.a, entry.b, entry.a ^ 1, entry.b ^ 1]);
        let extended = ids.iter().copied().chain(near).map(|id| (id, true));
        for (id, extended) in (0..0x800).map(|id| (id, false)).chain(extended) {
            let frame = Frame { id: if extended { id | EXTENDED } else { id }, fd: false };
            let passes = allows(&tx, id, extended);
            prop_assert_eq!(heard(&kernel, [from, hub], frame), usize::from(passes), "{:X}", frame.id);
            let both = passes && allows(&rx, id, extended);
            prop_assert_eq!(heard(&kernel, [from, to], frame), usize::from(both), "{:X}", frame.id);
            let back = allows(&rx, id, extended);
            prop_assert_eq!(heard(&kernel, [hub, to], frame), usize::from(back), "{:X} from the host", frame.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // Without a kernel around them, many more can be tried: all standard IDs and 100,000 extended ones in all.
    #[test]
    fn the_filters_of_random_lists_pass_each_allowed_id_once(
        (tx, rx) in (list(), list()),
        ids in prop::collection::vec(0..0x2000_0000_u32, 500),
    ) {
        let (sends, hears) = (parse(&tx), parse(&rx));
        // Some need too many filters.
        prop_assume!(sends.is_ok() && hears.is_ok());
        let way = Way::between(sends.unwrap().as_ref(), hears.unwrap().as_ref());
        for (id, extended) in (0..0x800).map(|id| (id, false)).chain(ids.into_iter().map(|id| (id, true))) {
            let frame = if extended { id | EXTENDED } else { id };
            let passes = way.frames.iter().filter(|filter| filter.passes(frame)).count();
            let allowed = allows(&tx, id, extended) && allows(&rx, id, extended);
            prop_assert_eq!(passes, usize::from(allowed), "{:X}", frame);
        }
    }
}
