//! From lines of several hosts to deploys and trees: what belongs together, and what a hostile log cannot do.

#![expect(clippy::needless_pass_by_value, reason = "the fields of a record are written where they are used")]

use serde_json::{Value, json};

use super::{
    Deploy, DeployDetail, Filter, Index, Node,
    deploy::{Outcome, State},
    node::Kind,
};

/// One line of a log: host, second, action, the rest.
fn line(host: &str, second: i64, action: &str, fields: Value) -> String {
    let mut record = json!({
        "@timestamp": format!("2026-11-21T21:{:02}:{:02}Z", 18 + second / 60, second % 60),
        "event": { "action": action, "outcome": "success" }, "host": { "name": host, "id": host }, "sensor": { "boot_id": "r" },
    });
    for (key, value) in fields.as_object().cloned().unwrap_or_default() {
        match (record.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(new)) => known.extend(new),
            (_, value) => record[key] = value,
        }
    }
    // A process has two names; these tests go by the second.
    for process in ["/process", "/process/parent"] {
        if let Some(process) = record.pointer_mut(process) {
            process["pid"] = 1.into();
        }
    }
    if action == "process-ended" {
        record["process"]["exit_code"] = 0.into();
    }
    record.to_string()
}

fn deploys(lines: &[String]) -> Vec<Deploy> {
    let mut index = Index::new().unwrap();
    for line in lines {
        index.observe(line.as_bytes()).unwrap();
    }
    index.deploys()
}

fn tree(lines: &[String], id: &str) -> (Deploy, Vec<Node>) {
    let deploy = deploys(lines).into_iter().find(|deploy| deploy.is_called(id)).unwrap();
    let mut story = DeployDetail::new(deploy).unwrap();
    for line in lines {
        story.observe(line.as_bytes()).unwrap();
    }
    story.tell()
}

fn started(host: &str, second: i64, deploy: &Value) -> String {
    line(host, second, "deploy-started", json!({ "deploy": deploy, "process": { "entity_id": "tool" } }))
}

fn step(host: &str, second: i64, deploy: &Value, text: &str, connection: &str) -> String {
    let mut deploy = deploy.clone();
    deploy["step"] = json!({ "kind": "remote", "line": text, "exit_status": 0 });
    line(
        host,
        second,
        "deploy-step",
        json!({ "deploy": deploy, "ssh": { "role": "server", "connection": { "id": connection } } }),
    )
}

#[test]
fn a_target_belongs_to_the_deploy_whose_connection_it_served() {
    let same = json!({ "performer": "p", "version": "v" });
    let with =
        |id: &str, connection: &str| json!({ "id": id, "performer": "p", "version": "v", "connections": [connection] });
    // Two deploys of one version by one performer at the same time: only the connections tell them apart.
    let lines = [
        started("dev", 0, &with("one", "c1")),
        started("dev", 1, &with("two", "c2")),
        step("web", 2, &same, "a", "c1"),
        step("db", 2, &same, "b", "c2"),
    ];
    let deploys = deploys(&lines);
    let targets: Vec<Vec<&str>> =
        deploys.iter().map(|deploy| deploy.targets.iter().map(|view| view.host.name.as_str()).collect()).collect();
    assert_eq!(targets, [["web"], ["db"]]);
    assert_eq!(deploys[0].seen_from, ["deployer", "target"]);
}

#[test]
fn without_a_connection_performer_version_and_time_join() {
    let of = |performer: &str, version: &str| json!({ "id": "d", "performer": performer, "version": version });
    let joined = |target: &Value, second: i64| {
        let lines = [started("dev", 60, &of("p", "v")), step("web", second, target, "a", "c")];
        deploys(&lines).len() == 1
    };
    let target = json!({ "performer": "p", "version": "v" });
    assert!(joined(&target, 61) && joined(&target, 30) && joined(&target, 119));
    assert!(!joined(&target, 500), "another time");
    assert!(!joined(&json!({ "performer": "q", "version": "v" }), 61), "another performer");
    assert!(!joined(&json!({ "performer": "p", "version": "w" }), 61), "another version");
    assert!(!joined(&json!({ "version": "v" }), 61), "no performer");
}

#[test]
fn a_tool_that_made_no_connection_or_others_takes_no_targets_steps_by_what_it_says() {
    let joined = |evidence: &str, connections: &[&str]| {
        let said = json!({ "id": "d", "performer": "p", "version": "v" });
        let mut end = said.clone();
        (end["evidence"], end["connections"]) = (json!(evidence), json!(connections));
        let lines = [
            started("dev", 60, &said),
            step("web", 61, &json!({ "performer": "p", "version": "v" }), "a", "c"),
            line("dev", 62, "deploy-finished", json!({ "deploy": end, "process": { "entity_id": "tool" } })),
        ];
        deploys(&lines).len() == 1
    };
    assert!(!joined("none", &[]), "a forged deploy beside a real one");
    assert!(!joined("connections", &["other"]), "its connection is another");
    assert!(joined("commands", &["c"]) && joined("connections", &[]));
}

