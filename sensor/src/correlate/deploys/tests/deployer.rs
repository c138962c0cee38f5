//! The deployer's side: what starts a deploy, what belongs to it, and how it ended.

use super::*;

#[test]
fn a_deploy_is_told_with_who_what_and_where_to() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production", "-r", "web"]);
    story.exit(200, SHELL, 0);
    assert_eq!(story.actions(), ["deploy-started", "process-started", "process-ended", "deploy-finished"]);
    let started = story.of(Action::DeployStarted)[0];
    let told = fields(started);
    assert_eq!(
        (told.tool.as_deref(), told.action, told.verb.as_deref()),
        (Some("kamal"), Some("deploy"), Some("deploy"))
    );
    assert_eq!((told.service.as_deref(), told.destination.as_deref()), (Some("myapp"), Some("production")));
    assert_eq!(
        (told.hosts.as_slice(), told.roles.as_slice()),
        (&["10.0.0.1".to_owned(), "10.0.0.2".to_owned()][..], &["web".to_owned()][..])
    );
    assert_eq!(told.secrets, ["RAILS_MASTER_KEY"]);
    let config = told.config.as_ref().unwrap();
    assert_eq!(
        (config.files.as_slice(), config.unread.as_slice()),
        (&["config/deploy.yml".to_owned()][..], &["config/deploy.production.yml: too-large".to_owned()][..])
    );
    let user = started.subject.user.as_ref().unwrap();
    assert_eq!((user.real.id, user.audit.as_ref().unwrap().id), (Some(1000), Some(1000)));
    assert_eq!(started.subject.process.as_ref().unwrap().args[2], "deploy");
    // Everything of it bears its id, outside of any session.
    assert!(story.records.iter().all(|record| deploy(record) == deploy(started)), "{:?}", story.records);
    let FindingKind::DeployFinished(finished) = &story.finished().kind else { panic!() };
    assert_eq!(finished.exit.unwrap().code, 0);
}

#[test]
fn shim_env_and_ruby_in_one_process_are_one_deploy_and_so_is_what_runs_below() {
    let mut story = Story::new();
    story.fork(200, SHELL);
    story.exec(200, SHELL, &["bash", "/home/a/.rbenv/shims/kamal", "deploy"]);
    story.exec(200, SHELL, &["bash", "/home/a/.rbenv/libexec/rbenv", "exec", "kamal", "deploy"]);
    story.exec(200, SHELL, &["/usr/bin/env", "ruby", "/usr/local/bin/kamal", "deploy"]);
    story.exec(200, SHELL, &["ruby", "/usr/local/bin/kamal", "deploy"]);
    story.child(201, 200, &["ruby", "/usr/local/bin/kamal", "secrets", "fetch"], 0);
    story.child(202, 200, &["docker", "compose", "up"], 0);
    story.exit(200, SHELL, 0);
    assert_eq!((story.of(Action::DeployStarted).len(), story.of(Action::DeployFinished).len()), (1, 1));
    let all = |action| story.of(action).iter().filter(|record| deploy(record).is_some()).count();
    assert_eq!((all(Action::ProcessStarted), all(Action::ProcessEnded)), (6, 3));
    // The next one is another.
    story.kamal(300, &["audit"]);
    let started = story.of(Action::DeployStarted);
    assert_ne!(deploy(started[0]), deploy(started[1]));
}

#[test]
fn what_is_no_deploy_is_not_told() {
    let mut story = Story::new();
    for (n, argv) in
        [&["kamal", "version"][..], &["git", "status"], &["docker", "ps"], &["ruby", "x.rb"]].iter().enumerate()
    {
        story.child(300 + n as u32, SHELL, argv, 0);
    }
    assert_eq!(story.actions(), [""; 0]);
}

