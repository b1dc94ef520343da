use super::*;
use crate::reader::SegmentReader;
use crate::record::SamplesBuilder;
use crate::{Position, RealFilesystem};

#[test]
fn committed_records_are_read_at_the_offsets_that_append_returned() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    let fs: Arc<dyn Filesystem> = Arc::new(RealFilesystem);
    let (mut writer, report) = Writer::open(fs.clone(), &dir, WriterOptions::default(), 0, None).unwrap();
    assert_eq!(report, OpenReport::default());
    let mut written = Vec::new();
    for size in [1, 3, 4000, 20_000, 2, 100_000] {
        let mut builder = SamplesBuilder::new();
        (0..size).for_each(|i| builder.push(i * 7919 % 4001, i as i64 * 3, 0, (i * i) as f64));
        let span = writer.append(builder.bytes()).unwrap();
        written.push((span, builder.bytes().to_vec()));
    }
    let end = writer.commit().unwrap();
    assert_eq!(Position::record(0, written.last().unwrap().0.end), end.position());
    let mut reader = SegmentReader::open(&*fs, &dir, 0, 0).unwrap();
    reader.set_limit(end.offset);
    let mut previous_end = 0;
    for (span, bytes) in &written {
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.start, record.end, record.bytes), (span.start, span.end, &bytes[..]));
        assert_eq!(record.start, previous_end);
        previous_end = record.end;
    }
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.damage(), []);
}
