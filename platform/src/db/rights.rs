//! Checks that the database role has all privileges that the program needs.

use anyhow::{Context as _, bail};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use super::{database::Database, transaction::begin};

/// The tables of the base, in alphabetical order. The program reads, inserts, updates and deletes
/// rows in each of them.
pub const TABLES: &[&str] = &[
    "access_cutoffs",
    "export_chunks",
    "exports",
    "github_tokens",
    "job_totals",
    "jobs",
    "login_pins",
    "oauth_audit",
    "oauth_calls",
    "oauth_clients",
    "oauth_codes",
    "oauth_grants",
    "oauth_refresh_tokens",
    "oauth_service_clients",
    "oauth_signing_keys",
    "schedule_runs",
    "users",
];

/// The history of the schema, which only `migrate` writes.
const HISTORY: &str = "seaql_migrations";

/// The privileges that the role lacks on existing tables.
const MISSING: &str = "
SELECT t.name, string_agg(r.name, ', ' ORDER BY r.position) AS rights
FROM unnest(string_to_array($1, ',')) AS t(name)
CROSS JOIN (VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE')) AS r(position, name)
WHERE to_regclass(t.name) IS NOT NULL AND (t.name <> $2 OR r.name = 'SELECT')
    AND NOT has_table_privilege(to_regclass(t.name), r.name)
GROUP BY t.name ORDER BY t.name";

/// The role, whether it is read-only and why, and the schema of the program's tables if the role
/// cannot see it.
const ROLE: &str = "
SELECT current_user::text AS role, pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'on' AS read_only,
    (SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = $1::text AND c.relkind IN ('r', 'p') AND to_regclass($1::text) IS NULL
        LIMIT 1) AS hidden_schema";

/// Checks that the connection may write, and on Postgres that its role has all privileges on those
/// of these tables that exist. The error names what is missing and the statement that grants it.
pub async fn check_rights(db: &Database, tables: &[&str]) -> anyhow::Result<()> {
    if db.get_database_backend() == DbBackend::Postgres {
        return check_role(db, tables).await;
    }
    // Takes the write lock, which fails on a file that may not be written.
    let transaction = begin(db).await.context("the file of the database cannot be written")?;
    transaction.rollback().await?;
    Ok(())
}

async fn check_role(db: &Database, tables: &[&str]) -> anyhow::Result<()> {
    let statement = |sql, values| Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let row = db.query_one_raw(statement(ROLE, vec![HISTORY.into()])).await?;
    let row = row.context("the database returned no row about the role")?;
    let role: String = row.try_get("", "role")?;
    if row.try_get("", "standby")? {
        bail!(
            "the server is a standby, which accepts no writes: DATABASE_URL must name the primary"
        );
    }
    if row.try_get("", "read_only")? {
        bail!(
            "transactions of the role `{role}` are read-only: look for \
             default_transaction_read_only in the settings of the server, the database and the \
             role, and undo it with `ALTER ROLE {} RESET default_transaction_read_only`",
            quoted(&role)
        );
    }
    let quoted_role = quoted(&role);
    if let Some(schema) = row.try_get::<Option<String>>("", "hidden_schema")? {
        bail!(
            "the tables are in the schema {schema}, which the role `{role}` cannot see: run `GRANT \
             USAGE ON SCHEMA {schema} TO {quoted_role}`, and name the schema in its search_path"
        );
    }
    let tables = format!("{},{HISTORY}", tables.join(","));
    let missing = db.query_all_raw(statement(MISSING, vec![tables.into(), HISTORY.into()])).await?;
    let mut grants: Vec<(String, Vec<String>)> = Vec::new();
    for row in missing {
        let (table, rights): (String, String) =
            (row.try_get("", "name")?, row.try_get("", "rights")?);
        match grants.iter_mut().find(|(known, _)| *known == rights) {
            Some((_, tables)) => tables.push(table),
            None => grants.push((rights, vec![table])),
        }
    }
    if grants.is_empty() {
        return Ok(());
    }
    let lacks: Vec<_> = grants
        .iter()
        .map(|(rights, tables)| format!("{rights} on {}", tables.join(", ")))
        .collect();
    let statements: Vec<_> = grants
        .iter()
        .map(|(rights, tables)| {
            format!("GRANT {rights} ON {} TO {quoted_role};", tables.join(", "))
        })
        .collect();
    bail!(
        "the role `{role}` lacks {}: run `{}` as the owner of the tables",
        lacks.join("; "),
        statements.join(" ")
    )
}

/// Quotes an identifier for SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
