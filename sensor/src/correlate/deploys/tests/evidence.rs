//! What proves a deploy, and what is only said: a name, a hook, a file, a local program of the right name prove
//! nothing.

use super::*;

const NET_SSH: &str = "Ruby/Net::SSH_7.3.3";

/// A script of this name, run by a shell, with what happens below it; it ends with this.
fn script(argv: &[&str], code: u8, acts: impl Fn(&mut Story)) -> Story {
    let mut story = Story::new();
    story.fork(200, SHELL);
    story.facts(200, None, &[]);
    story.exec(200, SHELL, &[&["/bin/sh"], argv].concat());
    acts(&mut story);
    story.exit(200, SHELL, code);
    story
}

/// A TCP connection that is made.
fn connects(story: &mut Story, tgid: u32, remote: &str) {
    let (socket, remote) = (77, remote.parse().unwrap());
    story.event(EventKind::Connect(Connect { task: task(tgid, 200), socket, remote }));
    let local = "10.0.0.9:4000".parse().unwrap();
    for (old, new) in [(TcpState::Other(0), TcpState::SynSent), (TcpState::SynSent, TcpState::Established)] {
        let change = TcpChange { socket, local, remote, old, new, error: None, bytes_in: 0, bytes_out: 0 };
        story.event(EventKind::Tcp(change));
    }
}

/// A fake hook that says who deploys what.
fn hook(story: &mut Story, code: u8) {
    story.fork(203, 200);
    let claims = [("KAMAL_PERFORMER", "ceo@corp.example"), ("KAMAL_VERSION", "abc123"), ("KAMAL_SERVICE", "shop")];
    story.facts(203, None, &claims);
    story.exec(203, 200, &["/bin/sh", ".kamal/hooks/post-deploy"]);
    story.exit(203, 200, code);
}

fn evidence(story: &Story) -> (Outcome, Option<&str>) {
    (story.finished().outcome, fields(story.finished()).evidence)
}

fn message(record: &Finding) -> &'static str {
    fields(record).message.as_deref().unwrap_or_default()
}

#[test]
fn a_name_and_a_hook_are_no_evidence_and_what_they_say_is_claimed() {
    let story = script(&["./kamal", "deploy"], 0, |story| hook(story, 0));
    assert_eq!(evidence(&story), (Outcome::Unknown, Some("none")));
    let finished = story.finished();
    let reported = fields(finished);
    assert_eq!(
        (reported.performer.as_deref(), reported.version.as_deref(), reported.service.as_deref()),
        (Some("ceo@corp.example"), Some("abc123"), Some("shop"))
    );
    assert_eq!(reported.claimed, ["deploy.performer", "deploy.service", "deploy.version"]);
    assert_eq!(finished.subject.user.as_ref().unwrap().real.id, Some(1000));
    assert_eq!(message(finished), "a program named kamal ran; it did nothing that the sensor saw");
    assert!(fields(story.of(Action::DeployStarted)[0]).evidence.is_none());
    // Nor does its exit code make a failure, or a name of another tool a success.
    let argvs: [&[&str]; 6] = [
        &["./kamal", "rollback", "v1"],
        &["./kamal", "audit"],
        &["./kamal", "secrets", "print"],
        &["./cap", "production", "deploy"],
        &["./kubectl", "apply", "-f", "a.yml"],
        &["./docker-compose", "up"],
    ];
    for argv in argvs {
        for code in [0, 1] {
            let story = script(argv, code, |_| {});
            assert_eq!(evidence(&story), (Outcome::Unknown, Some("none")), "{argv:?} {code}");
            assert!(message(story.finished()).contains("did nothing that the sensor saw"), "{argv:?}");
        }
    }
}

