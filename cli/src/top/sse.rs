//! A decoder of server-sent events: bytes in, events out.
//!
//! The format is that of the HTML standard, "Interpreting an event stream". Bytes may be cut anywhere, also within a
//! character. The decoder does no I/O.

use std::time::Duration;

/// The most bytes of one event. A status is some kilobytes; a larger one is not from a gateway.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The type of the event: `message` if the stream names none.
    pub name: String,
    /// The lines of its data.
    pub data: String,
    /// The last id that the stream named, at this event or before.
    pub id: Option<String>,
}

/// An event is larger than 4 MiB.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT_BYTES} bytes")]
pub struct EventTooLarge;

/// The state between two pieces of a stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The line so far.
    line: Vec<u8>,
    /// The last byte ended a line with a carriage return, so a line feed right after it belongs to the same end.
    after_return: bool,
    is_begun: bool,
    name: String,
    data: String,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Decoder {
    /// Takes bytes, and appends the events that they complete to `events`.
    ///
    /// # Errors
    ///
    /// [`EventTooLarge`]. The decoder cannot be used after it.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), EventTooLarge> {
        for &byte in bytes {
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(EventTooLarge);
            }
        }
        Ok(())
    }

    /// Returns how long the server asks a client to wait before it connects again.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        let line = match std::mem::replace(&mut self.is_begun, true) {
            true => line,
            false => line.strip_prefix('\u{feff}').unwrap_or(line),
        };
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().map(Duration::from_millis).ok().or(self.retry),
            // A comment, or a field of a later standard.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // Without its last line feed. An event without data is none.
        data.pop()?;
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Event { name, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut events).unwrap();
        }
        events
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event { name: name.into(), data: data.into(), id: id.map(Into::into) }
    }

    #[test]
    fn an_event_has_a_name_data_and_an_id() {
        let stream = b"retry: 2000\n\nevent: status\nid: 7\ndata: {\"a\":1}\n\n";
        assert_eq!(decode(&[stream]), [event("status", "{\"a\":1}", Some("7"))]);
    }

    #[test]
    fn data_may_have_several_lines_and_a_name_may_be_missing() {
        let stream = b": comment\nid: 1\ndata: a\ndata:b\ndata\n\ndata:  c\n\n";
        let expected = [event("message", "a\nb\n", Some("1")), event("message", " c", Some("1"))];
        assert_eq!(decode(&[stream]), expected);
    }

    #[test]
    fn an_event_without_data_or_without_an_end_is_none() {
        assert_eq!(decode(&[b"event: status\nid: 3\n\nevent: status\ndata: {}\n"]), []);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere_and_end_its_lines_in_three_ways() {
        let text = "\u{feff}event: notice\r\nid: ü\r\ndata: é\r\rdata: x\n\n";
        let whole = [event("notice", "é", Some("ü")), event("message", "x", Some("ü"))];
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(decode(&[first, second]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single), whole);
    }

    #[test]
    fn the_time_to_reconnect_is_kept_unless_it_is_no_number() {
        let mut decoder = Decoder::default();
        decoder.push(b"retry: 2000\nretry: soon\n", &mut Vec::new()).unwrap();
        assert_eq!(decoder.retry(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; MAX_EVENT_BYTES / 2 + 1];
        assert_eq!(decoder.push(&piece, &mut Vec::new()), Ok(()));
        assert_eq!(decoder.push(&piece, &mut Vec::new()), Err(EventTooLarge));

        let mut decoder = Decoder::default();
        let lines = b"data: 0123456789\n".repeat(MAX_EVENT_BYTES / 10);
        assert_eq!(decoder.push(&lines, &mut Vec::new()), Err(EventTooLarge));
    }
}
