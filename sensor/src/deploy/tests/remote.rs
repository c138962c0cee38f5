//! Remote commands: what Kamal 2.12.0 and 1.9.3 were seen to send, line by line.

use super::super::{ClassifiedStep, Tool, classify, classify_local};
use super::tools;
use std::sync::Arc;

fn kamal() -> Arc<Tool> {
    tools().iter().find(|tool| &*tool.name == "kamal").unwrap().clone()
}

/// `kind service/destination/role version container-or-prefix`, `.` for absent.
fn brief(found: &ClassifiedStep) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| ".".into());
    let name = found.container.clone().or_else(|| found.prefix.clone());
    format!(
        "{} {}/{}/{} {} {}",
        found.kind,
        text(&found.service),
        text(&found.destination),
        text(&found.role),
        text(&found.version),
        text(&name)
    )
}

const FILTERS: &str = "--filter label=service=myapp --filter label=destination=production --filter label=role=web";

#[rustfmt::skip]
fn deploy() -> Vec<(String, &'static str)> {
    let inner = format!("docker ps --latest --format '\\''{{{{.Names}}}}'\\'' {FILTERS} --filter status=running --filter status=restarting");
    vec![
        (r#"docker login registry.example.test -u "ciuser" -p "[REDACTED]""#.into(), "registry-login ././. . ."),
        (r#"/usr/bin/env mkdir -p .kamal && echo "[2026-11-21T21:18:44Z] [dev@example.test] [production] Pulled image with version 5f95e7b" >> .kamal/myapp-production-audit.log"#.into(), "audit myapp/production/. 5f95e7b ."),
        ("docker image rm --force registry.example.test/acme/myapp:5f95e7b".into(), "clean ././. 5f95e7b ."),
        ("docker pull registry.example.test/acme/myapp:5f95e7b".into(), "pull ././. 5f95e7b ."),
        (r#"docker inspect -f '{{ .Config.Labels.service }}' registry.example.test/acme/myapp:5f95e7b | grep -x myapp || (echo "Image registry.example.test/acme/myapp:5f95e7b is missing the 'service' label" && exit 1)"#.into(), "validate myapp/./. 5f95e7b ."),
        ("/usr/bin/env mkdir -p .kamal".into(), "directory ././. . ."),
        ("/usr/bin/env mkdir .kamal/lock-myapp-production && echo \"TG9ja2VkIGJ5OiBEZXYgRWxvcGVy\n\" > .kamal/lock-myapp-production/details".into(), "lock ././. . ."),
        ("docker network create kamal".into(), "network ././. . ."),
        ("docker inspect kamal-proxy --format '{{.Config.Image}}' | awk -F: '{print $NF}'".into(), "proxy ././. . ."),
        ("/usr/bin/env mkdir -p .kamal/proxy/apps-config".into(), "directory ././. . ."),
        (r#"docker container start kamal-proxy || echo $(cat .kamal/proxy/options 2> /dev/null || echo "--publish 80:80 --publish 443:443 --log-opt max-size=10m") $(cat .kamal/proxy/image 2> /dev/null || echo "basecamp/kamal-proxy"):$(cat .kamal/proxy/image_version 2> /dev/null || echo "v0.9.2") $(cat .kamal/proxy/run_command 2> /dev/null || echo "") | xargs docker run --name kamal-proxy --network kamal --detach --restart unless-stopped --volume kamal-proxy-config:/home/kamal-proxy/.config/kamal-proxy"#.into(), "proxy ././. . ."),
        (format!(r#"docker ps {FILTERS} --format "{{{{.Names}}}}" | while read line; do echo ${{line#myapp-web-production-}}; done"#), "inspect myapp/production/web . ."),
        (format!("/usr/bin/env sh -c '{inner} --filter ancestor=$(docker image ls --filter reference=registry.example.test/acme/myapp:latest-production --format '\\''{{{{.ID}}}}'\\'') ; {inner}' | head -1 | while read line; do echo ${{line#myapp-web-production-}}; done"), "inspect myapp/production/web . ."),
        ("docker container ls --all --filter 'name=^myapp-web-production-5f95e7b$' --quiet".into(), "lookup ././. . myapp-web-production-5f95e7b"),
        (r#"/usr/bin/env mkdir -p .kamal && echo "[2026-11-21T21:18:45Z] [dev@example.test] [production] [web] Renaming container 5f95e7b to 5f95e7b_replaced_1baff0f88c8811ea" >> .kamal/myapp-production-audit.log"#.into(), "audit myapp/production/web . ."),
        ("docker rename myapp-web-production-5f95e7b myapp-web-production-5f95e7b_replaced_1baff0f88c8811ea".into(), "rename ././. . myapp-web-production-5f95e7b"),
        (r#"/usr/bin/env mkdir -p .kamal && echo "[2026-11-21T21:18:45Z] [dev@example.test] [production] [web] Booted app version 5f95e7b" >> .kamal/myapp-production-audit.log"#.into(), "audit myapp/production/web 5f95e7b ."),
        ("/usr/bin/env mkdir -p .kamal/apps/myapp-production/env/roles".into(), "directory ././. . ."),
        ("scp -t .kamal/apps/myapp-production/env/roles/web.env".into(), "env ././web . ."),
        (r#"docker run --detach --restart unless-stopped --name myapp-web-production-5f95e7b --network kamal --hostname 127.0.0.1-24abb4868acb --env KAMAL_CONTAINER_NAME="myapp-web-production-5f95e7b" --env KAMAL_VERSION="5f95e7b" --env KAMAL_HOST="127.0.0.1" --env KAMAL_DESTINATION="production" --env RAILS_ENV="production" --env-file .kamal/apps/myapp-production/env/roles/web.env --log-opt max-size="10m" --label service="myapp" --label role="web" --label destination="production" registry.example.test/acme/myapp:5f95e7b"#.into(), "boot myapp/production/web 5f95e7b myapp-web-production-5f95e7b"),
        (r#"docker exec kamal-proxy kamal-proxy deploy myapp-web-production --target="0123456789ab:80" --host="app.example.test" --deploy-timeout="5s" --drain-timeout="1s" --health-check-path="/up" --buffer-requests"#.into(), "switch ././. . myapp-web-production"),
        ("docker container ls --all --filter 'name=^myapp-web-production-aaaaaaa$' --quiet | xargs docker stop".into(), "stop ././. . myapp-web-production-aaaaaaa"),
        (r#"/usr/bin/env mkdir -p .kamal && echo "[2026-11-21T21:18:46Z] [dev@example.test] [production] Tagging registry.example.test/acme/myapp:5f95e7b as the latest image" >> .kamal/myapp-production-audit.log"#.into(), "audit myapp/production/. . ."),
        ("docker tag registry.example.test/acme/myapp:5f95e7b registry.example.test/acme/myapp:latest-production".into(), "tag ././. 5f95e7b ."),
        ("docker ps -q -a --filter label=service=myapp --filter status=created --filter status=exited --filter status=dead | tail -n +6 | while read container_id; do docker rm $container_id; done".into(), "prune myapp/./. . ."),
        ("docker image prune --force --filter label=service=myapp".into(), "prune myapp/./. . ."),
        (r#"docker image ls --filter label=service=myapp --format '{{.ID}} {{.Repository}}:{{.Tag}}' | grep -v -w "$(docker container ls -a --format '{{.Image}}\|' --filter label=service=myapp | tr -d '\n')registry.example.test/acme/myapp:latest-production" | while read image tag; do docker rmi $tag; done"#.into(), "prune myapp/./. . ."),
        ("/usr/bin/env rm .kamal/lock-myapp-production/details && rm -r .kamal/lock-myapp-production".into(), "unlock ././. . ."),
    ]
}

#[rustfmt::skip]
fn others() -> Vec<(String, &'static str)> {
    vec![
        // After a failure.
        ("docker container ls --all --filter 'name=^myapp-web-production-5f95e7b$' --quiet | xargs docker logs --timestamps 2>&1".into(), "health-log ././. . ."),
        ("docker container ls --all --filter 'name=^myapp-web-production-5f95e7b$' --quiet | xargs docker inspect --format '{{json .State.Health}}'".into(), "health-log ././. . ."),
        ("docker container ls --all --filter 'name=^myapp-job-production-5f95e7b$' --quiet | xargs docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}'".into(), "health ././. . myapp-job-production-5f95e7b"),
        (format!("/usr/bin/env sh -c 'docker ps --latest --quiet {FILTERS}' | head -1 | xargs docker stop"), "stop myapp/production/web . ."),
        // exec, audit, lock, app.
        (r#"/usr/bin/env mkdir -p .kamal && echo "[2026-11-21T21:20:00Z] [dev@example.test] [production] Executed cmd 'uptime; echo \$HOME' on 127.0.0.1" >> .kamal/myapp-production-audit.log"#.into(), "audit myapp/production/. . ."),
        ("docker run --rm --name myapp-web-production-exec-latest-production-713b25 --network kamal --env-file x r/acme/myapp:latest-production bin/rails about".into(), "exec ././. . myapp-web-production"),
        ("docker exec myapp-web-production-5f95e7b bin/rails about".into(), "exec ././. . myapp-web-production-5f95e7b"),
        ("uptime; echo $HOME".into(), "remote ././. . ."),
        ("/usr/bin/env tail -n 50 .kamal/myapp-production-audit.log".into(), "audit-read ././. . ."),
        ("/usr/bin/env stat .kamal/lock-myapp-production > /dev/null && cat .kamal/lock-myapp-production/details | base64 -d".into(), "lock-read ././. . ."),
        ("docker exec kamal-proxy kamal-proxy remove myapp-web-production".into(), "proxy ././. . ."),
        ("docker ps --filter 'name=^kamal-proxy$'".into(), "proxy ././. . ."),
        ("docker logout registry.example.test".into(), "registry-logout ././. . ."),
        ("docker rename myapp-web-production-a myapp-web-production-b".into(), "rename ././. . myapp-web-production-a"),
        // Kamal 1.
        ("/usr/bin/env echo [2026-11-21T21:18:44Z] [dev@example.test] [staging] Pushed env files >> .kamal/oldapp-staging-audit.log".into(), "audit oldapp/staging/. . ."),
        ("scp -t .kamal/env/roles/oldapp-web-staging.env".into(), "env ././. . oldapp-web-staging"),
        ("scp -t .kamal/env/traefik/traefik.env".into(), "env ././. . ."),
        ("/usr/bin/env mkdir .kamal/locks/oldapp-staging && echo \"eA==\" > .kamal/locks/oldapp-staging/details".into(), "lock ././. . ."),
        // As SSHKit wraps it.
        (r#"( export A="b" ; /usr/bin/env docker pull r/a:1 )"#.into(), "pull ././. 1 ."),
        ("cd /srv && /usr/bin/env docker pull r/a:1".into(), "pull ././. 1 ."),
        // Anything.
        (String::new(), "remote ././. . ."),
        ("(((".into(), "remote ././. . ."),
        ("echo x >> .kamal/-audit.log".into(), "remote ././. . ."),
    ]
}

#[test]
fn every_command_of_a_deploy_is_a_step_of_its_kind() {
    let tool = kamal();
    let wrong: Vec<String> = deploy()
        .into_iter()
        .chain(others())
        .map(|(line, expected)| (brief(&classify(&tool, &line)), line, expected))
        .filter(|(found, _, expected)| found != expected)
        .map(|(found, line, expected)| format!("{line}\n  is       {found}\n  expected {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_audit_line_names_who_did_it() {
    let line = r#"/usr/bin/env mkdir -p .kamal && echo "[t] [dev@example.test] [web] Booted app version 1" >> .kamal/my-app-audit.log"#;
    let found = classify(&kamal(), line);
    assert_eq!(found.performer.as_deref(), Some("dev@example.test"));
    // No destination: the third tag is the role, as the log is not named after it.
    assert_eq!(
        (found.service.as_deref(), found.destination, found.role.as_deref()),
        (Some("my-app"), None, Some("web"))
    );
    let quoted = r#"mkdir -p .kamal && echo "[t] [p] Executed cmd 'echo KAMAL_VERSION=x Booted app version 9' on h" >> .kamal/a-audit.log"#;
    assert_eq!(classify(&kamal(), quoted).version, None);
}

#[test]
fn marks_and_common_commands_are_told_apart() {
    let tool = kamal();
    let marked = |line: &str| classify(&tool, line).marked;
    assert!(marked("docker exec kamal-proxy kamal-proxy deploy a-web --target=x"));
    assert!(marked("docker ps --filter label=service=a"));
    assert!(marked("/usr/bin/env mkdir .kamal/lock-a && echo x > .kamal/lock-a/details"));
    for common in [
        "docker login r -u u -p x",
        "docker ps",
        "docker pull a",
        "uptime",
        "docker run --name x y",
        "tail -f log",
        "mkdir -p x",
        // What people and scripts run on a host without any such tool.
        "docker image prune --force",
        "docker image rm old",
        "docker ps -q | xargs docker stop",
        "docker ps -q | xargs docker logs",
        "docker logs traefik",
        "docker restart kamal-proxy",
        "curl -fsSL https://get.docker.com | sh",
        "sudo usermod -aG docker me",
        "tail -n 50 log/my-audit.log",
        "echo checked >> log/my-audit.log",
        "docker container ls --filter name=^web$ --quiet",
    ] {
        assert!(!marked(common), "{common}");
    }
}

#[test]
fn what_people_run_is_no_mark_of_another_tool_either() {
    let capistrano = tools().iter().find(|tool| &*tool.name == "capistrano").unwrap().clone();
    for line in [
        "git clone --mirror a b",
        "git remote update",
        "mkdir -p apps/releases/1",
        "mv apps/current old",
        "git archive main | tar t",
    ] {
        assert!(!classify(&capistrano, line).marked, "{line}");
    }
    assert!(classify(&capistrano, "ln -s /srv/a/releases/20240101 /srv/a/releases/current").marked);
}

#[test]
fn local_children_are_steps() {
    let tool = kamal();
    let kind = |argv: &[&str]| {
        let found = classify_local(&tool, argv, None);
        // What a project calls its secrets is the project's to say.
        let secrets: Vec<String> = found.secrets.into_iter().filter(|name| !name.starts_with("config:")).collect();
        (found.kind, found.hook, found.version, secrets)
    };
    let none = || (None, None, Vec::new());
    let with = |kind: &str, (hook, version, secrets)| (kind.to_owned(), hook, version, secrets);
    assert_eq!(kind(&["/usr/bin/git", "rev-parse", "HEAD"]), with("git", none()));
    assert_eq!(kind(&["/usr/bin/env", "git", "clone", "/app"]), with("git", none()));
    let hook = (Some("pre-deploy".to_owned()), None, Vec::new());
    assert_eq!(kind(&["/bin/sh", ".kamal/hooks/pre-deploy"]), with("hook", hook.clone()));
    assert_eq!(kind(&["/usr/bin/env", ".kamal/hooks/pre-deploy"]), with("hook", hook.clone()));
    assert_eq!(kind(&["/usr/bin/ruby3.1", "/app/.kamal/hooks/pre-deploy"]), with("hook", hook));
    let build = r#"docker buildx build --output=type=registry --platform linux/amd64 -t r/acme/myapp:5f95e7b -t r/acme/myapp:latest-production --label service="myapp" --build-arg RUBY_VERSION="3.3" --secret id="BUILD_TOKEN" --secret id="NPM_TOKEN" --file Dockerfile . 2>&1"#;
    let expected = (None, Some("5f95e7b".to_owned()), vec!["BUILD_TOKEN".to_owned(), "NPM_TOKEN".to_owned()]);
    assert_eq!(kind(&["sh", "-c", build]), with("build", expected));
    assert_eq!(kind(&["sh", "-c", "docker --version && docker buildx version"]).0, "local");
    assert_eq!(kind(&["docker", "login", "r", "-u", "u", "-p", "[REDACTED]"]), with("registry-login", none()));
    assert_eq!(kind(&["sleep", "1"]), with("local", none()));
    assert_eq!(kind(&[]), with("", none()));
}
