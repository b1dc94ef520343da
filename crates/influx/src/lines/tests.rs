#![allow(clippy::unwrap_used, reason = "helper functions of tests")]

use super::*;
use crate::{Precision, ValueField};
use formats::Unknown;
use model::Limits;
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000_000;

fn options() -> Options<'static> {
    Options {
        precision: Precision::Nanoseconds,
        value_field: ValueField::Measurement,
        label: None,
        multiline_strings: true,
        now_ms: NOW,
        limits: Limits::default(),
    }
}

/// Remembers every series, like the intake.
#[derive(Debug, Default)]
struct All {
    known: HashMap<(Vec<u8>, Vec<u8>, u8), Vec<u8>>,
    found: usize,
    assigned: Vec<u32>,
}

impl Recognise for All {
    fn find(&mut self, _: &[u8], _: u8, _: &mut Vec<u8>) -> bool {
        false
    }
    fn learn(&mut self, _: &[u8], _: u8, _: &[u8]) {}
    fn find_pair(&mut self, head: &[u8], part: &[u8], variant: u8, out: &mut Vec<u8>) -> bool {
        let known = self.known.get(&(head.to_vec(), part.to_vec(), variant));
        out.extend(known.into_iter().flatten());
        self.found += usize::from(known.is_some());
        known.is_some()
    }
    fn learn_pair(&mut self, head: &[u8], part: &[u8], variant: u8, labels: &[u8]) {
        self.known.insert((head.to_vec(), part.to_vec(), variant), labels.to_vec());
    }
    fn assign(&mut self, series: u32) {
        self.assigned.push(series);
    }
}

fn shown(part: &Part) -> Vec<String> {
    let batch = &part.parsed.batch;
    let shown = batch.points.iter().map(|point| {
        let Value::Float(value) = point.value else { return "no float".into() };
        format!("{} {value} {}", batch.labels(point.series), point.timestamp)
    });
    shown.collect()
}

fn read(text: &str, options: &Options<'_>) -> Part {
    Lines::new(text.as_bytes()).read(options, usize::MAX, &mut Unknown)
}

fn samples(text: &str) -> Vec<String> {
    shown(&read(text, &options()))
}

