use super::*;
use http_client::Url;

/// Parses `name=url`, optionally followed by `#` and the memory.
fn asked(text: &[&str]) -> Vec<Asked> {
    let one = |text: &&str| {
        let (rest, memory) = text.split_once('#').unwrap_or((text, "1"));
        let (name, host) = rest.split_once('=').unwrap_or(("", rest));
        let mut config = RemoteWrite::to(Url::parse(&format!("http://{host}/write")).unwrap());
        config.name = Some(name.to_string()).filter(|name| !name.is_empty());
        config.max_in_memory = memory.parse().unwrap();
        config
    };
    let configs: Vec<RemoteWrite> = text.iter().map(one).collect();
    let identities = Identity::of_all(&configs).unwrap();
    let both = configs.into_iter().zip(identities);
    both.map(|(config, identity)| Asked { config, identity, labels: Vec::new() }).collect()
}

fn before<'a>(asked: &'a [Asked], ended: &[usize]) -> Vec<Before<'a>> {
    let one = |(index, asked)| Before { asked, has_ended: ended.contains(&index) };
    asked.iter().enumerate().map(one).collect()
}

/// Destinations before, indices of ended ones, wanted destinations, steps, stops.
type Row<'a> = (&'a [&'a str], &'a [usize], &'a [&'a str], &'a [Step], &'a [usize]);

#[test]
fn each_destination_is_kept_started_or_stopped() {
    use Step::{Keep, Start};
    let (new, again) = (Start { numbers_of: None }, |index| Start { numbers_of: Some(index) });
    let table: [Row<'_>; 9] = [
        (&["a=one"], &[], &["a=one"], &[Keep(0)], &[]),
        (&["a=one#1"], &[], &["a=one#2"], &[Keep(0)], &[]),
        (&["a=one"], &[0], &["a=one"], &[again(0)], &[0]),
        (&["a=one", "b=two"], &[], &["b=two", "a=one"], &[Keep(1), Keep(0)], &[]),
        (&["a=one"], &[], &["a=one", "b=two"], &[Keep(0), new], &[]),
        (&["a=one", "b=two"], &[], &["b=two"], &[Keep(1)], &[0]),
        (&["a=one"], &[], &["a=other"], &[new], &[0]),
        (&["a=one"], &[], &["b=one"], &[new], &[0]),
        (&[], &[], &["one", "two"], &[new, new], &[]),
    ];
    for (old, ended, new, steps, stops) in table {
        let (old, new) = (asked(old), asked(new));
        let plan = Plan::new(&before(&old, ended), &new);
        assert_eq!(plan, Plan { steps: steps.to_vec(), stops: stops.to_vec() }, "{old:?} to {new:?}");
        let starts = steps.iter().filter(|step| matches!(step, Start { .. })).count();
        assert_eq!(plan.starts(&new).count(), starts);
    }
}

#[test]
fn changed_setting_restarts_with_the_same_counters() {
    let old = asked(&["a=one", "b=two"]);
    let mut new = old.clone();
    new[1].config.narrow = crate::config::Narrowing::Never;
    let plan = Plan::new(&before(&old, &[]), &new);
    let steps = vec![Step::Keep(0), Step::Start { numbers_of: Some(1) }];
    assert_eq!(plan, Plan { steps, stops: vec![1] });
    let changes = plan.changes(&before(&old, &[]), &new, &Moved::new());
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let right = Changes { kept: names(&["a"]), changed: names(&["b"]), ..Changes::default() };
    assert_eq!(changes, right);
}

#[test]
fn new_name_is_a_change_if_the_positions_move() {
    let (old, new) = (asked(&["a=one", "c=three"]), asked(&["b=one"]));
    let plan = Plan::new(&before(&old, &[]), &new);
    let file = |asked: &Asked| asked.identity.file().to_string();
    let moved = vec![(file(&old[0]), file(&new[0]))];
    let changes = plan.changes(&before(&old, &[]), &new, &moved);
    let right =
        Changes { changed: vec!["b (was a)".into()], removed: vec!["c".into()], ..Changes::default() };
    assert_eq!(changes, right);
    let gone: Vec<&str> = plan.gone(&before(&old, &[]), &new).map(Asked::name).collect();
    assert_eq!(gone, ["a", "c"], "the log is held under the new name by now");
    let without = plan.changes(&before(&old, &[]), &new, &Moved::new());
    assert_eq!((without.new, without.removed), (vec!["b".into()], vec!["a".into(), "c".into()]));
}
