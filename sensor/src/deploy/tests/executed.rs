//! What runs is a deploy, and not what calls itself one.

use super::super::classify_local;
use super::{argv, tools};

/// `tool verb`, or nothing.
fn brief(executable: &str, line: &str) -> String {
    let argv = argv(line);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let found = tools().recognise(&argv, Some(executable), &[]);
    found.map_or_else(|| "-".into(), |found| format!("{} {}", found.tool.name, found.verb))
}

#[test]
fn a_deploy_is_what_is_executed() {
    for (executable, line, expected) in [
        // `exec -a` names nothing.
        ("/usr/bin/sleep", "kamal deploy", "-"),
        ("/usr/bin/sleep", "sudo kamal deploy", "-"),
        ("/usr/bin/sleep", "/usr/local/bin/kamal deploy", "-"),
        ("/usr/bin/sleep", "docker run --rm ghcr.io/basecamp/kamal:v2 deploy", "-"),
        ("/usr/bin/python3.11", "kamal -c 'import time' deploy", "-"),
        ("/usr/bin/ruby3.1", "kamal -e 'sleep 1' deploy", "-"),
        ("/usr/bin/perl", "ruby -E 1 kamal deploy", "-"),
        ("/usr/bin/php8.2", "php -r 1 kamal deploy", "-"),
        ("/usr/bin/dash", "kamal -c deploy", "-"),
        ("/usr/bin/true", "ruby /usr/local/bin/kamal deploy", "-"),
        // And it hides nothing.
        ("/usr/bin/ruby3.1", "x /usr/local/bin/kamal deploy", "kamal deploy"),
        ("/usr/bin/ruby3.1", "/usr/bin/ruby3.1 -w /usr/local/bin/kamal deploy", "kamal deploy"),
        ("/usr/bin/env", "sleep ruby bin/kamal deploy", "kamal deploy"),
        ("/usr/local/bin/kamal", "x deploy", "kamal deploy"),
        ("/usr/bin/dash", "x /home/a/.rbenv/shims/kamal deploy", "kamal deploy"),
        ("/usr/bin/sudo", "ls -u deploy kamal deploy", "kamal deploy"),
        ("/usr/bin/kubectl1.28", "x apply -f a.yml", "kubectl apply"),
        ("/nix/store/x/bin/.helm-wrapped", "x upgrade a b", "helm upgrade"),
        // Programs that are what `args[0]` says.
        ("/usr/local/bin/k3s", "kubectl apply -f a.yml", "kubectl apply"),
        ("/usr/bin/busybox", "env kamal deploy", "kamal deploy"),
        ("/usr/bin/busybox", "sleep kamal deploy", "-"),
    ] {
        assert_eq!(brief(executable, line), expected, "{executable}: {line}");
    }
}

#[test]
fn a_step_is_what_is_executed() {
    let tool = tools().iter().find(|tool| &*tool.name == "kamal").unwrap().clone();
    for (executable, line, expected) in [
        ("/usr/bin/sleep", "docker login r -u u -p x", "local"),
        ("/usr/bin/docker", "sleep login r -u u -p x", "registry-login"),
        ("/usr/bin/git", "x rev-parse HEAD", "git"),
        ("/usr/bin/sleep", ".kamal/hooks/pre-deploy", "local"),
        ("/usr/bin/dash", "x .kamal/hooks/pre-deploy", "hook"),
        ("/app/.kamal/hooks/pre-deploy", ".kamal/hooks/pre-deploy", "hook"),
    ] {
        let argv = argv(line);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        assert_eq!(classify_local(&tool, &argv, Some(executable)).kind, expected, "{executable}: {line}");
    }
}

#[test]
fn secrets_are_those_of_the_tool_that_is_executed() {
    let removed = |executable: &str| {
        let mut args: Vec<Vec<u8>> = argv("kamal secrets extract A x").into_iter().map(String::into_bytes).collect();
        let executable = Some(executable.as_bytes());
        tools().redact(&mut args, executable, b"[REDACTED]")
    };
    assert_eq!(removed("/usr/local/bin/kamal"), removed("/nix/store/x/bin/.kamal-wrapped"));
    assert!(!removed("/usr/bin/python3.11"));
}
