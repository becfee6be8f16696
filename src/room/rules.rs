//! Who may do what: the permission matrix, in one place.

use super::{Code, Policies, Principal, Refusal, Role, Settings, UserId};

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
    /// What admins may do.
    ChangeAdminPolicy,
    Assign,
    Seat {
        oneself: bool,
        free_mode: bool,
    },
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
}

pub(super) fn standing(by: &Principal, host: &UserId) -> Standing {
    match by.role {
        Role::Service => Standing::Service,
        _ if by.person.user == *host => Standing::Host,
        // `role: host` under another name is an admin.
        Role::Host | Role::Admin => Standing::Admin,
        Role::Member => Standing::Member,
    }
}

pub(super) fn permitted(standing: Standing, action: Action, policies: &Policies) -> bool {
    use Standing::{Admin, Host, Member, Service};
    match action {
        Action::End | Action::ChangeAdminPolicy => matches!(standing, Host | Service),
        Action::ChangeSettings => match standing {
            Host | Service => true,
            Admin => policies.admin_may.iter().any(|what| what == "settings"),
            Member => false,
        },
        Action::Assign => standing == Service,
        Action::Seat { oneself, free_mode } => standing > Member || (oneself && free_mode),
        Action::Leave => true,
        Action::Kick { admin } => standing > Admin || (standing == Admin && !admin),
        Action::Lock => standing > Member,
        Action::LockDevice => standing > Member,
        Action::Mute { oneself } => oneself || standing > Member,
        Action::Unmute { oneself, empty } => oneself || (empty && standing > Member),
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
