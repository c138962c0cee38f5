//! The target's side: sessions that run what a tool sends, alone and joined with the deployer on the same host.

use super::*;
use crate::finding::{self, SessionId};

fn session(record: &Finding) -> &SessionId {
    &record.subject.ssh.as_ref().unwrap().session.as_ref().unwrap().id
}

const NET_SSH: &str = "Ruby/Net::SSH_7.3.3 x86_64-linux-gnu";

#[test]
fn a_session_with_a_tools_marks_is_a_deploys_from_its_first_command() {
    let mut story = Story::new();
    let mut end = story.connects(1, 50, false, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut end, &line, status);
    }
    story.closes(end);
    let steps = story.of(Action::DeployStep);
    assert_eq!(steps.len(), 15);
    let ids: std::collections::HashSet<Option<&str>> = steps.iter().map(|record| deploy(record)).collect();
    assert!(ids.len() == 1 && !ids.contains(&Some("")), "{ids:?}");
    for record in &steps {
        let told = fields(record);
        assert_eq!(
            (told.tool.as_deref(), told.service.as_deref(), told.destination.as_deref()),
            (Some("kamal"), Some("myapp"), Some("production"))
        );
        assert_eq!(record.subject.ssh.as_ref().unwrap().role, Some(finding::Role::Server));
        assert_eq!(told.step.as_ref().unwrap().host.as_deref(), Some("10.0.0.1"));
    }
    let switch = fields(steps[11]);
    assert_eq!((switch.version.as_deref(), switch.performer.as_deref()), (Some("5f95e7b"), Some("dev@example.test")));
    assert_eq!(switch.step.as_ref().unwrap().role.as_deref(), Some("web"));
    assert_eq!(fields(steps[14]).previous_version.as_deref(), Some("aaaaaaa"));
    // What the session says of itself from then on has the id too.
    let after = story.of(Action::SshCommandStarted);
    assert_eq!((deploy(after[0]), deploy(after[1])), (None, deploy(steps[0])));
}

#[test]
fn sessions_of_one_deploy_are_one_and_others_are_not() {
    let mut story = Story::new();
    let last = |story: &Story| {
        let steps = story.of(Action::DeployStep);
        deploy(steps.last().unwrap()).unwrap().to_owned()
    };
    let of = |story: &mut Story, number: u8, version: &str, service: &str| {
        let mut end = story.connects(number, 50 + u32::from(number), false, NET_SSH);
        for (line, status) in deploy_lines(version) {
            story.command(&mut end, &line.replace("myapp", service), status);
        }
        (end, last(story))
    };
    let (one, first) = of(&mut story, 1, "111", "myapp");
    let (two, again) = of(&mut story, 2, "111", "myapp");
    assert_eq!(again, first);
    // At the same time: another version, another service.
    let (_, second) = of(&mut story, 3, "222", "myapp");
    let (_, other) = of(&mut story, 4, "111", "other");
    assert!(second != first && other != first && other != second);
    // The same again, when all of the first is over.
    story.closes(one);
    let (three, third) = of(&mut story, 5, "111", "myapp");
    assert_eq!(third, first);
    story.closes(two);
    story.closes(three);
    assert_ne!(of(&mut story, 6, "111", "myapp").1, first);
}

#[test]
fn ordinary_sessions_are_no_deploys() {
    let mut story = Story::new();
    let lines = [
        "uptime",
        "docker ps",
        "docker login r -u u -p [REDACTED]",
        "docker pull a:1",
        "git pull",
        "ls -la .ssh",
        "tail -f /var/log/syslog",
        "docker image prune --force",
        "docker ps -q | xargs docker stop",
        "docker logs traefik",
        "git clone --mirror a b",
        "mkdir -p apps/releases/1",
    ];
    for (number, software) in [(1, "OpenSSH_9.2p1"), (2, "paramiko_5.1.0")] {
        let mut end = story.connects(number, 50, false, software);
        for line in lines {
            story.command(&mut end, line, 0);
        }
        story.closes(end);
    }
    // Net::SSH alone makes no deploy either, if no command is one that a tool sends.
    let mut end = story.connects(3, 50, false, NET_SSH);
    let own =
        ["uptime", "git pull", "whoami", "docker ps -a", "docker logs web 2>&1", "docker exec web env", "scp -t note"];
    for line in own {
        story.command(&mut end, line, 0);
    }
    story.closes(end);
    assert_eq!(story.steps(), [""; 0]);
    assert!(story.records.iter().all(|record| record.subject.deploy.is_none()));
}

