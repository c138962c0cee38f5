//! Ring records, one after the other, as a broken or hostile kernel half would send them.
//!
//! Half of them have a right head and wrong contents; their ids are few, so pieces of an argv meet their exec, come
//! twice, out of order or for another. Asserted: what is decoded survives a recording, and argv stays within its bound.

use std::mem::{offset_of, size_of};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sensor::{
    decode::{Decoder, recording},
    event::stream::{Event, EventKind},
};
use sensor_common::{
    self as abi, Args, Connect, Exec, Exit, Fork, Head, Task, TcpState, VERSION, kind,
    ssh::{self, ConnectionOwner, LargeClear, LargePacket, SmallClear, SmallPacket},
};

/// A secret of one byte becomes `[REDACTED]`.
const ARGS_GROWTH: usize = 10;

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut decoder = Decoder::default();
    while !input.is_empty() {
        let Ok(record) = record(&mut input) else { return };
        let mut events = Vec::new();
        let _ = decoder.decode(&record, &mut events);
        for event in events {
            check(&event);
        }
    }
}

fn record(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.ratio(1, 8)? {
        let len = input.int_in_range(0..=300)?;
        return Ok(input.bytes(len.min(input.len()))?.to_vec());
    }
    let (kind, size) = *input.choose(&[
        (kind::EXEC, size_of::<Exec>()),
        (kind::ARGS, size_of::<Args>()),
        (kind::FORK, size_of::<Fork>()),
        (kind::EXIT, size_of::<Exit>()),
        (kind::CONNECT, size_of::<Connect>()),
        (kind::TCP_STATE, size_of::<TcpState>()),
        (ssh::kind::PACKET, size_of::<SmallPacket>()),
        (ssh::kind::PACKET, size_of::<LargePacket>()),
        (ssh::kind::CLEAR, size_of::<SmallClear>()),
        (ssh::kind::CLEAR, size_of::<LargeClear>()),
        (ssh::kind::BOUND, size_of::<ConnectionOwner>()),
        (10, 64),
    ])?;
    let filler = input.arbitrary()?;
    let mut record = vec![filler; size];
    let len = input.int_in_range(0..=size.min(400))?.min(input.len());
    let at = input.int_in_range(0..=size - len)?;
    put(&mut record, at, input.bytes(len)?);
    put(&mut record, offset_of!(Head, kind), &kind.to_ne_bytes());
    put(&mut record, offset_of!(Head, version), &VERSION.to_ne_bytes());
    put(&mut record, offset_of!(Head, size), &(size as u32).to_ne_bytes());
    put(&mut record, offset_of!(Head, time), &time(input)?);
    match kind {
        kind::EXEC => {
            put(&mut record, offset_of!(Exec, task) + offset_of!(Task, tgid), &tgid(input)?);
            put(&mut record, offset_of!(Exec, args_total), &length(input, abi::ARGS_MAX)?);
            put(&mut record, offset_of!(Exec, args_copied), &length(input, abi::ARGS_INLINE as u32)?);
            put(&mut record, offset_of!(Exec, exe_bytes), &length(input, abi::PATHS_MAX as u32)?);
            put(&mut record, offset_of!(Exec, cwd_bytes), &length(input, abi::NAME_MAX as u32)?);
        }
        kind::ARGS => {
            put(&mut record, offset_of!(Args, tgid), &tgid(input)?);
            put(&mut record, offset_of!(Args, exec_time), &time(input)?);
            let offset = input.int_in_range(0..=9u32)? * abi::ARGS_CHUNK as u32;
            put(&mut record, offset_of!(Args, offset), &offset.to_ne_bytes());
            put(&mut record, offset_of!(Args, len), &length(input, abi::ARGS_CHUNK as u32)?);
        }
        _ => {}
    }
    if input.ratio(1, 16)? {
        record.truncate(input.int_in_range(0..=size)?);
    }
    Ok(record)
}

pub(crate) fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in record.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

pub(crate) fn tgid(input: &mut Unstructured<'_>) -> Result<[u8; 4]> {
    Ok(input.int_in_range(0..=2u32)?.to_ne_bytes())
}

pub(crate) fn time(input: &mut Unstructured<'_>) -> Result<[u8; 8]> {
    let time: u64 = if input.ratio(1, 16)? { input.arbitrary()? } else { input.int_in_range(0..=3)? };
    Ok(time.to_ne_bytes())
}

/// At a limit, beside it, below it, or anything.
pub(crate) fn length(input: &mut Unstructured<'_>, limit: u32) -> Result<[u8; 4]> {
    let length = match input.int_in_range(0..=7u8)? {
        0 => limit,
        1 => limit + 1,
        2 => input.arbitrary()?,
        3 => 0,
        _ => input.int_in_range(0..=limit)?,
    };
    Ok(length.to_ne_bytes())
}

pub(crate) fn check(event: &Event) {
    if let EventKind::Exec(exec) = &event.what {
        let bytes: usize = exec.args.list.iter().map(|arg| arg.len()).sum();
        assert!(bytes <= abi::ARGS_MAX as usize * ARGS_GROWTH, "argv of {bytes} bytes");
    }
    let mut file = Vec::new();
    let written = recording::Writer::new(&mut file).and_then(|mut writer| writer.write(event));
    assert!(written.is_ok(), "not recorded: {event:?}");
    let back = recording::Reader::new(&file[..]).map(|mut reader| reader.next());
    assert!(matches!(&back, Ok(Some(Ok(back))) if back == event), "{event:?} came back as {back:?}");
}
