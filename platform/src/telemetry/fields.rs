//! Selects the span fields that log lines show.
//!
//! A span may serve the log and a trace. The fields for a trace have the names of OpenTelemetry,
//! which contain dots. In the log they would repeat on every line what the line of the request says
//! once.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput as _},
    fmt::{
        FormatFields, FormattedFields,
        format::{DefaultVisitor, Writer},
    },
};

/// Formats fields for people, without those for traces.
pub(super) struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut shown = DefaultVisitor::new(writer, true);
        fields.record(&mut Undotted(&mut shown));
        shown.finish()
    }
}

/// Formats fields as JSON, without those for traces.
pub(super) struct Json;

impl<'w> FormatFields<'w> for Json {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        writer.write_str(&object(fields, Map::new()))
    }

    /// Adds fields that are recorded later to the same object.
    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let known = serde_json::from_str(&current.fields).unwrap_or_default();
        current.fields = object(fields, known);
        Ok(())
    }
}

fn object(fields: impl RecordFields, known: Map<String, Value>) -> String {
    let mut members = Members(known);
    fields.record(&mut Undotted(&mut members));
    Value::Object(members.0).to_string()
}

/// Collects fields as members of a JSON object.
struct Members(Map<String, Value>);

impl Members {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// Passes on the fields whose names contain no dot.
struct Undotted<'a, V>(&'a mut V);

impl<V: Visit> Undotted<'_, V> {
    fn pass(&mut self, field: &Field, record: impl FnOnce(&mut V)) {
        if !field.name().contains('.') {
            record(self.0);
        }
    }
}

impl<V: Visit> Visit for Undotted<'_, V> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.pass(field, |it| it.record_f64(field, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.pass(field, |it| it.record_i64(field, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.pass(field, |it| it.record_u64(field, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pass(field, |it| it.record_bool(field, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.pass(field, |it| it.record_str(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pass(field, |it| it.record_debug(field, value));
    }
}
