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
    #[schema(value_type = String, pattern = "^(host|admin|member)$")]
    role: MemberRole,
    #[schema(value_type = String, pattern = "^(online|suspended|gone)$")]
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
