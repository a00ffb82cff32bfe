//! A parser of `text/event-stream`, for chunks that begin and end with a line.

/// A server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) id: Option<&'a str>,
    /// The data, which is one line. Empty if it was empty.
    pub(super) data: Option<&'a str>,
}

/// Parses the events of a chunk. Comments and other fields are dropped.
pub(super) fn events(chunk: &str) -> impl Iterator<Item = Event<'_>> {
    chunk.split("\n\n").filter_map(|block| {
        let mut event = Event::default();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => event.id = Some(value),
                "data" => event.data = Some(value),
                _ => {}
            }
        }
        (event != Event::default()).then_some(event)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parsed_and_comments_dropped() {
        let chunk = ": keep-alive\nid: a.0\nretry: 500\ndata: \n\nid: a.1\ndata: {\"x\":1}\n\n";
        let parsed: Vec<_> = events(chunk).collect();
        let priming = Event { id: Some("a.0"), data: Some("") };
        assert_eq!(parsed, [priming, Event { id: Some("a.1"), data: Some("{\"x\":1}") }]);
        assert_eq!(events(": keep-alive\n").count(), 0);
    }
}
