//! Who is in a room: list them, grant admin, remove, leave.
//!
//! Decided where the contract is silent: the `ban_ms` and `reason` of a removal may stand in a JSON body or in the query,
//! since not every client can send a DELETE with a body; a field in both is refused. Nobody bans themselves.

use super::State;
use super::error::Problem;
use super::openapi::{JsonErrors, ReadErrors};
use super::page::Page;
use super::request::{InRoom, Json, JsonOrNothing, Last, Query};
use super::requests::confided;
use crate::room::{Command, Member, MemberRole, Moment, Presence, Refusal, UserId};
use crate::wire::{MemberOut, MemberRoleName, Members, PresenceName, RoleSet, Seats, reason};
use axum::extract::State as Extract;
use serde::Deserialize;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only these.
    #[param(value_type = Option<MemberRoleName>)]
    role: Option<MemberRole>,
    /// Only these.
    #[param(value_type = Option<PresenceName>)]
    presence: Option<Presence>,
    /// Only those on a seat, or only the audience.
    seated: Option<bool>,
    /// 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Filter {
    fn lets_pass(&self, member: &Member) -> bool {
        let role = self.role.is_none_or(|role| member.role == role);
        let presence = self.presence.is_none_or(|presence| member.presence == presence);
        let seated = self.seated.is_none_or(|seated| member.seat.is_some() == seated);
        role && presence && seated
    }
}

/// Who is in the room, in order of user id.
#[utoipa::path(get, path = "/v1/rooms/{room}/members", tag = "members", operation_id = "list_members",
    params(("room" = String, Path), Filter), responses((status = 200, body = Members), ReadErrors))]
pub(super) async fn list(
    Extract(state): Extract<State>,
    at: InRoom,
    Query(mut filter): Query<Filter>,
) -> Result<axum::Json<Members>, Problem> {
    let page = Page {
        limit: filter.limit,
        cursor: filter.cursor.take(),
    };
    let snapshot = confided(&state, &at).await?;
    let after = page.after(UserId::parse)?;
    let members = state.node.members(&at.room, &at.caller.principal).await?;
    let behind = members
        .iter()
        .filter(|member| after.as_ref().is_none_or(|after| member.person.user > *after))
        .filter(|member| filter.lets_pass(member));
    let (members, next_cursor) = page.cut(behind, |member| member.person.user.as_str().to_owned())?;
    let moment = Moment::of(&snapshot);
    Ok(axum::Json(Members {
        version: snapshot.version,
        members: members.iter().map(|member| MemberOut::new(member, moment)).collect(),
        next_cursor,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetRole {
    /// `admin` grants, `member` withdraws. Whoever comes with an admin's token stays one.
    #[schema(value_type = MemberRoleName)]
    role: MemberRole,
}

/// Grant or withdraw admin.
#[utoipa::path(patch, path = "/v1/rooms/{room}/members/{user}", tag = "members", operation_id = "set_role", request_body = SetRole,
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded"),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = RoleSet), JsonErrors))]
pub(super) async fn set_role(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    Json(body): Json<SetRole>,
) -> Result<axum::Json<RoleSet>, Problem> {
    let user = at.user(&user)?;
    let command = Command::GrantRole {
        user: user.clone(),
        role: body.role,
    };
    let by = &at.caller.principal;
    let snapshot = state.node.command(&at.room, by, command).await?.snapshot;
    let members = state.node.members(&at.room, by).await?;
    let member = members.iter().find(|member| member.person.user == user);
    Ok(axum::Json(RoleSet {
        version: snapshot.version,
        member: member.map(|member| MemberOut::new(member, Moment::of(&snapshot))),
    }))
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Remove {
    /// How long they may not come back; 0 lifts an earlier ban, absent leaves it.
    ban_ms: Option<u64>,
    /// Told to whoever is removed; at most 256 bytes.
    #[schema(max_length = 256)]
    reason: Option<String>,
}

impl Remove {
    /// What body and query say together.
    fn and(self, query: Remove) -> Result<Remove, Refusal> {
        let twice = |field| Refusal::invalid(field, "it stands in the body and in the query");
        if self.ban_ms.is_some() && query.ban_ms.is_some() {
            return Err(twice("ban_ms"));
        }
        if self.reason.is_some() && query.reason.is_some() {
            return Err(twice("reason"));
        }
        Ok(Remove {
            ban_ms: self.ban_ms.or(query.ban_ms),
            reason: self.reason.or(query.reason),
        })
    }
}

/// Remove somebody from the room, or leave it oneself. Either frees the seat.
#[utoipa::path(delete, path = "/v1/rooms/{room}/members/{user}", tag = "members", operation_id = "remove_member",
    request_body = Option<Remove>,
    params(("room" = String, Path), ("user" = String, Path, description = "Percent-encoded; `me`: oneself"), Remove,
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Seats), JsonErrors))]
pub(super) async fn remove(
    Extract(state): Extract<State>,
    at: InRoom,
    Last(user): Last,
    Query(query): Query<Remove>,
    JsonOrNothing(body): JsonOrNothing<Remove>,
) -> Result<axum::Json<Seats>, Problem> {
    let remove = body.and(query)?;
    let user = at.user(&user)?;
    if remove.ban_ms.is_some() && user == *at.caller.user() && !at.caller.is_service() {
        return Err(Refusal::invalid("ban_ms", "nobody bans themselves").into());
    }
    let command = Command::RemoveMember {
        user,
        ban: remove.ban_ms.map(Duration::from_millis),
        reason: reason(remove.reason)?,
    };
    let commanded = state.node.command(&at.room, &at.caller.principal, command).await?;
    Ok(axum::Json(Seats::from(&commanded.snapshot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_read_from_body_and_query() {
        let said = |ban_ms: Option<u64>, reason: Option<&str>| Remove {
            ban_ms,
            reason: reason.map(str::to_owned),
        };
        let both = said(Some(5), None).and(said(None, Some("spam"))).expect("no clash");
        assert_eq!((both.ban_ms, both.reason.as_deref()), (Some(5), Some("spam")));
        let field = |a: Remove, b: Remove| a.and(b).expect_err("a clash").field;
        assert_eq!(
            field(said(Some(5), None), said(Some(5), None)).as_deref(),
            Some("ban_ms")
        );
        assert_eq!(
            field(said(None, Some("a")), said(None, Some("b"))).as_deref(),
            Some("reason")
        );
    }
}