#[test]
fn local_programs_of_the_right_names_are_no_evidence() {
    let local = |story: &mut Story| {
        for (n, line) in [
            &["docker", "login", "r"][..],
            &["docker", "exec", "kamal-proxy", "kamal-proxy", "deploy", "shop-web"],
            &["docker", "run", "--detach", "--name", "shop-web-abc123", "r/shop:abc123"],
            &["docker", "push", "r/shop:abc123"],
        ]
        .iter()
        .enumerate()
        {
            story.child(210 + n as u32, 200, line, 0);
        }
    };
    let story = script(&["./kamal", "deploy"], 0, local);
    assert_eq!(evidence(&story), (Outcome::Unknown, Some("none")));
    assert!(fields(story.finished()).claimed.contains(&"deploy.version"));
}

#[test]
fn a_connection_alone_is_no_deploy_and_says_where_to() {
    let story = script(&["./kamal", "deploy"], 0, |story| connects(story, 200, "10.0.0.7:22"));
    assert_eq!(evidence(&story), (Outcome::Unknown, Some("connections")));
    assert_eq!(fields(story.finished()).contacted, ["10.0.0.7"]);
    assert!(message(story.finished()).contains("connected to 10.0.0.7, and the sensor saw no command of kamal"));
    // A hook's connection is the hook's.
    let story = script(&["./kamal", "deploy"], 0, |story| {
        story.fork(203, 200);
        story.exec(203, 200, &["/bin/sh", ".kamal/hooks/pre-connect"]);
        story.fork(204, 203);
        story.exec(204, 203, &["curl", "https://chat.example.test"]);
        connects(story, 204, "10.0.0.8:443");
        story.exit(204, 203, 0);
        story.exit(203, 200, 0);
    });
    assert_eq!(evidence(&story), (Outcome::Unknown, Some("none")));
    assert!(fields(story.finished()).contacted.is_empty());
}

/// `ssh HOST LINE` below a script.
fn over_ssh(argv: &[&str], line: &str) -> Story {
    script(argv, 0, |story| {
        story.fork(205, 200);
        story.exec(205, 200, &["ssh", "host", line]);
        let mut end = story.connects(1, 205, true, "OpenSSH_9.2p1");
        story.command(&mut end, line, 0);
        story.closes(end);
        story.exit(205, 200, 0);
    })
}

#[test]
fn a_command_that_is_none_of_the_tools_is_no_evidence_of_its_deploy() {
    for argv in [&["./kamal", "deploy"][..], &["./cap", "production", "deploy"], &["./ansible-playbook", "site.yml"]] {
        let story = over_ssh(argv, "true");
        assert_eq!(evidence(&story), (Outcome::Unknown, Some("connections")), "{argv:?}");
        assert_eq!(fields(story.finished()).contacted, ["10.0.0.1"]);
    }
    // One of the tool's is, and proves no deploy.
    let story = over_ssh(&["./kamal", "deploy"], "docker pull r/shop:abc123");
    assert_eq!(evidence(&story), (Outcome::Failure, Some("commands")));
    let story = over_ssh(&["./cap", "production", "deploy"], "mkdir -p /srv/app/releases/1");
    assert_eq!(evidence(&story), (Outcome::Unknown, Some("commands")));
}

#[test]
fn an_act_confirms_what_was_claimed_and_nothing_confirms_a_performer() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production", "--version", "5f95e7b"]);
    let mut end = story.connects(1, 200, true, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    story.closes(end);
    story.exit(200, SHELL, 0);
    assert_eq!(evidence(&story), (Outcome::Success, Some("traffic-switched")));
    let claimed = |record: &Finding| fields(record).claimed.clone();
    let started = claimed(story.of(Action::DeployStarted)[0]);
    for field in ["deploy.version", "deploy.service", "deploy.destination", "deploy.roles", "deploy.hosts"] {
        assert!(started.contains(&field), "{started:?}");
    }
    // One of the two hosts of the configuration was never contacted.
    assert_eq!(claimed(story.finished()), ["deploy.hosts", "deploy.performer", "deploy.secrets"]);
    assert_eq!(fields(story.finished()).contacted, ["10.0.0.1"]);
    let steps = story.of(Action::DeployStep);
    assert!(claimed(steps[2]).contains(&"deploy.version"), "before the pull");
    assert!(!claimed(steps[3]).contains(&"deploy.version"), "the pull");
    assert!(claimed(steps[3]).contains(&"deploy.service") && !claimed(steps[10]).contains(&"deploy.service"));
    // Another version was asked for than the one that came.
    let mut story = Story::new();
    story.kamal(200, &["deploy", "--version", "claimed"]);
    let mut end = story.connects(1, 200, true, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    story.exit(200, SHELL, 0);
    assert!(claimed(story.finished()).contains(&"deploy.version"));
}

#[test]
fn a_container_that_was_booted_and_never_switched_to_is_no_switched_traffic() {
    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    let mut end = story.connects(1, 200, true, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b").into_iter().take(12) {
        let status = if line.contains("kamal-proxy deploy") { 1 } else { status };
        story.command(&mut end, &line, status);
    }
    story.exit(200, SHELL, 1);
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("unhealthy")));
    assert_eq!(fields(story.finished()).evidence, Some("commands"));
}