#[test]
fn targets_alone_are_one_deploy_if_they_agree() {
    let of = |service: &str| json!({ "performer": "p", "version": "v", "service": service });
    let lines = [
        step("web1", 0, &of("a"), "x", "c1"),
        step("web2", 5, &of("a"), "x", "c2"),
        step("web3", 5, &of("b"), "x", "c3"),
    ];
    let deploys = deploys(&lines);
    let hosts: Vec<&[String]> = deploys.iter().map(|deploy| deploy.hosts.as_slice()).collect();
    assert_eq!(hosts, [&["web1".to_owned(), "web2".to_owned()][..], &["web3".to_owned()]]);
    assert!(deploys.iter().all(|deploy| deploy.state == State::EndNotSeen && deploy.seen_from == ["target"]));
}

#[test]
fn a_deploy_started_by_a_deploy_stays_its_own() {
    let lines = [
        started("dev", 0, &json!({ "id": "outer", "connections": ["c1"] })),
        line(
            "web",
            1,
            "deploy-started",
            json!({ "deploy": { "id": "inner" }, "ssh": { "role": "server", "session": { "id": "s" }, "connection": { "id": "c1" } } }),
        ),
        step("web", 2, &json!({ "id": "inner" }), "local", "c1"),
    ];
    let found = deploys(&lines);
    assert_eq!(found.iter().map(|deploy| deploy.id.as_str()).collect::<Vec<_>>(), ["outer", "inner"]);
}

/// A command as each of the four records of it tells.
fn told_by_all(second: i64, text: &str, status: u8) -> Vec<String> {
    let command = |session: &str, role: &str| json!({ "role": role, "connection": { "id": "c1" }, "command": { "id": format!("{session}-{second}"), "kind": "exec", "line": text, "exit_status": status } });
    let outcome = json!({ "outcome": if status == 0 { "success" } else { "failure" }, "duration": 1 });
    let step =
        json!({ "id": "d", "step": { "kind": "remote", "line": text, "host": "10.0.0.1", "exit_status": status } });
    let of_target = json!({ "step": { "kind": "remote", "line": text, "exit_status": status } });
    vec![
        line("dev", second, "ssh-command-started", json!({ "ssh": command("s", "client"), "deploy": { "id": "d" } })),
        line("web", second, "ssh-command-started", json!({ "ssh": command("t", "server") })),
        line("web", second, "ssh-command-ended", json!({ "ssh": command("t", "server"), "event": outcome })),
        line(
            "web",
            second,
            "deploy-step",
            json!({ "deploy": of_target, "ssh": command("t", "server"), "event": outcome }),
        ),
        line(
            "dev",
            second,
            "ssh-command-ended",
            json!({ "ssh": command("s", "client"), "deploy": { "id": "d" }, "event": outcome }),
        ),
        line("dev", second, "deploy-step", json!({ "deploy": step, "ssh": command("s", "client"), "event": outcome })),
    ]
}

#[test]
fn a_command_told_by_four_records_is_shown_once() {
    let mut lines = vec![started("dev", 0, &json!({ "id": "d", "connections": ["c1"] }))];
    for (second, text, status) in [(1, "docker ps", 0), (2, "docker ps", 1), (3, "docker tag", 0), (4, "docker ps", 0)]
    {
        lines.extend(told_by_all(second, text, status));
    }
    let (_, nodes) = tree(&lines, "d");
    let [host] = nodes.as_slice() else { panic!("{nodes:#?}") };
    assert_eq!(
        (host.kind, host.line.as_str(), host.note.as_deref()),
        (Kind::Host, "10.0.0.1", Some("is web, connection c1"))
    );
    let shown: Vec<(&str, Option<u64>)> =
        host.children.iter().map(|node| (node.line.as_str(), node.exit_status)).collect();
    let expected = [("docker ps", Some(0)), ("docker ps", Some(1)), ("docker tag", Some(0)), ("docker ps", Some(0))];
    assert_eq!(shown, expected);
}

