//! The table of bookmarks, and its statements. Each statement filters by owner.

use chrono::{DateTime, Utc};
use mcp::{ToolError, UserId};
use platform::db::Failure;
use schemars::JsonSchema;
use sea_orm::{
    Condition, ConnectionTrait, DbErr, ExprTrait as _, FromJsonQueryResult, QueryOrder as _,
    QuerySelect as _, Set,
    entity::prelude::*,
    sea_query::{Expr, Func, LikeExpr, OnConflict},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A row of `bookmarks`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bookmarks")]
pub struct Model {
    /// The id: a UUID of version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The `sub` of its owner.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// The address, in normalized form.
    #[sea_orm(column_type = "Text")]
    pub url: String,
    /// The title.
    #[sea_orm(column_type = "Text")]
    pub title: String,
    /// The tags.
    #[sea_orm(column_type = "JsonBinary")]
    pub tags: TagList,
    /// When it was added.
    pub created_at: DateTimeUtc,
    /// When the link was last checked.
    pub checked_at: Option<DateTimeUtc>,
    /// Why the link was dead then.
    #[sea_orm(column_type = "Text", nullable)]
    pub problem: Option<String>,
}

/// A JSON array of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct TagList(pub Vec<String>);

impl ActiveModelBehavior for ActiveModel {}

/// A bookmark, as tools return it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Bookmark {
    /// The id of the bookmark.
    pub(crate) id: Uuid,
    /// The address.
    pub(crate) url: String,
    /// The title.
    pub(crate) title: String,
    /// The tags.
    pub(crate) tags: Vec<String>,
    /// When it was added.
    pub(crate) created_at: DateTime<Utc>,
    /// Why the link was dead when it was last checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

impl From<Model> for Bookmark {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            url: row.url,
            title: row.title,
            tags: row.tags.0,
            created_at: row.created_at,
            problem: row.problem,
        }
    }
}

/// Adds a bookmark, or replaces title and tags of the one with the same address.
pub(crate) async fn add(
    db: &impl ConnectionTrait,
    owner: &UserId,
    now: DateTime<Utc>,
    url: Url,
    title: String,
    tags: Vec<String>,
) -> Result<Bookmark, DbErr> {
    let row = ActiveModel {
        id: Set(Uuid::now_v7()),
        owner_sub: Set(owner.as_str().to_owned()),
        url: Set(url.0),
        title: Set(title),
        tags: Set(TagList(tags)),
        created_at: Set(now),
        checked_at: Set(None),
        problem: Set(None),
    };
    let replace = OnConflict::columns([Column::OwnerSub, Column::Url])
        .update_columns([Column::Title, Column::Tags])
        .to_owned();
    let row = Entity::insert(row).on_conflict(replace).exec_with_returning(db).await?;
    Ok(row.into())
}

/// An address in normalized form.
#[derive(Clone, Debug)]
pub(crate) struct Url(String);

impl Url {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses an http or https address without credentials.
    pub(crate) fn parse(text: &str) -> Result<Self, ToolError> {
        let url = url::Url::parse(text.trim()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        match url {
            Some(url) => Ok(Self(url.into())),
            None => Err(ToolError::Input(
                "`url` has to be an http or https address without a user name, such as \
                 https://example.com/page."
                    .into(),
            )),
        }
    }
}

/// The newest bookmarks, of a tag if one is given.
pub(crate) async fn list(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&str>,
    limit: u64,
) -> Result<Vec<Bookmark>, DbErr> {
    let mut select = owned_by(owner).limit(limit);
    if let Some(tag) = tag {
        // Both databases write a JSON array as text in the same way.
        let element = serde_json::Value::from(tag).to_string();
        select = select.filter(Expr::col(Column::Tags).cast_as("text").like(containing(&element)));
    }
    let rows = select.all(db).await?;
    Ok(rows.into_iter().map(Bookmark::from).collect())
}

/// The newest bookmarks whose title or address contains all words.
pub(crate) async fn search(
    db: &impl ConnectionTrait,
    owner: &UserId,
    words: &str,
    limit: u64,
) -> Result<Vec<Bookmark>, DbErr> {
    let lower = |column| Expr::expr(Func::lower(Expr::col(column)));
    let mut every = Condition::all();
    for word in words.split_whitespace() {
        let like = containing(&word.to_lowercase());
        let either = Condition::any()
            .add(lower(Column::Title).like(like.clone()))
            .add(lower(Column::Url).like(like));
        every = every.add(either);
    }
    let rows = owned_by(owner).filter(every).limit(limit).all(db).await?;
    Ok(rows.into_iter().map(Bookmark::from).collect())
}

/// A pattern for texts that contain this one.
fn containing(text: &str) -> LikeExpr {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    LikeExpr::new(format!("%{escaped}%")).escape('\\')
}

/// Deletes a bookmark. `Ok(None)`: there is no such bookmark.
pub(crate) async fn delete(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: Uuid,
) -> Result<Option<Bookmark>, DbErr> {
    let Some(row) = owned_by(owner).filter(Column::Id.eq(id)).one(db).await? else {
        return Ok(None);
    };
    Entity::delete_many()
        .filter(Column::OwnerSub.eq(owner.as_str()))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(Some(row.into()))
}

/// All bookmarks of a user in the order of their ids, after this one.
pub(crate) async fn after(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut select = Entity::find().filter(Column::OwnerSub.eq(owner.as_str()));
    if let Some(id) = id {
        select = select.filter(Column::Id.gt(id));
    }
    select.order_by_asc(Column::Id).limit(limit).all(db).await
}

/// The number of a user's bookmarks.
pub(crate) async fn count(db: &impl ConnectionTrait, owner: &UserId) -> Result<u64, DbErr> {
    use sea_orm::PaginatorTrait as _;
    Entity::find().filter(Column::OwnerSub.eq(owner.as_str())).count(db).await
}

/// Stores the result of a check.
pub(crate) async fn checked(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: Uuid,
    now: DateTime<Utc>,
    problem: Option<String>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::CheckedAt, Expr::value(Some(now)))
        .col_expr(Column::Problem, Expr::value(problem))
        .filter(Column::OwnerSub.eq(owner.as_str()))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes all bookmarks of a user, and returns their number.
pub(crate) async fn delete_all(db: &impl ConnectionTrait, owner: &UserId) -> Result<u64, Failure> {
    let is_owner = Column::OwnerSub.eq(owner.as_str());
    Ok(Entity::delete_many().filter(is_owner).exec(db).await?.rows_affected)
}

fn owned_by(owner: &UserId) -> Select<Entity> {
    Entity::find()
        .filter(Column::OwnerSub.eq(owner.as_str()))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
}
