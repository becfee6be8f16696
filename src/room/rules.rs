//! Who may do what: the permission matrix, in one place.

use super::{Code, MemberRole, Policies, Principal, Refusal, Role, Settings, UserId};

/// What somebody is in one room: the higher of the token's role and what the room says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Member,
    Admin,
    Host,
    Service,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    End,
    ChangeSettings,
    /// What the program shows, and how loud.
    ChangeLayout,
    /// What admins may do.
    ChangeAdminPolicy,
    Assign,
    Seat {
        oneself: bool,
        free_mode: bool,
    },
    Apply {
        oneself: bool,
    },
    CancelApplication {
        oneself: bool,
    },
    /// Accept or reject it.
    AnswerApplication,
    Invite,
    CancelInvitation {
        /// One has made it.
        own: bool,
    },
    /// One's own: nobody is asked about another's.
    AnswerInvitation,
    Leave,
    Kick {
        admin: bool,
    },
    Lock,
    /// Lock or unlock microphone or camera.
    LockDevice,
    Mute {
        oneself: bool,
    },
    /// `empty`: nobody sits there whose device it would open.
    Unmute {
        oneself: bool,
        empty: bool,
    },
    /// Ask for a device to be switched on.
    Ask,
    /// `admin`: who is moved is one.
    Move {
        oneself: bool,
        admin: bool,
    },
    /// From the room, or ban. `role`: of whom.
    Remove {
        role: MemberRole,
    },
    /// Make somebody an admin, or withdraw that.
    Grant,
}

/// `granted`: the room has made them an admin.
pub(super) fn standing(by: &Principal, host: &UserId, granted: bool) -> Standing {
    match by.role {
        Role::Service => Standing::Service,
        _ if by.person.user == *host => Standing::Host,
        // `role: host` under another name is an admin.
        Role::Host | Role::Admin => Standing::Admin,
        Role::Member if granted => Standing::Admin,
        Role::Member => Standing::Member,
    }
}

pub(super) fn permitted(standing: Standing, action: Action, policies: &Policies) -> bool {
    use Standing::{Admin, Host, Member, Service};
    match action {
        Action::End | Action::ChangeAdminPolicy => matches!(standing, Host | Service),
        Action::ChangeSettings => by_policy(standing, "settings", policies),
        Action::ChangeLayout => by_policy(standing, "layout", policies),
        Action::Assign => standing == Service,
        Action::Seat { oneself, free_mode } => standing > Member || (oneself && free_mode),
        Action::Apply { oneself } | Action::CancelApplication { oneself } => oneself || standing == Service,
        Action::AnswerApplication | Action::Invite => standing > Member,
        Action::CancelInvitation { own } => standing > Admin || (standing == Admin && own),
        Action::AnswerInvitation => standing != Service,
        Action::Leave => true,
        Action::Kick { admin } => standing > Admin || (standing == Admin && !admin),
        Action::Lock => standing > Member,
        Action::LockDevice => standing > Member,
        Action::Mute { oneself } => oneself || standing > Member,
        Action::Unmute { oneself, empty } => oneself || (empty && standing > Member),
        Action::Ask => standing > Member,
        Action::Move { oneself, admin } => match standing {
            Host | Service => true,
            Admin => oneself || !admin,
            Member => oneself && policies.self_move,
        },
        Action::Remove { role } => standing > Admin || (standing == Admin && role == MemberRole::Member),
        Action::Grant => matches!(standing, Host | Service),
    }
}

/// Of the host and services, and of admins if the room's policy lets them.
fn by_policy(standing: Standing, what: &str, policies: &Policies) -> bool {
    match standing {
        Standing::Host | Standing::Service => true,
        Standing::Admin => policies.admin_may.iter().any(|may| may == what),
        Standing::Member => false,
    }
}

/// A service key creates any room; a host's token (which is for this room) one whose host is its own user.
pub fn may_create(by: &Principal, settings: &Settings) -> Result<(), Refusal> {
    match by.role {
        Role::Service => Ok(()),
        Role::Host if by.person.user == settings.host.user => Ok(()),
        Role::Host | Role::Admin | Role::Member => Err(Refusal::new(
            Code::PermissionDenied,
            "a room is created by a service key, or by its own host with a token of role host",
        )),
    }
}