#[test]
fn one_side_alone_shows_the_same_commands() {
    let mut lines = vec![started("dev", 0, &json!({ "id": "d", "connections": ["c1"] }))];
    lines.extend((1..9).flat_map(|second| told_by_all(second, "true", 0)));
    let count = |keep: &dyn Fn(&String) -> bool| {
        let kept: Vec<String> = lines.iter().filter(|line| keep(line)).cloned().collect();
        tree(&kept, "d").1.first().map_or(0, |host| host.children.len())
    };
    assert_eq!(count(&|_| true), 8);
    assert_eq!(count(&|line| line.contains("\"name\":\"dev\"")), 8, "the deployer alone");
    assert_eq!(count(&|line| !line.contains("deploy-step")), 8, "SSH alone");
    assert_eq!(count(&|line| line.contains("deploy-st")), 8, "steps alone");
}

#[test]
fn a_host_that_is_deployer_and_target_counts_a_command_once() {
    let mut lines = vec![started("dev", 0, &json!({ "id": "d" }))];
    for (second, status) in [(1, 0), (2, 1), (3, 0)] {
        // The target's end bears the deployer's id: it is the same host.
        let told = told_by_all(second, "docker ps", status).into_iter().map(|line| {
            line.replace("\"web\"", "\"dev\"").replace("\"deploy\":{\"step\"", "\"deploy\":{\"id\":\"d\",\"step\"")
        });
        lines.extend(told);
    }
    let (deploy, nodes) = tree(&lines, "d");
    assert_eq!((deploy.steps, deploy.failed_steps), (3, 1));
    assert_eq!(nodes.iter().map(|host| host.children.len()).sum::<usize>(), 3);
}

