//! An incremental parser of `text/event-stream`.

/// One server-sent event, as the WHATWG describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawEvent {
    /// The `id` field of this event; a browser would also keep the last one.
    pub id: Option<String>,
    /// The `event` field.
    pub event: Option<String>,
    /// The `retry` field, in milliseconds.
    pub retry: Option<u64>,
    /// The `data` lines, joined. Absent if there was no `data` field, empty if it was empty.
    pub data: Option<String>,
}

/// Turns bytes into events. Comments are dropped; an event ends with an empty line.
#[derive(Debug, Default)]
pub struct Parser {
    unread: Vec<u8>,
    event: RawEvent,
}

impl Parser {
    /// Parses the next bytes and returns the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<RawEvent> {
        self.unread.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8(line).expect("event streams are UTF-8");
            let line = line.trim_end_matches('\n').trim_end_matches('\r');
            if !line.is_empty() {
                self.field(line);
            } else if self.event != RawEvent::default() {
                events.push(std::mem::take(&mut self.event));
            }
        }
        events
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.event = Some(value.to_owned()),
            "retry" => self.event.retry = Some(value.parse().expect("retry is a number")),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // A comment, or an unknown field.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_arrive_in_any_pieces() {
        let wire = b": hello\n\nid: a.1\ndata:\n\nretry: 500\nid: a.2\nevent: message\n\
                     data: {\"x\":\ndata: 1}\r\n\r\n:\n\n";
        let expected = [
            RawEvent {
                id: Some("a.1".to_owned()),
                data: Some(String::new()),
                ..RawEvent::default()
            },
            RawEvent {
                id: Some("a.2".to_owned()),
                event: Some("message".to_owned()),
                retry: Some(500),
                data: Some("{\"x\":\n1}".to_owned()),
            },
        ];
        assert_eq!(Parser::default().push(wire), expected);
        for size in 1..wire.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = wire.chunks(size).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }
}
