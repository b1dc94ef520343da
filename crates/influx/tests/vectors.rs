//! Facts from InfluxDB's own decoders: lines with their samples or their error.
//!
//! Sources, both MIT licensed: `github.com/influxdata/line-protocol`, `lineprotocol/decoder_test.go` and
//! `lineprotocol/testdata/corpus.json` (the decoder of InfluxDB 2 and Telegraf), and `github.com/influxdata/influxdb`,
//! `models/points_test.go` (InfluxDB 1). Where they differ, the older one counts only if it accepts more.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use formats::Unknown;
use influx::{Lines, Options, Part, Precision, ValueField};
use model::{Limits, Value};

const NOW: i64 = 946_815_194_000;

fn read(text: &str) -> Part {
    let options = Options {
        precision: Precision::Nanoseconds,
        value_field: ValueField::Suffix,
        label: None,
        multiline_strings: true,
        now_ms: NOW,
        limits: Limits::default(),
    };
    Lines::new(text.as_bytes()).read(&options, usize::MAX, &mut Unknown)
}

fn shown(part: &Part) -> Vec<String> {
    let batch = &part.parsed.batch;
    let shown = batch.points.iter().map(|point| {
        let Value::Float(value) = point.value else { return "no float".into() };
        let time = if point.timestamp == NOW { "now".to_string() } else { point.timestamp.to_string() };
        format!("{} {value} {time}", batch.labels(point.series))
    });
    shown.collect()
}