#[test]
fn fields_become_samples_under_prometheus_names() {
    for (line, wanted) in [
        ("cpu,host=a idle=1,user=2i", &[r#"cpu_idle{host="a"} 1"#, r#"cpu_user{host="a"} 2"#][..]),
        ("cpu value=1", &["cpu 1"]),
        ("cpu value=1,idle=2", &["cpu 1", "cpu_idle 2"]),
        (
            "prometheus,host=a up=1,http_requests_total=7",
            &[r#"up{host="a"} 1"#, r#"http_requests_total{host="a"} 7"#],
        ),
        ("prometheus value=1", &["value 1"]),
        ("valve open=true,closed=F,state=\"x y\"", &["valve_open 1", "valve_closed 0"]),
        ("9th-cpu.x,a.b=c,9=d f%=1", &[r#"_9th_cpu_x_f_{_9="d",a_b="c"} 1"#]),
        ("ä,ö=ü ß=1", &[r#"___{_="ü"} 1"#]),
        ("a:b c=1", &["a:b_c 1"]),
        ("m,empty=,x=y f=1", &[r#"m_f{x="y"} 1"#]),
        ("m,b=1,a=2 f=1", &[r#"m_f{a="2",b="1"} 1"#]),
        // Two tags with one label have both values; if a tag occurs twice, the last one counts.
        ("m,a-b=1,a.b=2 f=1", &[r#"m_f{a_b="1;2"} 1"#]),
        ("m,a=1,a=2 f=1", &[r#"m_f{a="2"} 1"#]),
        ("m,__name__=x,a=1 f=1", &[r#"m_f{a="1"} 1"#]),
        (r"m\,x\ y,t\,a\ g\==v\,a\ l\= f\,i\ e\=ld=1", &[r#"m_x_y_f_i_e_ld{t_a_g_="v,a l="} 1"#]),
        (r"m,path=C:\new\dir f=1", &[r#"m_f{path="C:\\new\\dir"} 1"#]),
        (r"m,path=\\,b f=1", &[r#"m_f{path="\\,b"} 1"#]),
    ] {
        let found = samples(&format!("{line} 1700000000000000000\n"));
        let wanted: Vec<String> = wanted.iter().map(|one| format!("{one} 1700000000000")).collect();
        assert_eq!(found, wanted, "{line}");
    }
}

#[test]
fn options_change_names_labels_and_times() {
    let text = "m,db=own value=1 1700000000\nm value=1 1700000000\n";
    let options = Options {
        precision: Precision::Seconds,
        value_field: ValueField::Suffix,
        label: Some(("db", "telegraf")),
        ..options()
    };
    let wanted = [r#"m_value{db="own"} 1 1700000000000"#, r#"m_value{db="telegraf"} 1 1700000000000"#];
    assert_eq!(shown(&read(text, &options)), wanted);
}

#[test]
fn line_ends_blanks_and_comments_are_tolerated() {
    for text in [
        "m f=1 7\n",
        "m f=1 7",
        "m f=1 7\r\n",
        "\u{feff}m f=1 7\n",
        "\n \n\r\n# m f=2\n  # comment\r\n  m   f=1   7  \n\n",
        "\t m f=1 7 \r",
        "m f=1 7\n#",
    ] {
        let part = read(text, &options());
        assert_eq!((shown(&part), part.faults), (vec!["m_f 1 0".to_string()], vec![]), "{text:?}");
    }
    assert_eq!(samples("m#x f=1"), [format!("m_x_f 1 {NOW}")], "only the first character makes a comment");
}

#[test]
fn strings_may_have_any_characters_and_are_counted() {
    let text = "m a=\"x, y=1 \\\" \\\\\",b=1 7000000\nm a=\"one\ntwo\r\nm c=9\n\",b=2 8000000\n# x\nm d=\nm b=3 9000000\n";
    let part = read(text, &options());
    assert_eq!(shown(&part), ["m_b 1 7", "m_b 2 8", "m_b 3 9"]);
    assert_eq!(part.left_out, LeftOut { strings: 2, repeated: 0 });
    let faults: Vec<usize> = part.faults.iter().map(|fault| fault.number).collect();
    assert_eq!(faults, [7], "lines are counted within strings, too");
    // A line with strings only is not an error.
    let part = read("m a=\"x\"\n", &options());
    assert!(part.faults.is_empty() && part.parsed.batch.points.is_empty());
    // In a datagram a string ends with its line.
    let part = read("m a=\"x\nm b=\"y\",c=1 7000000\n", &Options { multiline_strings: false, ..options() });
    assert_eq!((shown(&part), part.faults.len()), (vec!["m_c 1 7".to_string()], 1));
}

#[test]
fn an_invalid_line_costs_only_itself_and_has_a_reason() {
    for (line, reason) in [
        ("cpu", "missing fields"),
        ("cpu ", "missing fields"),
        ("cpu,host=a", "missing fields"),
        ("cpu,host=a ", "missing fields"),
        (",host=a f=1", "missing measurement"),
        ("cpu, f=1", "missing tag key"),
        ("cpu,,a=b f=1", "missing tag key"),
        ("cpu,=b f=1", "missing tag key"),
        ("cpu,host f=1", "missing tag value"),
        ("cpu,host", "missing tag value"),
        ("cpu,host=a=b f=1", "invalid tag format"),
        ("cpu =1", "missing field key"),
        ("cpu f=1,=2", "missing field key"),
        ("cpu f=", "missing field value"),
        ("cpu f=,g=1", "missing field value"),
        ("cpu f= 1", "missing field value"),
        ("cpu f", "invalid field format"),
        ("cpu f=1,", "invalid field format"),
        ("cpu f=1, 7", "invalid field format"),
        ("cpu f=1,g", "invalid field format"),
        ("cpu f=1,g 7", "invalid field format"),
        ("cpu f g=1", "invalid field format"),
        ("cpu f=\"x\"y", "invalid field format"),
        ("cpu f=1a", "invalid number \"1a\""),
        ("cpu f=tr", "invalid boolean \"tr\""),
        ("cpu f=x", "invalid value \"x\": a string is written in double quotes"),
        ("cpu f=+1", "invalid value \"+1\""),
        ("cpu f=1 x", "bad timestamp \"x\""),
        ("cpu f=1 1 2", "bad timestamp \"1 2\""),
        ("cpu f=1 1.5", "bad timestamp \"1.5\""),
        ("cpu f=1 -", "bad timestamp \"-\""),
        ("cpu f=1 9223372036854775808", "bad timestamp"),
        ("cpu f=1 1700000000", "timestamp 1700000000 is in seconds"),
        ("cpu,a\tb=c f=1", "a control character outside of a string"),
        ("cpu f\u{1}=1", "a control character outside of a string"),
        ("cpu,host=a\\ f=1", "invalid tag format"),
    ] {
        let part = read(&format!("before f=1 1000000\n{line}\nafter f=2 2000000\n"), &options());
        assert_eq!(shown(&part), ["before_f 1 1", "after_f 2 2"], "{line}");
        let [fault] = part.faults.as_slice() else { panic!("{line}: {:?}", part.faults) };
        assert_eq!((fault.number, part.parsed.rejected.samples), (2, 1), "{line}");
        let said = fault.to_string();
        let wanted = format!("unable to parse '{}': {reason}", line.trim_start());
        assert!(said.starts_with(&wanted), "{said}");
    }
}

#[test]
fn a_string_without_an_end_costs_its_line() {
    let part = read("a f=1 1000000\nb f=\"x 7\nc f=2 2000000\n", &options());
    assert_eq!(shown(&part), ["a_f 1 1", "c_f 2 2"]);
    assert_eq!(part.faults[0].to_string(), "unable to parse 'b f=\"x 7': unbalanced quotes");
    let text = b"a\xff f=1\nb,x=\xff f=1\nc \xff=1\nd f=1 1000000\n";
    let part = Lines::new(text).read(&options(), usize::MAX, &mut Unknown);
    assert_eq!((shown(&part), part.faults.len()), (vec!["d_f 1 1".to_string()], 3));
}

#[test]
fn the_last_sample_of_a_series_and_millisecond_counts() {
    let text = "m a=1,b=1 1000001\nm a=2 1000002\nm a=3,c=3 1000003\nn a=4 1000000\nm c=5 1000004\nm a=6,a=7 2000000\n";
    let part = read(text, &options());
    assert_eq!(shown(&part), ["m_a 3 1", "m_b 1 1", "m_c 5 1", "n_a 4 1", "m_a 7 2"]);
    assert_eq!(part.left_out, LeftOut { strings: 0, repeated: 4 });
}

#[test]
fn labels_over_a_limit_cost_their_field() {
    let key = "k".repeat(2000);
    let part = read(&format!("m,a=b x=1,{key}=2,y=3 1000000\n"), &options());
    assert_eq!(shown(&part), [r#"m_x{a="b"} 1 1"#, r#"m_y{a="b"} 3 1"#]);
    assert!(part.faults[0].to_string().contains("the length of the metric name"), "{:?}", part.faults);
}

#[test]
fn a_line_with_too_many_fields_or_labels_is_rejected() {
    let fields = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(",");
    let most = read(&format!("m {}\n", fields(LINE_FIELDS_MAX_TEST)), &options());
    assert_eq!(most.parsed.batch.points.len(), LINE_FIELDS_MAX_TEST);
    let more = read(&format!("m {}\nn f=1 1000000\n", fields(LINE_FIELDS_MAX_TEST + 1)), &options());
    assert_eq!(shown(&more), ["n_f 1 1"]);
    assert!(more.faults[0].to_string().ends_with("more than 10000 fields in one line"));
    let tag = "v".repeat(10_000);
    let wide = read(&format!("m,t={tag} {}\nn f=1 1000000\n", fields(200)), &options());
    assert_eq!(shown(&wide), ["n_f 1 1"]);
    assert!(wide.faults[0].to_string().contains("more than 1048576 bytes"), "{:?}", wide.faults);
}
const LINE_FIELDS_MAX_TEST: usize = crate::LINE_FIELDS_MAX;

#[test]
fn errors_after_the_first_ones_are_counted() {
    let part = read(&"m\n".repeat(1000), &options());
    assert_eq!((part.faults.len(), part.parsed.rejected.samples), (FAULTS_MAX, 1000));
    let long = read(&format!("m{}\n", "é".repeat(10_000)), &options());
    assert_eq!(long.faults[0].line.chars().count(), crate::LINE_SHOWN_CHARS);
}

#[test]
fn a_text_is_read_in_parts_within_the_memory_limit() {
    let text: String = (0..500).map(|n| format!("m,n={n} a={n},b=2,c=\"x\" {}000000\n", n + 1)).collect();
    let whole = samples(&text);
    let mut lines = Lines::new(text.as_bytes());
    let (mut found, mut parts, mut bytes_max) = (Vec::new(), 0, 100);
    while !lines.is_done() {
        let part = lines.read(&options(), bytes_max, &mut Unknown);
        if let Some(needs) = part.needs {
            assert!(needs > bytes_max && part.parsed.batch.points.is_empty());
            bytes_max = 20_000;
            continue;
        }
        let batch = &part.parsed.batch;
        let used = batch.bytes.len() + batch.points.len() * size_of::<model::Point>();
        assert!(used <= bytes_max, "{used}");
        found.extend(shown(&part));
        parts += 1;
    }
    assert_eq!(found, whole);
    assert!(parts > 5, "{parts}");
}

#[test]
fn strings_before_a_line_that_does_not_fit_are_counted() {
    let mut lines = Lines::new(b"a s=\"x\"\nb f=1\n");
    let part = lines.read(&options(), 1, &mut Unknown);
    assert_eq!((part.left_out.strings, part.needs), (1, None));
    let part = lines.read(&options(), 1, &mut Unknown);
    assert!(part.left_out.strings == 0 && part.needs.is_some());
}

fn line() -> impl Strategy<Value = String> {
    let head = prop::sample::select(vec![
        "m",
        "m,a=1",
        "m,a=2",
        "m,b=1,a=1",
        "m,a=1,a=2",
        "m\\ x",
        "m,a\\,b=c\\=d",
        "prometheus",
        ",a=1",
        "m,a",
        "m,=1",
        "m,a=",
        "é,ü=ß",
        "m,a=1=2",
        "",
        "#",
        " m",
        "m,a=\"x",
        "m,\u{1}=a",
    ]);
    let field = prop::sample::select(vec![
        "a=1",
        "b=2i",
        "value=3",
        "c=t",
        "s=\"x\"",
        "s=\"x\ny=1\"",
        "s=\"",
        "d=x",
        "e",
        "=1",
        "f\\,g=4",
        "a=5",
        "h=1e400",
        "é=1",
        "g h=1",
    ]);
    let tail = prop::sample::select(vec![
        "",
        " 1000000",
        " 1000001",
        " 2000000",
        " x",
        " 1 2",
        "  ",
        ",",
        " 1700000000",
    ]);
    (head, prop::collection::vec(field, 0..4), tail, prop::sample::select(vec![" ", "  ", ""]))
        .prop_map(|(head, fields, tail, blank)| format!("{head}{blank}{}{tail}", fields.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// The samples are independent of the known series and of the parts in which the text is read.
    #[test]
    fn known_series_change_nothing(texts in prop::collection::vec(prop::collection::vec(line(), 0..8), 1..4)) {
        let mut all = All::default();
        for text in texts {
            let text = text.join("\n");
            let expected = read(&text, &options());
            all.assigned.clear();
            let found = Lines::new(text.as_bytes()).read(&options(), usize::MAX, &mut all);
            prop_assert_eq!(shown(&expected), shown(&found), "{}", text);
            prop_assert_eq!(&expected.faults, &found.faults, "{}", text);
            prop_assert_eq!(expected.left_out, found.left_out, "{}", text);
            let series = found.parsed.batch.series.len() as u32;
            prop_assert_eq!(&all.assigned, &(0..series).collect::<Vec<_>>());
            // No series has two samples with the same time, unless different tags result in the same labels.
            prop_assert_eq!(series as usize, found.parsed.batch.points.len());
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(text in prop::collection::vec(any::<u8>(), 0..200), max in 0usize..5000) {
        let mut lines = Lines::new(&text);
        let mut max = max;
        while !lines.is_done() {
            max = lines.read(&options(), max, &mut Unknown).needs.unwrap_or(max);
        }
    }
}
