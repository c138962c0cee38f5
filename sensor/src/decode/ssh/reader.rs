//! The data types of RFC 4251, section 5, read from bytes that anybody may have sent.

use crate::event::ssh::MalformedWhat;

/// What is left of a message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// The bytes were cut: a string may end early.
    cut: bool,
}

pub(super) type Result<T> = std::result::Result<T, MalformedWhat>;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], cut: bool) -> Self {
        Self { rest: bytes, cut }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(MalformedWhat::Length)?;
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(MalformedWhat::Length)?;
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Any value that is not 0 is true.
    pub(super) fn boolean(&mut self) -> Result<bool> {
        self.u8().map(|byte| byte != 0)
    }

    /// A string; if the bytes were cut and it is the one that was, what there is of it.
    pub(super) fn string(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        if self.cut && len > self.rest.len() {
            return Ok(std::mem::take(&mut self.rest));
        }
        self.take(len)
    }

    /// A string that must be whole: a key of which the end is missing is another key.
    pub(super) fn whole_string(&mut self) -> Result<Option<&'a [u8]>> {
        let len = self.u32()? as usize;
        if self.cut && len > self.rest.len() {
            self.rest = &[];
            return Ok(None);
        }
        self.take(len).map(Some)
    }
}
