//! What a person allowed one installation of a client: the family of tokens that came from one code.

use sea_orm::{QueryOrder as _, entity::prelude::*};

use crate::{ClientId, Digest, GrantId};

/// A row of `oauth_grants`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_grants")]
pub struct Model {
    /// Made by the service, not by the database.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: GrantId,
    /// The `sub` of the person who agreed.
    #[sea_orm(column_type = "Text")]
    pub user_sub: String,
    /// The client.
    pub client_id: ClientId,
    /// Where the code was sent.
    #[sea_orm(column_type = "Text")]
    pub redirect_uri: String,
    /// What the person agreed to, separated by spaces.
    #[sea_orm(column_type = "Text")]
    pub scope: String,
    /// The resource that the tokens are for.
    #[sea_orm(column_type = "Text")]
    pub resource: String,
    /// The hash of the code that it came from. Unique, so that one code makes one grant.
    pub code_hash: Digest,
    /// The challenge of that code: tells whether somebody who presents it again has the verifier.
    pub code_challenge: Vec<u8>,
    /// When the person signed in.
    pub auth_time: DateTimeUtc,
    /// When the code was redeemed.
    pub created_at: DateTimeUtc,
    /// When a token was last issued from it.
    pub last_used_at: DateTimeUtc,
    /// From when on it is worth nothing. Moves with every use until it cannot any more, and to the
    /// present when it is revoked.
    pub ends_at: DateTimeUtc,
    /// The generation of the newest refresh token; 0 if it has none.
    pub generation: i32,
    /// When a lost refresh token was last replaced.
    pub recovered_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// Why it was revoked, in one word.
    #[sea_orm(column_type = "Text", nullable)]
    pub revoked_reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The grants of one person, newest first.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.user_sub.eq(owner)).order_by_desc(COLUMN.created_at)
    }

    /// A change of all grants of one person.
    pub fn update_owned_by(owner: &str) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.user_sub.eq(owner))
    }

    /// A change of one grant, if it is this person's.
    pub fn update_owned(owner: &str, id: GrantId) -> sea_orm::UpdateMany<Self> {
        Self::update_owned_by(owner).filter(COLUMN.id.eq(id))
    }

    /// The grant that came from a code, if it was this client's.
    pub fn from_code(client: &ClientId, code: &Digest) -> Select<Self> {
        Self::find()
            .filter(COLUMN.code_hash.eq(code.clone()))
            .filter(COLUMN.client_id.eq(client.clone()))
    }
}