#[test]
fn a_registry_login_by_the_tools_client_is_told_when_its_session_ends() {
    let mut story = Story::new();
    let mut end = story.connects(1, 50, false, NET_SSH);
    story.command(&mut end, r#"docker login registry.example.test -u "ci" -p "[REDACTED]""#, 0);
    assert_eq!(story.steps(), [""; 0]);
    story.closes(end);
    assert_eq!(story.steps(), ["registry-login 0"]);
    let step = fields(story.of(Action::DeployStep)[0]).step.clone().unwrap();
    assert_eq!(step.registry.as_deref(), Some("registry.example.test"));
}

#[test]
fn a_person_who_looks_at_the_proxy_is_told_with_that_command_only() {
    let mut story = Story::new();
    let mut end = story.connects(1, 50, false, "OpenSSH_9.2p1");
    for line in ["uptime", "docker exec kamal-proxy kamal-proxy list", "uptime"] {
        story.command(&mut end, line, 0);
    }
    story.closes(end);
    assert_eq!(story.steps(), ["proxy 0"]);
}

#[test]
fn a_session_that_names_its_service_late_is_of_the_deploy_that_runs() {
    let mut story = Story::new();
    let mut first = story.connects(1, 50, false, NET_SSH);
    let mut second = story.connects(2, 51, false, NET_SSH);
    let mut third = story.connects(3, 52, false, NET_SSH);
    for end in [&mut first, &mut second, &mut third] {
        story.command(end, "/usr/bin/env mkdir -p .kamal", 0);
    }
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut first, &line, status);
        story.command(&mut third, &line.replace("myapp", "other"), status);
    }
    story.command(&mut second, "docker container ls --all --filter 'name=^myapp-web-production-5f95e7b$' --quiet", 0);
    for (line, status) in deploy_lines("5f95e7b").into_iter().skip(8) {
        story.command(&mut second, &line, status);
    }
    let of = |socket: u8| {
        let steps = story.of(Action::DeployStep);
        let own = |record: &&&Finding| {
            let id = session(story.of(Action::SshConnection)[usize::from(socket) - 1]);
            session(record) == id
        };
        let ids: std::collections::HashSet<String> =
            steps.iter().filter(own).map(|record| deploy(record).unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1);
        ids.into_iter().next().unwrap()
    };
    assert_eq!(of(1), of(2));
    assert_ne!(of(1), of(3));
}

#[test]
fn on_one_host_both_sides_are_one_deploy_and_count_once() {
    let mut story = Story::new();
    story.kamal(200, &["deploy", "-d", "production"]);
    let mut client = story.connects(1, 200, true, NET_SSH);
    let mut server = story.connects(1, 50, false, NET_SSH);
    for (line, status) in deploy_lines("5f95e7b") {
        story.command(&mut client, &line, status);
        story.command(&mut server, &line, status);
    }
    story.exit(200, SHELL, 0);
    let finished = story.finished();
    assert_eq!(ended(finished), (Outcome::Success, None));
    assert_eq!(fields(finished).steps, Some(15));
    let steps = story.of(Action::DeployStep);
    assert_eq!(steps.len(), 30);
    assert!(steps.iter().all(|record| deploy(record) == deploy(finished)));
    let servers =
        steps.iter().filter(|record| record.subject.ssh.as_ref().unwrap().role == Some(finding::Role::Server)).count();
    assert_eq!(servers, 15);
}

#[test]
fn where_the_client_cannot_be_read_the_hosts_side_proves_the_deploy() {
    let mut story = Story::new();
    story.kamal(200, &["rollback", "zzz"]);
    // The client's clear phase only: its connection and id are known.
    let client = story.connects(1, 200, true, NET_SSH);
    let mut server = story.connects(1, 50, false, NET_SSH);
    story.command(&mut server, &deploy_lines("x")[5].0, 0);
    story.command(&mut server, "docker container ls --all --filter 'name=^myapp-web-zzz$' --quiet", 0);
    story.closes(client);
    story.exit(200, SHELL, 0);
    assert_eq!(ended(story.finished()), (Outcome::Failure, Some("version-not-found")));
    assert_eq!(fields(story.finished()).steps, Some(2));
}
