//! Which media worker gets a new peer. Pure.

/// The two kinds of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Viewer,
}

/// Peers of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub publishers: usize,
    pub viewers: usize,
}

impl Load {
    pub(super) fn of(&mut self, role: Role) -> &mut usize {
        match role {
            Role::Publisher => &mut self.publishers,
            Role::Viewer => &mut self.viewers,
        }
    }
}

/// The worker with the fewest peers of the same kind, then with the fewest of the other, then the first. A room's viewers
/// so spread over all workers: every worker can serve every source. `None`: there is no worker.
pub(super) fn place(role: Role, loads: &[Load]) -> Option<usize> {
    let order = |load: &Load| match role {
        Role::Publisher => (load.publishers, load.viewers),
        Role::Viewer => (load.viewers, load.publishers),
    };
    (0..)
        .zip(loads)
        .min_by_key(|(_, load)| order(load))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(publishers: usize, viewers: usize) -> Load {
        Load { publishers, viewers }
    }

    #[test]
    fn the_least_loaded_worker_is_chosen() {
        assert_eq!(place(Role::Viewer, &[]), None);
        let loads = [load(2, 1), load(1, 3), load(1, 2)];
        assert_eq!(place(Role::Publisher, &loads), Some(2));
        assert_eq!(place(Role::Viewer, &loads), Some(0));
        assert_eq!(place(Role::Viewer, &[load(1, 5), load(0, 5), load(0, 5)]), Some(1));
    }

    #[test]
    fn many_peers_spread_evenly() {
        let mut loads = [Load::default(); 3];
        for step in 0..90 {
            let role = if step % 3 == 0 { Role::Publisher } else { Role::Viewer };
            let worker = place(role, &loads).unwrap();
            *loads[worker].of(role) += 1;
        }
        assert_eq!(loads, [load(10, 20); 3]);
    }
}
