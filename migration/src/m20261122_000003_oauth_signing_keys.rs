//! Creates the table of the keys that sign access tokens.
//!
//! Instances that start together on an empty table each create a key. The unique index accepts one
//! of them, and the other instances use it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("oauth_signing_keys")
                    .col(ColumnDef::new("kid").text().not_null().primary_key())
                    .col(ColumnDef::new("alg").text().not_null())
                    .col(ColumnDef::new("public_jwk").json_binary().not_null())
                    .col(ColumnDef::new("private_sealed").blob())
                    .col(ColumnDef::new("kek_id").text().not_null())
                    .col(ColumnDef::new("state").text().not_null())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("activate_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("retire_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("wiped_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("last_signed_at").timestamp_with_time_zone())
                    .take(),
            )
            .await?;
        // Partial indexes have the same syntax on both databases, but the builder does not support them.
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE UNIQUE INDEX oauth_signing_keys_one_active \
                 ON oauth_signing_keys (kek_id) WHERE state = 'active'",
            )
            .await
            .map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("oauth_signing_keys").take()).await
    }
}