#[test]
fn children_that_matter_are_steps_and_what_they_start_is_theirs() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production"]);
    story.child(201, 200, &["git", "rev-parse", "HEAD"], 0);
    story.child(202, 200, &["whoami"], 0);
    // A hook, as Kamal starts it: env, then the script in place. It runs git itself.
    story.fork(203, 200);
    story.exec(203, 200, &["/usr/bin/env", ".kamal/hooks/pre-build"]);
    story.facts(203, None, &[("KAMAL_PERFORMER", "dev@example.test"), ("KAMAL_VERSION", "5f95e7b")]);
    story.exec(203, 200, &["/bin/sh", ".kamal/hooks/pre-build"]);
    story.child(204, 203, &["git", "fetch"], 1);
    story.exit(203, 200, 0);
    // A build: sh, docker below it, its plugin below that.
    let build = "docker buildx build -t r/acme/myapp:5f95e7b --secret id=\"BUILD_TOKEN\" . 2>&1";
    story.fork(205, 200);
    story.exec(205, 200, &["sh", "-c", build]);
    story.fork(206, 205);
    story.exec(206, 205, &["docker", "buildx", "build", "-t", "r/acme/myapp:5f95e7b", "."]);
    story.child(207, 206, &["docker", "buildx", "inspect"], 0);
    story.exit(206, 205, 0);
    story.exit(205, 200, 0);
    story.exit(200, SHELL, 0);
    assert_eq!(story.steps(), ["git 0", "hook 0", "build 0"]);
    let told = fields(story.finished());
    assert_eq!(
        (told.steps, told.performer.as_deref(), told.version.as_deref()),
        (Some(3), Some("dev@example.test"), Some("5f95e7b"))
    );
    assert_eq!(told.secrets, ["RAILS_MASTER_KEY", "BUILD_TOKEN"]);
    let build = fields(story.of(Action::DeployStep)[2]).step.clone().unwrap();
    assert_eq!(build.secrets, ["BUILD_TOKEN"]);
}

#[test]
fn commands_over_its_own_connections_are_steps_and_prove_what_happened() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production"]);
    let mut end = story.connects(1, 200, true, "Ruby/Net::SSH_7.3.3");
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    story.closes(end);
    story.exit(200, SHELL, 0);
    let finished = story.finished();
    assert_eq!(ended(finished), (Outcome::Success, None));
    let told = fields(finished);
    assert_eq!((told.version.as_deref(), told.previous_version.as_deref()), (Some("5f95e7b"), Some("aaaaaaa")));
    assert_eq!((told.performer.as_deref(), told.steps), (Some("dev@example.test"), Some(15)));
    let connection = story.of(Action::SshConnection)[0].subject.ssh.as_ref().unwrap().connection.clone().unwrap();
    assert_eq!(told.connections, [connection]);
    let own = |record: &&Finding| record.subject.ssh.is_some() && deploy(record) != deploy(finished);
    assert_eq!(story.records.iter().filter(own).count(), 0);
    let boot = story.of(Action::DeployStep)[10];
    let step = fields(boot).step.clone().unwrap();
    assert_eq!(
        (step.kind.as_str(), step.role.as_deref(), step.host.as_deref()),
        ("boot", Some("web"), Some("10.0.0.1"))
    );
    assert_eq!(step.container.as_deref(), Some("myapp-web-production-5f95e7b"));
    assert_eq!(step.image.as_ref().unwrap().tag.as_deref(), Some("5f95e7b"));
    assert_eq!(boot.subject.ssh.as_ref().unwrap().role, Some(crate::finding::Role::Client));
}

/// Runs kamal with these commands on one host.
fn run(args: &[&str], lines: &[(String, u32)], code: u8) -> Story {
    let mut story = Story::new();
    story.kamal(200, args);
    let mut end = story.connects(1, 200, true, "Ruby/Net::SSH_7.3.3");
    for (line, status) in lines {
        story.command(&mut end, line, *status);
    }
    story.closes(end);
    story.exit(200, SHELL, code);
    story
}

/// A deploy whose n-th command ends with this, and what is sent after it.
fn fails(at: usize, status: u32, tail: &[&str]) -> Story {
    let mut lines = deploy_lines("5f95e7b");
    lines.truncate(at + 1);
    lines[at].1 = status;
    lines.extend(tail.iter().map(|line| ((*line).to_owned(), 0)));
    run(&["deploy", "-d", "production"], &lines, 1)
}

const UNLOCK: &str = "/usr/bin/env rm .kamal/lock-myapp-production/details && rm -r .kamal/lock-myapp-production";
const HEALTH: &str = "docker container ls --all --filter 'name=^myapp-web-production-5f95e7b$' --quiet | xargs docker logs --timestamps 2>&1";

