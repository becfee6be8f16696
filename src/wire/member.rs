//! Who is in a room.

use super::rfc3339;
use crate::room::{Member, MemberRole, Moment, Presence};
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody who is in the room.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub struct MemberOut {
    user: String,
    name: Option<String>,
    avatar_url: Option<String>,
    /// The higher of the token's role and what the room granted.
    #[schema(value_type = MemberRoleName)]
    role: MemberRole,
    #[schema(value_type = PresenceName)]
    presence: Presence,
    #[schema(format = DateTime)]
    joined_at: String,
    /// Absent: in the audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat: Option<u8>,
}

impl MemberOut {
    pub fn new(member: &Member, moment: Moment) -> Self {
        let person = &member.person;
        MemberOut {
            user: person.user.as_str().to_owned(),
            name: person.name.clone(),
            avatar_url: person.avatar_url.clone(),
            role: member.role,
            presence: member.presence,
            joined_at: rfc3339(moment.at(member.joined_at)),
            seat: member.seat.map(|seat| seat.0),
        }
    }
}

/// Who is in the room, in order of user id.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members {
    pub version: u64,
    pub members: Vec<MemberOut>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Somebody whose role was set.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoleSet {
    pub version: u64,
    /// Absent while they are not in the room: the grant holds for when they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberOut>,
}

/// What somebody is in a room.
#[derive(ToSchema)]
#[schema(as = MemberRole, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum MemberRoleName {
    Host,
    Admin,
    Member,
}

/// Whether somebody's event stream is open.
#[derive(ToSchema)]
#[schema(as = Presence, rename_all = "snake_case")]
#[allow(dead_code, reason = "describes another type")]
pub enum PresenceName {
    Online,
    /// The stream was lost a moment ago.
    Suspended,
    /// The stream is lost for good; listed only while the person is seated.
    Gone,
}
