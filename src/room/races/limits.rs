//! Bounds of number and time, to the millisecond.

use super::*;

fn refuse(twin: &mut Twin, act: Act, code: Code) -> Refusal {
    match perform(twin, act.clone()) {
        Some(Err(refusal)) if refusal.code == code => refusal,
        other => panic!("{act:?} was not refused with {code:?}: {other:?}"),
    }
}

/// "100 pending applications a room (`queue_full`)."
#[test]
fn a_hundred_applications_wait() {
    let names: Vec<String> = (0..101).map(|number| format!("guest-{number}")).collect();
    let mut twin = room();
    let ask = |name: &str| {
        let wish = Wish::default();
        Act::Do(guest(name), Command::Apply { user: None, wish })
    };
    for name in &names {
        twin.join(&guest(name)).unwrap();
    }
    for name in &names[..100] {
        twin = after(twin, [ask(name)]);
    }
    refuse(&mut twin, ask(&names[100]), Code::QueueFull);
    // Changing one's wish takes no further place, and a place given up is free.
    twin = after(twin, [reject(host(), &names[7]), ask(&names[100])]);
    twin.pass(Duration::from_secs(3));
    refuse(&mut twin, ask(&names[7]), Code::QueueFull);
}

/// "6 applications a minute per user (`rate_limited`)": in any minute, not in each.
#[test]
fn six_applications_a_minute() {
    let mut twin = room();
    for _ in 0..6 {
        twin = after(twin, [apply("bob"), cancel("bob"), Act::Pass(5_000)]);
    }
    let refusal = refuse(&mut twin, apply("bob"), Code::RateLimited);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
    twin.pass(Duration::from_millis(29_999));
    let refusal = refuse(&mut twin, apply("bob"), Code::RateLimited);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(1)));
    after(twin, [apply("eve"), Act::Pass(1), apply("bob")]);
}

/// Asking the same again is no further application.
#[test]
fn a_retry_is_not_counted() {
    let mut twin = after(room(), [apply("bob")]);
    for _ in 0..20 {
        let Some(Ok(done)) = perform(&mut twin, apply("bob")) else {
            panic!("a retry is answered");
        };
        assert!(asked(&done.outcome).1 && !done.changed);
    }
    after(twin, [cancel("bob"), apply("bob")]);
}

/// "Final states are remembered for 10 min so that a retry gets the same answer."
#[test]
fn an_answer_is_remembered_for_ten_minutes() {
    let twin = after(room(), [Act::Up("host"), apply("bob"), accept(host(), "bob")]);
    let mut twin = after(twin, [Act::Pass(599_999), accept(host(), "bob"), accept(ann(), "bob")]);
    twin.pass(Duration::from_millis(1));
    refuse(&mut twin, accept(host(), "bob"), Code::RequestNotFound);
}

/// "Re-apply cooldown after reject / kick."
#[test]
fn a_cooldown_says_how_long() {
    let mut twin = after(room(), [apply("bob"), reject(host(), "bob"), Act::Pass(1_000)]);
    let refusal = refuse(&mut twin, apply("bob"), Code::Cooldown);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(2_000)));
    let twin = after(twin, [Act::Pass(2_000), apply("bob"), accept(host(), "bob")]);
    let mut twin = after(twin, [kick(host(), 1, None, None), Act::Pass(29_999)]);
    let refusal = refuse(&mut twin, apply("bob"), Code::Cooldown);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(1)));
    // It is the guest's own wish that has to wait, not the host's.
    after(twin, [invite(host(), "bob"), consent("bob")]);
}

/// A kick after a rejection does not shorten the longer of the two, nor the other way round.
#[test]
fn the_longer_cooldown_counts() {
    let twin = after(
        room(),
        [apply("bob"), accept(host(), "bob"), kick(host(), 1, None, None)],
    );
    let behalf = Act::Do(
        service(),
        Command::Apply {
            user: Some(person("bob")),
            wish: Wish::default(),
        },
    );
    let mut twin = twin;
    let _may_wait_too = perform(&mut twin, behalf);
    let _rejected = perform(&mut twin, reject(host(), "bob"));
    twin.pass(Duration::from_millis(29_999));
    refuse(&mut twin, apply("bob"), Code::Cooldown);
    after(twin, [Act::Pass(1), apply("bob")]);
}
