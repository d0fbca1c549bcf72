//! A reader that fails once its input is too large, since a path may name a device or a pipe that never ends.

use std::io::{self, ErrorKind, Read};

/// A reader that fails after `limit.bytes` bytes, or in a line of more than `limit.line_bytes` bytes.
#[derive(Debug)]
pub(crate) struct BoundedReader<R> {
    reader: R,
    limit: ReadLimit,
    bytes_read: u64,
    /// The number of the present line, from 1, and its length so far.
    line_number: u64,
    line_length: u64,
}

/// The maximum size of an input and of its lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimit {
    bytes: u64,
    line_bytes: u64,
}

impl ReadLimit {
    /// Allows this many bytes, in lines of at most this many.
    pub(crate) const fn new(bytes: u64, line_bytes: u64) -> Self {
        Self { bytes, line_bytes }
    }
}

impl<R: Read> BoundedReader<R> {
    pub(crate) fn new(reader: R, limit: ReadLimit) -> Self {
        Self { reader, limit, bytes_read: 0, line_number: 1, line_length: 0 }
    }

    fn check_limit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes_read = self.bytes_read.saturating_add(bytes.len() as u64);
        if self.bytes_read > self.limit.bytes {
            return Err(too_large(format!("it is larger than {} bytes", self.limit.bytes)));
        }
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        self.add_to_line(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            self.line_number += 1;
            self.line_length = 0;
            self.add_to_line(piece)?;
        }
        Ok(())
    }

    fn add_to_line(&mut self, piece: &[u8]) -> io::Result<()> {
        self.line_length += piece.len() as u64;
        match self.line_length > self.limit.line_bytes {
            true => Err(too_large(format!(
                "line {} is longer than {} bytes",
                self.line_number, self.limit.line_bytes
            ))),
            false => Ok(()),
        }
    }
}

fn too_large(reason: String) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, reason)
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.check_limit(into.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is read of `text`, if it comes in pieces of `piece` bytes.
    fn read(text: &str, piece: usize, limit: ReadLimit) -> Result<String, String> {
        let pieces = text
            .as_bytes()
            .chunks(piece)
            .fold(Box::new(io::empty()) as Box<dyn Read>, |before, piece| {
                Box::new(before.chain(piece))
            });
        let mut all = String::new();
        let done = BoundedReader::new(pieces, limit).read_to_string(&mut all);
        done.map(|_| all).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_is_read_up_to_its_bounds_and_no_further() {
        let text = "12345\n1234567\n\n123";
        for piece in 1..=text.len() {
            let all = |bytes, line_bytes| read(text, piece, ReadLimit::new(bytes, line_bytes));
            assert_eq!(all(18, 7), Ok(text.to_owned()), "{piece}");
            assert_eq!(all(17, 7), Err("it is larger than 17 bytes".to_owned()), "{piece}");
            assert_eq!(all(18, 6), Err("line 2 is longer than 6 bytes".to_owned()), "{piece}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut all = Vec::new();
        let error =
            BoundedReader::new(io::repeat(b'\n'), ReadLimit::new(100, 100)).read_to_end(&mut all);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(all.len() <= 100);
    }
}