#[test]
fn a_failure_has_the_reason_of_the_step_that_failed() {
    let table: &[(usize, u32, &[&str], &str, &str)] = &[
        (0, 1, &[], "registry-login-failed", "docker login"),
        (3, 1, &[], "image-missing", "docker pull"),
        (4, 1, &[], "image-missing", "grep -x myapp"),
        (
            5,
            1,
            &[
                "/usr/bin/env stat .kamal/lock-myapp-production > /dev/null && cat .kamal/lock-myapp-production/details | base64 -d",
            ],
            "lock-held",
            "mkdir .kamal/lock-myapp-production",
        ),
        (9, 1, &[UNLOCK], "env-failed", "scp -t"),
        (10, 125, &[UNLOCK], "boot-failed", "docker run"),
        (11, 1, &[HEALTH, UNLOCK], "unhealthy", "kamal-proxy deploy"),
    ];
    for (at, status, tail, reason, line) in table {
        let story = fails(*at, *status, tail);
        let finished = story.finished();
        assert_eq!(ended(finished), (Outcome::Failure, Some(*reason)), "{line}");
        let message = fields(finished).message.as_ref().unwrap();
        assert!(message.contains(line) && message.contains(&format!("ended with {status} on 10.0.0.1")), "{message}");
    }
}

#[test]
fn a_container_that_never_gets_healthy_is_unhealthy_though_no_command_fails() {
    let mut lines = deploy_lines("5f95e7b");
    lines.truncate(11);
    lines.extend([(HEALTH.to_owned(), 0), (UNLOCK.to_owned(), 0)]);
    assert_eq!(ended(run(&["deploy"], &lines, 1).finished()), (Outcome::Failure, Some("unhealthy")));
}

#[test]
fn a_rollback_to_a_version_that_is_not_there_failed_though_it_exits_with_0() {
    let lock = deploy_lines("x")[5].clone();
    let lookup = ("docker container ls --all --filter 'name=^myapp-web-production-zzz$' --quiet".to_owned(), 0);
    let lines = [lock, lookup, (UNLOCK.to_owned(), 0)];
    let story = run(&["rollback", "zzz", "-d", "production"], &lines, 0);
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("version-not-found")));
    assert_eq!(fields(story.finished()).version.as_deref(), Some("zzz"));
    let done = run(&["rollback", "5f95e7b"], &deploy_lines("5f95e7b"), 0);
    assert_eq!(ended(done.finished()), (Outcome::Success, None));
    assert_eq!(fields(done.finished()).action, Some("rollback"));
}

#[test]
fn a_lock_that_was_waited_for_is_no_failure() {
    let mut lines = deploy_lines("5f95e7b");
    let lock = lines[5].0.clone();
    lines.insert(5, (lock, 1));
    assert_eq!(ended(run(&["deploy", "--lock-wait"], &lines, 0).finished()), (Outcome::Success, None));
    assert_eq!(ended(run(&["deploy", "--lock-wait"], &lines, 1).finished()), (Outcome::Failure, Some("tool-failed")));
}

#[test]
fn hooks_hosts_and_interruptions_are_reasons_too() {
    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    story.child(201, 200, &["/bin/sh", ".kamal/hooks/pre-deploy"], 7);
    story.exit(200, SHELL, 1);
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("hook-failed")));
    let message = fields(story.finished()).message.as_ref().unwrap();
    assert!(message.contains(".kamal/hooks/pre-deploy") && message.contains("ended with 7"), "{message}");

    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    let remote = "10.0.0.1:22".parse().unwrap();
    story.event(EventKind::Connect(Connect { task: task(200, SHELL), socket: 77, remote }));
    for (new, error) in [(TcpState::SynSent, None), (TcpState::Close, Some(111))] {
        let local = "10.0.0.9:0".parse().unwrap();
        let change =
            TcpChange { socket: 77, local, remote, old: TcpState::Other(0), new, error, bytes_in: 0, bytes_out: 0 };
        story.event(EventKind::Tcp(change));
    }
    story.exit(200, SHELL, 1);
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("unreachable")));
    let message = fields(story.finished()).message.as_ref().unwrap();
    assert!(message.contains("10.0.0.1") && message.contains("ECONNREFUSED"), "{message}");
    assert_eq!(deploy(story.of(Action::ConnectionFailed)[0]), deploy(story.finished()));

    // Of what did nothing it is known that it was interrupted, and not what failed by that.
    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    story.exit(200, SHELL, 130);
    assert_eq!(ended(story.finished()), (Outcome::Unknown, Some("interrupted")));
    assert_eq!(ended(run(&["deploy"], &[], 130).finished()), (Outcome::Failure, Some("interrupted")));
    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    story.connects(1, 200, true, "Ruby/Net::SSH_7.3.3");
    story.event(EventKind::Exit(Exit { task: task(200, SHELL), status: Status::Signal { number: 9, core: false } }));
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("killed")));
}