/// Lines that both decoders accept, with their samples.
const ACCEPTED: &[(&str, &[&str])] = &[
    (
        "\n   # comment\n somename,tag1=val1,tag2=val2  floatfield=1,strfield=\"hello\",intfield=-1i,uintfield=1u,boolfield=true  1602841605822791506\n",
        &[
            r#"somename_floatfield{tag1="val1",tag2="val2"} 1 1602841605822"#,
            r#"somename_intfield{tag1="val1",tag2="val2"} -1 1602841605822"#,
            r#"somename_uintfield{tag1="val1",tag2="val2"} 1 1602841605822"#,
            r#"somename_boolfield{tag1="val1",tag2="val2"} 1 1602841605822"#,
        ],
    ),
    (
        "\n   # comment\n m1,tag1=val1  x=\"first\"  1602841605822791506\n  m2,foo=bar  x=\"second\"  1602841605822792000\n\n # last comment\n",
        &[],
    ),
    (
        "comma\\,1,equals\\==e\\,x,two=val2 field\\=x=\"fir\\\"\n,st\\\\\",y=2  1602841605822791506",
        &[r#"comma_1_y{equals_="e,x",two="val2"} 2 1602841605822"#],
    ),
    ("b f=1", &["b_f 1 now"]),
    ("b f=1\n", &["b_f 1 now"]),
    ("9 f=-7 ", &["_9_f -7 now"]),
    ("# foo\r\nm x=1\r\n\r\n", &["m_x 1 now"]),
    (
        "cpu,host=serverA,region=us-west value=1.0e-4",
        &[r#"cpu_value{host="serverA",region="us-west"} 0.0001 now"#],
    ),
    // InfluxDB 1.
    ("cpu,host=serverA,region=us-east value=1i", &[r#"cpu_value{host="serverA",region="us-east"} 1 now"#]),
    ("cpu,host=serverA,region=us-east value=-1i", &[r#"cpu_value{host="serverA",region="us-east"} -1 now"#]),
    ("cpu value=.5,other=-.5", &["cpu_value 0.5 now", "cpu_other -0.5 now"]),
    ("cpu value=1.,other=-1.", &["cpu_value 1 now", "cpu_other -1 now"]),
    ("cpu value=1e4,a=1e+4,b=1E-4", &["cpu_value 10000 now", "cpu_a 10000 now", "cpu_b 0.0001 now"]),
    (
        "cpu a=t,b=T,c=true,d=True,e=TRUE",
        &["cpu_a 1 now", "cpu_b 1 now", "cpu_c 1 now", "cpu_d 1 now", "cpu_e 1 now"],
    ),
    (
        "cpu a=f,b=F,c=false,d=False,e=FALSE",
        &["cpu_a 0 now", "cpu_b 0 now", "cpu_c 0 now", "cpu_d 0 now", "cpu_e 0 now"],
    ),
    ("cpu,host=serverA value=1 -1", &[r#"cpu_value{host="serverA"} 1 -1"#]),
    ("cpu,host=serverA value=1     1000000000000000000", &[r#"cpu_value{host="serverA"} 1 1000000000000"#]),
    (
        "cpu,host=serverA      value=1 1000000000000000000   ",
        &[r#"cpu_value{host="serverA"} 1 1000000000000"#],
    ),
    (r"foo\,bar value=1i", &["foo_bar_value 1 now"]),
    (r"cpu\ main,regions=east value=1.0", &[r#"cpu_main_value{regions="east"} 1 now"#]),
    (r"cpu\,main,regions=east\,west value=1.0", &[r#"cpu_main_value{regions="east,west"} 1 now"#]),
    (r"cpu,region\ zone=east value=1.0", &[r#"cpu_value{region_zone="east"} 1 now"#]),
    (r"cpu,region\,zone=east value=1.0", &[r#"cpu_value{region_zone="east"} 1 now"#]),
    (r"cpu,regions=east\ west value=1.0", &[r#"cpu_value{regions="east west"} 1 now"#]),
    (r"cpu,tag0=foo\=bar value=1i", &[r#"cpu_value{tag0="foo=bar"} 1 now"#]),
    (r"cpu,tag0=\ foo value=1i", &[r#"cpu_value{tag0=" foo"} 1 now"#]),
    (r"cpu a\,b=1,c\ d=2,e\=f=3", &["cpu_a_b 1 now", "cpu_c_d 2 now", "cpu_e_f 3 now"]),
    (r#"cpu,regions=east value="1.0",n=1"#, &[r#"cpu_n{regions="east"} 1 now"#]),
    (r#"cpu,regions=east string="a,b=c d",n=1"#, &[r#"cpu_n{regions="east"} 1 now"#]),
    (r#"cpu,regions=east string="\"quoted\" \\ \a",n=1"#, &[r#"cpu_n{regions="east"} 1 now"#]),
    (
        "cpu,regions=east string=\"a\nb\",n=1 1000000000000000000",
        &[r#"cpu_n{regions="east"} 1 1000000000000"#],
    ),
    (r"cpu,path=C:\a\b value=1", &[r#"cpu_value{path="C:\\a\\b"} 1 now"#]),
    ("日本語,国=日本 値=1", &["_____{_=\"日本\"} 1 now"]),
];

/// Lines that are refused, with InfluxDB 1's words or the beginning of them.
const REFUSED: &[(&str, &str)] = &[
    ("cpu,host=serverA,region value=1i", "missing tag value"),
    ("m2", "missing fields"),
    ("TestBucket FieldOné=Happy,FieldTwo=sad", "invalid value"),
    ("TestBuckét, FieldOne=Happy", "missing tag key"),
    ("TestBuckét TagOné=\"Happy\" FieldOne=123.45", "bad timestamp"),
    ("m2 value=2a.0", "invalid number"),
    ("mmmé é=1e9999999999999", "invalid number"),
    ("m f=1,\u{1}=1,\u{1}=2", "a control character"),
    ("m\u{b}2=\",\"\u{b}58259079175675784\t=", "a control character"),
    ("\"\u{b}6=-0,", "a control character"),
    ("\u{0}\u{b}f=3,f=3", "a control character"),
    ("m f=\"hello\ngoodbye\nx\",gé=invalid", "invalid value"),
    ("m f=\"a\nb\",g=\"c\nd", "unbalanced quotes"),
    ("cpu", "missing fields"),
    (",t=x value=1", "missing measurement"),
    ("cpu,", "missing tag key"),
    ("cpu, value=1", "missing tag key"),
    ("cpu,,", "missing tag key"),
    ("cpu,host=serverA,=us-east value=1i", "missing tag key"),
    ("cpu,host=serverA=,region=us-east value=1i", "invalid tag format"),
    ("cpu,host=serverA", "missing fields"),
    ("cpu,host=serverA,region=us-west ", "missing fields"),
    ("cpu,host=serverA,region=us-west value=", "missing field value"),
    ("cpu,host=serverA,region=us-west value= 123i", "missing field value"),
    ("cpu,host=serverA,region=us-west value=123i,value2=", "missing field value"),
    ("cpu,host=serverA,region=us-west =123i", "missing field key"),
    ("cpu,host=serverA,region=us-west value=123i,=456i", "missing field key"),
    ("cpu,regions=east value=\"1.0", "unbalanced quotes"),
    ("cpu value=NaN", "invalid value"),
    ("cpu value=nan", "invalid value"),
    ("cpu value=-inf", "invalid number"),
    ("cpu value=1.1.1", "invalid number"),
    ("cpu value=-", "invalid number"),
    ("cpu value=9i10", "invalid number"),
    ("cpu value=1.0i", "invalid number"),
    ("cpu value=9223372036854775808i", "invalid number"),
    ("cpu value=-9223372036854775809i", "invalid number"),
    ("cpu value=-1u", "invalid number"),
    ("cpu value=18446744073709551616u", "invalid number"),
    ("cpu value=TrUe", "invalid boolean"),
    ("cpu value=yes", "invalid value"),
    ("cpu value=1 9223372036854775808", "bad timestamp"),
    ("cpu value=1 12a", "bad timestamp"),
    ("cpu value=1 1 x", "bad timestamp"),
    ("cpu a=1,b 12", "invalid field format"),
];

#[test]
fn accepted_lines_have_the_same_values() {
    for (text, wanted) in ACCEPTED {
        let part = read(text);
        assert_eq!(
            (shown(&part), &part.faults),
            (wanted.iter().map(ToString::to_string).collect(), &vec![]),
            "{text}"
        );
    }
}

#[test]
fn after_a_refused_line_the_next_line_is_read() {
    for (text, words) in REFUSED {
        let part = read(&format!("{text}\nnext x=1"));
        let said = part.faults.first().map(|fault| fault.error.to_string()).unwrap_or_default();
        assert!(said.starts_with(words), "{text:?}: {said:?}");
        assert_eq!(shown(&part).last().map(String::as_str), Some("next_x 1 now"), "{text:?}");
        assert_eq!(shown(&part).len(), 1, "{text:?}: {:?}", shown(&part));
    }
}

#[test]
fn reading_continues_after_an_error() {
    let part = read("m1 value=12.0\nm2 value=2a.0\nm3 value=32.0\nm4 value=42.0\n");
    assert_eq!(shown(&part), ["m1_value 12 now", "m3_value 32 now", "m4_value 42 now"]);
    assert_eq!(part.faults.first().unwrap().number, 2);
}
