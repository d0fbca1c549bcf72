//! A reader that ends with an error after too much: a path may name a device or a pipe that never ends.

use std::io::{self, ErrorKind, Read};

/// Reads up to `bytes` of another reader, in lines of up to `line` bytes. More is an error.
#[derive(Debug)]
pub(crate) struct Bounded<R> {
    reader: R,
    most: Most,
    read: u64,
    /// The number of the present line, from 1, and its bytes so far.
    line: u64,
    in_line: u64,
}

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    bytes: u64,
    line: u64,
}

impl Most {
    /// So many bytes, in lines of so many.
    pub(crate) const fn new(bytes: u64, line: u64) -> Self {
        Self { bytes, line }
    }
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(reader: R, most: Most) -> Self {
        Self { reader, most, read: 0, line: 1, in_line: 0 }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.read = self.read.saturating_add(bytes.len() as u64);
        if self.read > self.most.bytes {
            return Err(too_large(format!("it is larger than {} bytes", self.most.bytes)));
        }
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        self.add_to_line(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            self.line += 1;
            self.in_line = 0;
            self.add_to_line(piece)?;
        }
        Ok(())
    }

    fn add_to_line(&mut self, piece: &[u8]) -> io::Result<()> {
        self.in_line += piece.len() as u64;
        match self.in_line > self.most.line {
            true => Err(too_large(format!(
                "line {} is longer than {} bytes",
                self.line, self.most.line
            ))),
            false => Ok(()),
        }
    }
}

fn too_large(why: String) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, why)
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.count(into.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `text`, in pieces of `piece` bytes.
    fn read(text: &str, piece: usize, most: Most) -> Result<String, String> {
        let pieces = text
            .as_bytes()
            .chunks(piece)
            .fold(Box::new(io::empty()) as Box<dyn Read>, |before, piece| {
                Box::new(before.chain(piece))
            });
        let mut all = String::new();
        let done = Bounded::new(pieces, most).read_to_string(&mut all);
        done.map(|_| all).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_is_read_up_to_its_bounds_and_no_further() {
        let text = "12345\n1234567\n\n123";
        for piece in 1..=text.len() {
            let all = |bytes, line| read(text, piece, Most::new(bytes, line));
            assert_eq!(all(18, 7), Ok(text.to_owned()), "{piece}");
            assert_eq!(all(17, 7), Err("it is larger than 17 bytes".to_owned()), "{piece}");
            assert_eq!(all(18, 6), Err("line 2 is longer than 6 bytes".to_owned()), "{piece}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut all = Vec::new();
        let error = Bounded::new(io::repeat(b'\n'), Most::new(100, 100)).read_to_end(&mut all);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(all.len() <= 100);
    }
}