#[test]
fn actions_that_change_nothing_are_judged_by_their_exit() {
    for (args, code, outcome) in [
        (&["audit"][..], 0, Outcome::Success),
        (&["app", "exec", "uptime"], 1, Outcome::Failure),
        (&["lock", "release"], 0, Outcome::Success),
        (&["frobnicate"], 1, Outcome::Failure),
    ] {
        let story = run(args, &[("uptime".to_owned(), u32::from(code))], code);
        assert_eq!(story.finished().outcome, outcome, "{args:?}");
    }
}

#[test]
fn a_child_that_outlives_the_deploy_still_bears_its_id_and_starts_no_step() {
    let mut story = Story::new();
    story.kamal(200, &["deploy"]);
    story.fork(201, 200);
    story.exec(201, 200, &["/bin/sh", ".kamal/hooks/post-deploy"]);
    story.exit(200, SHELL, 0);
    story.exit(201, 1, 0);
    assert_eq!(story.steps(), [""; 0]);
    let last = story.records.last().unwrap();
    assert_eq!((last.action(), deploy(last)), (Action::ProcessEnded, deploy(story.finished())));
}

#[test]
fn a_run_in_a_container_is_one_deploy_with_the_process_that_started_it() {
    let mut story = Story::new();
    story.fork(200, SHELL);
    story.exec(200, SHELL, &["docker", "run", "--rm", "ghcr.io/basecamp/kamal:v2", "deploy", "-d", "production"]);
    let mut inner = task(500, 400);
    inner.names.cgroup = Some(format!("/system.slice/docker-{}.scope", "0".repeat(64)).into());
    story.exec_as(inner, &["/usr/local/bin/ruby", "/usr/local/bundle/bin/kamal", "deploy", "-d", "production"]);
    let mut end = story.connects(1, 500, true, "Ruby/Net::SSH_7.3.3");
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    story.exit(500, 400, 0);
    story.exit(200, SHELL, 0);
    assert_eq!(story.of(Action::DeployStarted).len(), 1);
    assert_eq!(fields(story.finished()).steps, Some(15));
    assert_eq!(fields(story.finished()).connections.len(), 1);
}

#[test]
fn aliases_of_the_project_are_known() {
    let mut story = Story::new();
    story.fork(200, SHELL);
    let aliases = vec![("ship".to_owned(), "deploy -d production".to_owned())];
    story.facts(200, Some(Project { aliases, ..project() }), &[]);
    story.exec(200, SHELL, &["kamal", "ship"]);
    let told = fields(story.of(Action::DeployStarted)[0]);
    assert_eq!((told.verb.as_deref(), told.destination.as_deref()), (Some("deploy"), Some("production")));
}

#[test]
fn two_deploys_at_once_do_not_mix() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production"]);
    story.kamal(300, &["deploy", "-d", "staging"]);
    let mut first = story.connects(1, 200, true, "Ruby/Net::SSH_7.3.3");
    let mut second = story.connects(2, 300, true, "Ruby/Net::SSH_7.3.3");
    for (one, two) in deploy_lines("111").into_iter().zip(deploy_lines("222")) {
        story.command(&mut first, &one.0, one.1);
        story.command(&mut second, &two.0, two.1);
    }
    story.exit(300, SHELL, 0);
    story.exit(200, SHELL, 0);
    let finished = story.of(Action::DeployFinished);
    let versions: Vec<Option<&str>> = finished.iter().map(|record| fields(record).version.as_deref()).collect();
    assert_eq!(versions, [Some("222"), Some("111")]);
    for record in finished {
        let steps = story.of(Action::DeployStep).iter().filter(|step| deploy(step) == deploy(record)).count();
        assert_eq!((steps, fields(record).steps), (15, Some(15)));
    }
}

#[test]
fn a_run_whose_end_was_lost_ends_unknown() {
    let mut story = Story::new();
    for tgid in 0..LIMITS.processes as u32 + 10 {
        story.kamal(1000 + tgid, &["audit"]);
    }
    story.event(EventKind::Tick);
    let lost = story.of(Action::DeployFinished);
    assert!(lost.len() >= 10 && lost.iter().all(|record| record.outcome == Outcome::Unknown), "{}", lost.len());
    assert!(story.correlate.deploys_running() <= LIMITS.processes);
}
