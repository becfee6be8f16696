//! How many watch a room without being members of it. Pure, and each change costs the same however large the crowd.
//!
//! Viewers without a user count one each, a user's viewers together one, a member's none: they are counted as members.

use crate::room::UserId;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub(super) struct Audience {
    anonymous: usize,
    /// How many viewers each user has.
    users: HashMap<UserId, usize>,
    members: HashSet<UserId>,
    /// Of `users`, those who are not in `members`.
    strangers: usize,
}

impl Audience {
    pub fn viewer_came(&mut self, user: Option<&UserId>) {
        let Some(user) = user else {
            self.anonymous += 1;
            return;
        };
        let viewers = self.users.entry(user.clone()).or_default();
        *viewers += 1;
        if *viewers == 1 && !self.members.contains(user) {
            self.strangers += 1;
        }
    }

    /// One that came before.
    pub fn viewer_went(&mut self, user: Option<&UserId>) {
        let Some(user) = user else {
            self.anonymous = self.anonymous.saturating_sub(1);
            return;
        };
        let Some(viewers) = self.users.get_mut(user) else {
            return;
        };
        *viewers -= 1;
        if *viewers == 0 {
            self.users.remove(user);
            if !self.members.contains(user) {
                self.strangers -= 1;
            }
        }
    }

    pub fn set_member(&mut self, user: &UserId, member: bool) {
        let changed = if member {
            self.members.insert(user.clone())
        } else {
            self.members.remove(user)
        };
        if changed && self.users.contains_key(user) {
            if member {
                self.strangers -= 1;
            } else {
                self.strangers += 1;
            }
        }
    }

    pub fn strangers(&self) -> usize {
        self.anonymous + self.strangers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_like_counting_anew(steps in prop::collection::vec((0..3u8, 0..4u8), 0..60)) {
            let user = |number: u8| (number > 0).then(|| UserId::parse(&format!("u{number}")).unwrap());
            let mut audience = Audience::default();
            let mut viewers: Vec<Option<UserId>> = Vec::new();
            let mut members: HashSet<UserId> = HashSet::new();
            for (step, number) in steps {
                let who = user(number);
                match step {
                    0 => {
                        audience.viewer_came(who.as_ref());
                        viewers.push(who);
                    }
                    1 => if let Some(at) = viewers.iter().position(|viewer| *viewer == who) {
                        viewers.remove(at);
                        audience.viewer_went(who.as_ref());
                    },
                    _ => if let Some(who) = who {
                        let member = !members.remove(&who);
                        if member {
                            members.insert(who.clone());
                        }
                        audience.set_member(&who, member);
                    },
                }
                let anonymous = viewers.iter().filter(|viewer| viewer.is_none()).count();
                let users: HashSet<&UserId> = viewers.iter().flatten().collect();
                let strangers = users.iter().filter(|user| !members.contains(**user)).count();
                prop_assert_eq!(audience.strangers(), anonymous + strangers);
            }
        }
    }
}