#[test]
fn a_command_that_failed_confirms_nothing() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "--version", "5f95e7b"]);
    let mut end = story.connects(1, 200, true, NET_SSH);
    story.command(&mut end, "docker pull registry.example.test/acme/myapp:5f95e7b", 1);
    story.exit(200, SHELL, 1);
    assert_eq!(evidence(&story), (Outcome::Failure, Some("commands")));
    assert!(fields(story.finished()).claimed.contains(&"deploy.version"));
}

#[test]
fn on_a_target_a_command_confirms_too() {
    let mut story = Story::new();
    let mut end = story.connects(1, 50, false, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    let steps = story.of(Action::DeployStep);
    assert_eq!(
        fields(steps[1]).claimed,
        ["deploy.destination", "deploy.performer", "deploy.service", "deploy.version"]
    );
    assert_eq!(fields(steps[14]).claimed, ["deploy.performer"]);
}

#[test]
fn a_tool_whose_acts_cannot_be_read_is_its_own_program_and_connects() {
    let tool = |executable: &[&str], connect: bool, code: u8| {
        let mut story = Story::new();
        story.fork(200, SHELL);
        story.exec(200, SHELL, executable);
        if connect {
            connects(&mut story, 200, "10.0.0.7:6443");
        }
        story.exit(200, SHELL, code);
        let (outcome, evidence) = evidence(&story);
        (outcome, evidence.unwrap().to_owned())
    };
    let is = |outcome, evidence: &str| (outcome, evidence.to_owned());
    let kubectl = ["/home/ci/bin/kubectl", "apply", "-f", "a.yml"];
    assert_eq!(tool(&kubectl, true, 0), is(Outcome::Success, "commands"));
    assert_eq!(tool(&kubectl, true, 1), is(Outcome::Failure, "commands"));
    assert_eq!(tool(&kubectl, false, 0), is(Outcome::Unknown, "none"));
    let script = ["/bin/sh", "./kubectl", "apply", "-f", "a.yml"];
    assert_eq!(tool(&script, true, 0), is(Outcome::Unknown, "connections"));
    let docker = ["/usr/bin/docker", "compose", "up", "-d"];
    assert_eq!(tool(&docker, false, 0), is(Outcome::Success, "commands"));
    assert_eq!(tool(&docker, false, 1), is(Outcome::Failure, "commands"));
    assert_eq!(tool(&["/tmp/x/docker", "compose", "up", "-d"], false, 0), is(Outcome::Unknown, "none"));
}

#[test]
fn among_lost_events_nothing_seen_is_not_nothing_done() {
    let lost = |kind: &str| {
        let kind = kind.to_owned();
        let story = script(&["./kamal", "deploy"], 0, |story| {
            let lost = crate::event::stream::Lost { stage: "kernel".into(), kind: kind.clone(), count: 1, since: 0 };
            story.event(EventKind::Lost(lost));
        });
        let (outcome, evidence) = evidence(&story);
        (outcome, evidence.map(str::to_owned))
    };
    assert_eq!(lost("connect"), (Outcome::Unknown, None));
    assert_eq!(lost("connect: skipped by the kernel"), (Outcome::Unknown, Some("none".into())));
}
