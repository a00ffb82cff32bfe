//! Formats errors as one line of text.

use std::error::Error;

/// Joins an error and its causes, outermost first, with colons. Omits a cause whose text an outer
/// error already contains, as many libraries do.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use sea_orm::{DbErr, RuntimeErr};

    use super::*;

    #[test]
    fn a_repeated_cause_is_omitted() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Io(refused).into()));
        let error = Err::<(), _>(error).context("could not connect to the database").unwrap_err();
        assert_eq!(
            one_line(error.as_ref()),
            "could not connect to the database: Connection Error: error communicating with \
             database: connection refused"
        );
    }
}
