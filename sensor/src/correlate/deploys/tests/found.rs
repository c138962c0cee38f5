//! Deploys that were running before the sensor.

use super::*;

#[test]
fn a_deploy_that_runs_when_the_sensor_starts_is_told_as_inferred_and_seen_from_then_on() {
    let mut story = Story::new();
    story.found(SHELL, 1, &["-bash"]);
    story.found(150, SHELL, &["vim", "kamal"]);
    story.facts(200, Some(project()), &[]);
    story.found(200, SHELL, &["ruby", "/usr/local/bin/kamal", "deploy", "-d", "production"]);
    story.found(201, 200, &["/bin/sh", ".kamal/hooks/pre-connect"]);
    story.found(202, 201, &["git", "fetch"]);
    story.event(EventKind::SnapshotComplete);
    let started = story.of(Action::DeployStarted);
    assert_eq!((started.len(), started[0].quality.inferred), (1, true));
    assert_eq!(
        (fields(started[0]).service.as_deref(), fields(started[0]).destination.as_deref()),
        (Some("myapp"), Some("production"))
    );
    assert_eq!(story.actions(), ["deploy-started"], "what was there is no new process");
    story.exit(202, 201, 0);
    story.exit(201, 200, 0);
    story.child(203, 200, &["git", "rev-parse", "HEAD"], 0);
    let mut end = story.connects(1, 200, true, "Ruby/Net::SSH_7.0");
    story.command(&mut end, "docker pull r/acme/myapp:1", 0);
    // What proves it may have been done before: that nothing of it was seen is no failure, and no success.
    story.exit(200, SHELL, 0);
    assert_eq!(story.steps(), ["hook 0", "git 0", "pull 0"]);
    let finished = story.finished();
    assert_eq!((ended(finished), finished.quality.inferred), ((Outcome::Unknown, None), true));
    assert_eq!(fields(finished).evidence, Some("commands"));
    // From when the tool began, which is before the sensor.
    assert!(finished.duration.unwrap() < story.time);
    assert_eq!(deploy(finished), deploy(story.of(Action::DeployStarted)[0]));
}

#[test]
fn of_a_rollback_that_ran_before_nobody_knows_and_what_fails_is_a_failure_all_the_same() {
    let after = |args: &[&str], line: &str, status: u32, code: u8| {
        let mut story = Story::new();
        story.facts(200, Some(project()), &[]);
        story.found(200, 1, &[&["ruby", "/usr/local/bin/kamal"], args].concat());
        story.event(EventKind::SnapshotComplete);
        let mut end = story.connects(1, 200, true, "Ruby/Net::SSH_7.0");
        story.command(&mut end, line, status);
        story.exit(200, 1, code);
        let finished = story.finished();
        (finished.outcome, fields(finished).reason.clone())
    };
    assert_eq!(after(&["rollback", "5f9"], "docker ps", 0, 0), (Outcome::Unknown, None));
    let switch = "docker exec kamal-proxy kamal-proxy deploy myapp-web --target=x";
    assert_eq!(after(&["rollback", "5f9"], switch, 0, 0), (Outcome::Success, None));
    assert_eq!(after(&["deploy"], "docker pull r/acme/a:1", 0, 0), (Outcome::Unknown, None));
    assert_eq!(after(&["deploy"], switch, 1, 1), (Outcome::Failure, Some("unhealthy".into())));
}

#[test]
fn of_a_deploy_that_ran_before_that_nothing_was_seen_is_not_that_nothing_was() {
    for (args, code) in [(&["deploy"][..], 0), (&["deploy"], 1), (&["audit"], 0)] {
        let mut story = Story::new();
        story.facts(200, Some(project()), &[]);
        story.found(200, 1, &[&["ruby", "/usr/local/bin/kamal"], args].concat());
        story.event(EventKind::SnapshotComplete);
        story.child(201, 200, &["/bin/sh", ".kamal/hooks/post-deploy"], 0);
        story.exit(200, 1, code);
        let finished = story.finished();
        assert_eq!((ended(finished), fields(finished).evidence), ((Outcome::Unknown, None), None), "{args:?} {code}");
        let message = fields(finished).message.as_ref().unwrap();
        assert!(message.contains("before the sensor"), "{message}");
    }
}