#[test]
fn the_failing_step_is_the_one_quoted_then_the_last() {
    let failing = |end: Value| {
        let mut lines = vec![started("dev", 0, &json!({ "id": "d", "connections": ["c1"] }))];
        for (second, text) in [(1, "docker run a"), (2, "docker exec b"), (3, "docker stop c")] {
            lines.extend(told_by_all(second, text, 1));
        }
        lines.extend(told_by_all(4, "rm lock", 0));
        let mut end = end;
        end["event"] = json!({ "outcome": "failure" });
        end["deploy"]["id"] = "d".into();
        lines.push(line("dev", 5, "deploy-finished", end));
        let (_, nodes) = tree(&lines, "d");
        nodes
            .iter()
            .flat_map(|host| &host.children)
            .filter(|node| node.failing)
            .map(|node| node.line.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        failing(json!({ "deploy": {}, "error": { "message": "Exception: docker exec b exit status: 1" } })),
        ["docker exec b"]
    );
    assert_eq!(failing(json!({ "deploy": {} })), ["docker stop c"]);
}

fn depth(node: &Node) -> usize {
    1 + node.children.iter().map(depth).max().unwrap_or(0)
}

fn count(node: &Node) -> usize {
    usize::from(node.kind != Kind::Section) + node.children.iter().map(count).sum::<usize>()
}

#[test]
fn of_steps_that_failed_alike_the_one_on_the_host_of_the_error_is_marked() {
    let mut lines = vec![started("dev", 0, &json!({ "id": "d", "connections": ["c1", "c2"] }))];
    let elsewhere = |line: String| line.replace("c1", "c2").replace("10.0.0.1", "10.0.0.2");
    lines.extend(told_by_all(1, "docker run a", 1));
    lines.extend(told_by_all(2, "docker run a", 1).into_iter().map(elsewhere));
    let message = "`docker run a` ended with 1 on 10.0.0.1, and more";
    let event = json!({ "outcome": "failure" });
    let end = json!({ "deploy": { "id": "d" }, "event": event, "error": { "message": message } });
    lines.push(line("dev", 5, "deploy-finished", end));
    let (_, nodes) = tree(&lines, "d");
    let marked = nodes.iter().filter(|host| host.children.iter().any(|node| node.failing));
    assert_eq!(marked.map(|host| host.line.as_str()).collect::<Vec<_>>(), ["10.0.0.1"]);
}

#[test]
fn a_hostile_tree_of_processes_is_neither_deep_nor_endless() {
    let process = |n: usize, parent: usize| {
        let ids = json!({ "entity_id": format!("e{n}"), "command_line": format!("p{n}"), "parent": { "entity_id": format!("e{parent}") } });
        line("dev", 1, "process-started", json!({ "process": ids, "deploy": { "id": "d" } }))
    };
    let mut lines = vec![started("dev", 0, &json!({ "id": "d" }))];
    // A chain, then two that are each other's parent, then one that is its own.
    lines.extend((1..5000).map(|n| process(n, n - 1)));
    lines.extend([process(9001, 9002), process(9002, 9001), process(9003, 9003)]);
    let (_, nodes) = tree(&lines, "d");
    assert!(nodes.iter().map(depth).max() < Some(50));
    assert_eq!(nodes.iter().map(count).sum::<usize>(), 5002, "each is shown once");
}

#[test]
fn what_a_shell_becomes_stands_after_what_it_ran_before() {
    let deploy = json!({ "id": "d", "connections": ["c1"] });
    let ssh = json!({ "role": "server", "connection": { "id": "c1" }, "session": { "id": "s" }, "command": { "id": "s-1", "kind": "exec", "line": "rm a && rm -r b" } });
    let of = |second: i64, action: &str, entity: &str, parent: &str, text: &str| {
        let process =
            json!({ "entity_id": entity, "command_line": text, "exit_code": 0, "parent": { "entity_id": parent } });
        line("web", second, action, json!({ "ssh": ssh, "process": process }))
    };
    let lines = [
        started("dev", 0, &deploy),
        line("web", 1, "ssh-command-started", json!({ "ssh": ssh })),
        of(1, "process-started", "shell", "sshd", "bash -c rm a && rm -r b"),
        of(2, "process-started", "child", "shell", "rm a"),
        of(3, "process-ended", "child", "shell", "rm a"),
        of(3, "process-started", "shell", "sshd", "rm -r b"),
        of(5, "process-ended", "shell", "sshd", "rm -r b"),
        line("web", 5, "ssh-command-ended", json!({ "ssh": ssh })),
    ];
    let (_, tree) = tree(&lines, "d");
    let host = tree.iter().find(|node| node.host.is_some()).unwrap();
    let below: Vec<&str> = host.children[0].children.iter().map(|node| node.line.as_str()).collect();
    assert_eq!((host.children[0].line.as_str(), below), ("rm a && rm -r b", vec!["rm a", "rm -r b"]));
    assert_eq!(host.children[0].children[1].duration, Some(2_000_000_000));
}

#[test]
fn only_what_belongs_to_the_deploy_is_in_its_tree() {
    let own = |second, line_text: &str| {
        let ids = json!({ "entity_id": format!("e{second}"), "command_line": line_text });
        line("dev", second, "process-started", json!({ "process": ids, "deploy": { "id": "d" } }))
    };
    let lines = [
        started("dev", 0, &json!({ "id": "d", "connections": ["c1"] })),
        own(1, "git rev-parse HEAD"),
        // The same id on another host, another id, another connection.
        own(2, "elsewhere").replace("\"id\":\"dev\"", "\"id\":\"other\""),
        own(3, "another deploy").replace("\"id\":\"d\"", "\"id\":\"dd\""),
        line(
            "web",
            4,
            "process-started",
            json!({ "process": { "entity_id": "e4", "command_line": "another session" }, "ssh": { "connection": { "id": "c11" } } }),
        ),
        line(
            "web",
            5,
            "process-started",
            json!({ "process": { "entity_id": "e5", "command_line": "own" }, "ssh": { "connection": { "id": "c1" } } }),
        ),
    ];
    let (_, nodes) = tree(&lines, "d");
    let shown =
        |node: &Node| (node.line.clone(), node.children.iter().map(|child| child.line.clone()).collect::<Vec<_>>());
    let expected = [("dev".into(), vec!["git rev-parse HEAD".to_owned()]), ("web".into(), vec!["own".into()])];
    assert_eq!(nodes.iter().map(shown).collect::<Vec<_>>(), expected);
}

#[test]
fn filters_are_all_to_match() {
    let lines = [
        started("dev", 0, &json!({ "id": "a", "service": "x", "tool": "kamal", "performer": "p" })),
        line("dev", 9, "deploy-finished", json!({ "deploy": { "id": "a" }, "event": { "outcome": "failure" } })),
        started("dev", 20, &json!({ "id": "b", "service": "x", "tool": "helm" })),
    ];
    let found = deploys(&lines);
    let admitted = |filter: &Filter| {
        found.iter().filter(|deploy| filter.admits(deploy)).map(|deploy| deploy.id.as_str()).collect::<Vec<_>>()
    };
    let service = Filter { services: vec!["x".into(), "y".into()], ..Filter::default() };
    assert_eq!(admitted(&service), ["a", "b"]);
    assert_eq!(admitted(&Filter { tools: vec!["helm".into()], ..service.clone() }), ["b"]);
    assert_eq!(admitted(&Filter { failed: true, ..service.clone() }), ["a"]);
    assert_eq!(admitted(&Filter { users: vec!["p".into()], ..service.clone() }), ["a"]);
    assert_eq!(admitted(&Filter { since: Some(found[1].time()), ..service }), ["b"]);
    assert_eq!(found[0].outcome, Outcome::Failure);
}
