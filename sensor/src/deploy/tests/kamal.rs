//! Kamal: every verb of 1.9.3 and 2.12.0, how its arguments are read, what its configuration says.

use super::{argv, brief, facts, project, recognise, recognise_with, tools};
use crate::event::deploy::{FileState, Project};

/// All verbs that `kamal help` and `kamal GROUP help` list, hidden ones included, in both versions.
#[rustfmt::skip]
const VERBS: &[(&str, &str)] = &[
    ("setup", "deploy"), ("deploy", "deploy"), ("redeploy", "deploy"), ("rollback", "rollback"), ("details", "inspect"), ("audit", "inspect"), ("config", "inspect"),
    ("docs", "-"), ("docs servers", "-"), ("help", "-"), ("help deploy", "-"), ("version", "-"), ("tree", "-"),
    ("init", "config-change"), ("envify", "secret"), ("remove", "maintenance"), ("upgrade", "maintenance"), ("downgrade", "maintenance"),
    ("accessory boot", "deploy"), ("accessory upload", "config-change"), ("accessory directories", "config-change"), ("accessory reboot", "maintenance"),
    ("accessory start", "maintenance"), ("accessory stop", "maintenance"), ("accessory restart", "maintenance"), ("accessory details", "inspect"), ("accessory exec", "exec"),
    ("accessory logs", "inspect"), ("accessory pull_image", "maintenance"), ("accessory remove", "maintenance"), ("accessory remove_container", "maintenance"),
    ("accessory remove_image", "maintenance"), ("accessory remove_service_directory", "maintenance"), ("accessory upgrade", "maintenance"), ("accessory downgrade", "maintenance"),
    ("app boot", "deploy"), ("app start", "maintenance"), ("app stop", "maintenance"), ("app details", "inspect"), ("app exec", "exec"), ("app containers", "inspect"),
    ("app stale_containers", "inspect"), ("app images", "inspect"), ("app logs", "inspect"), ("app remove", "maintenance"), ("app live", "maintenance"), ("app maintenance", "maintenance"),
    ("app remove_container", "maintenance"), ("app remove_containers", "maintenance"), ("app remove_images", "maintenance"), ("app remove_app_directories", "maintenance"), ("app version", "inspect"),
    ("build deliver", "maintenance"), ("build push", "maintenance"), ("build pull", "maintenance"), ("build create", "maintenance"), ("build remove", "maintenance"), ("build details", "inspect"), ("build dev", "maintenance"),
    ("env push", "secret"), ("env delete", "secret"),
    ("lock status", "inspect"), ("lock acquire", "lock"), ("lock release", "lock"),
    ("proxy boot", "maintenance"), ("proxy boot_config", "config-change"), ("proxy reboot", "maintenance"), ("proxy upgrade", "maintenance"), ("proxy start", "maintenance"), ("proxy stop", "maintenance"),
    ("proxy restart", "maintenance"), ("proxy details", "inspect"), ("proxy logs", "inspect"), ("proxy remove", "maintenance"), ("proxy remove_container", "maintenance"),
    ("proxy remove_image", "maintenance"), ("proxy remove_proxy_directory", "maintenance"),
    ("prune all", "maintenance"), ("prune images", "maintenance"), ("prune containers", "maintenance"),
    ("registry setup", "secret"), ("registry remove", "secret"), ("registry login", "secret"), ("registry logout", "secret"),
    ("secrets fetch", "secret"), ("secrets extract", "secret"), ("secrets print", "secret"),
    ("server bootstrap", "maintenance"), ("server exec", "exec"),
    ("traefik boot", "maintenance"), ("traefik reboot", "maintenance"), ("traefik start", "maintenance"), ("traefik stop", "maintenance"), ("traefik restart", "maintenance"),
    ("traefik details", "inspect"), ("traefik logs", "inspect"), ("traefik remove", "maintenance"), ("traefik remove_container", "maintenance"), ("traefik remove_image", "maintenance"), ("traefik downgrade", "maintenance"),
];

#[test]
fn every_verb_of_kamal_1_and_2_has_its_action() {
    for (verb, action) in VERBS {
        let expected = if *action == "-" { "-".to_owned() } else { format!("kamal | {verb} | {action}") };
        assert_eq!(brief(&format!("kamal {verb}")), expected);
        assert_eq!(brief(&format!("/usr/bin/ruby3.1 /usr/local/bin/kamal {verb} -d production")), expected);
    }
    // The definition has no verb that this table has not.
    let tools = tools();
    let tool = tools.iter().find(|tool| &*tool.name == "kamal").unwrap();
    for verb in tool.definition.verbs.keys() {
        assert!(VERBS.iter().any(|(known, _)| known == verb), "{verb} is not in the table");
    }
}

#[test]
fn what_no_version_knows_is_unknown_and_not_lost() {
    for (line, expected) in [
        ("kamal frobnicate x", "kamal | frobnicate | unknown"),
        ("kamal app frobnicate", "kamal | app frobnicate | unknown"),
        ("kamal plugin:deploy", "kamal | plugin:deploy | unknown"),
        ("bundle exec kamal plugin:deploy -d production", "kamal | plugin:deploy | unknown"),
        ("docker run --rm ghcr.io/basecamp/kamal:v3.0.0 promote staging", "kamal | promote | unknown"),
    ] {
        assert_eq!(brief(line), expected);
    }
}

#[test]
fn kamal_is_recognised_however_it_is_started() {
    for line in [
        "kamal deploy",
        "/usr/local/bin/kamal deploy",
        "/usr/bin/ruby3.1 /usr/local/bin/kamal deploy",
        "/usr/bin/env ruby bin/kamal deploy",
        "ruby ./bin/kamal deploy",
        "bundle exec kamal deploy",
        "/usr/bin/ruby3.1 /usr/bin/bundle exec kamal deploy",
        "bash /home/a/.rbenv/shims/kamal deploy",
        "bash /home/a/.rbenv/libexec/rbenv exec kamal deploy",
        "bash /home/a/.rbenv/libexec/rbenv-exec kamal deploy",
        "bash /home/a/.asdf/shims/kamal deploy",
        "asdf exec kamal deploy",
        "mise exec ruby@3.3 -- kamal deploy",
        "mise x -- kamal deploy",
        "mise exec -- bundle exec kamal deploy",
        "/root/.local/share/mise/installs/ruby/3.3.0/bin/ruby /root/.local/share/mise/installs/ruby/3.3.0/bin/kamal deploy",
        "/home/a/.rbenv/versions/3.3.0/bin/ruby /home/a/.rbenv/versions/3.3.0/bin/kamal deploy",
        "ruby bin/kamal deploy --skip-push",
        "bundle exec --keep-file-descriptors kamal deploy",
        "sudo -u deploy -E kamal deploy",
        "nohup kamal deploy",
        "docker run -it --rm -v /a:/workdir -v /run/host-services/ssh-auth.sock:/x -e SSH_AUTH_SOCK=/x ghcr.io/basecamp/kamal:v2.3.0 deploy",
        "docker run --rm -v /a:/a ruby:3.3 bundle exec kamal deploy",
        "docker exec -it ci kamal deploy",
        "kamal dep",
    ] {
        assert_eq!(brief(line), "kamal | deploy | deploy", "{line}");
    }
}

#[test]
fn the_version_of_kamal_is_what_its_path_its_image_or_the_lock_file_says() {
    let lock = [("Gemfile.lock", "GEM\n  specs:\n    kamal (2.12.0)\n      sshkit (>= 1.23)\n")];
    for (line, expected) in [
        ("ruby /var/lib/gems/3.1.0/gems/kamal-2.3.0/exe/kamal deploy", Some("2.3.0")),
        ("docker run --rm ghcr.io/basecamp/kamal:v2.2.1 deploy", Some("2.2.1")),
        ("docker run --rm ghcr.io/basecamp/kamal deploy", None),
        // The lock file counts where Bundler is asked, and only there.
        ("bundle exec kamal deploy", Some("2.12.0")),
        ("ruby bin/kamal deploy", Some("2.12.0")),
        ("ruby ./bin/kamal deploy", Some("2.12.0")),
        ("ruby ../other/bin/kamal deploy", None),
        ("ruby /usr/local/bin/kamal deploy", None),
        ("kamal deploy", None),
    ] {
        let project = project(line, &lock);
        assert!(project.files.iter().all(|file| file.path != "Gemfile.lock"), "{line}: it is no configuration");
        let found = recognise(line).unwrap();
        assert_eq!(found.tool_version(Some(&facts(project))).as_deref(), expected, "{line}");
    }
    let mut found = recognise("ruby /srv/shop/bin/kamal deploy").unwrap();
    found.in_folder("/srv/sh");
    assert!(super::super::wanted(&found).iter().all(|file| file.locks.is_none()));
    found.in_folder("/srv/shop");
    assert!(super::super::wanted(&found).iter().any(|file| file.locks.as_deref() == Some("kamal")));
}

#[test]
fn what_only_shows_help_is_no_deploy() {
    for line in [
        "kamal",
        "kamal -h",
        "kamal --help",
        "kamal --version",
        "kamal -v",
        "kamal app",
        "kamal app help",
        "kamal app help exec",
        "kamal deploy --help",
        "kamal app exec --help",
        "kamal app -d production",
        // Thor takes an option in the verb's place for a question.
        "kamal -d production deploy",
        "kamal version",
        "bundle exec kamal version",
        "docker run --rm ghcr.io/basecamp/kamal version",
        "rbenv which kamal",
        "gem install kamal",
        "bundle show kamal",
        "vim kamal",
        "less bin/kamal",
        "grep -r kamal deploy",
        "which kamal",
        "bash -c 'kamal deploy'",
        "ruby -e 'puts 1' kamal deploy",
        "git clone https://github.com/basecamp/kamal",
        "docker pull ghcr.io/basecamp/kamal",
        "docker build -t kamal .",
        "docker images kamal",
    ] {
        assert_eq!(brief(line), "-", "{line}");
    }
}

#[test]
fn arguments_are_read_as_thor_reads_them() {
    let line = "kamal deploy -d production --version=abc123 -P -h 1.1.1.1,2.2.2.2 --roles web,job -q";
    let found = recognise(line).unwrap();
    assert_eq!(found.destination(None).as_deref(), Some("production"));
    assert_eq!(found.version(None).as_deref(), Some("abc123"));
    assert_eq!(found.hosts(None), ["1.1.1.1", "2.2.2.2"]);
    assert_eq!(found.roles(None), ["web", "job"]);

    let found = recognise("kamal rollback 5f95e7b -d staging").unwrap();
    assert_eq!(
        (found.version(None).as_deref(), found.destination(None).as_deref()),
        (Some("5f95e7b"), Some("staging"))
    );
    // `-H` is `--skip-hooks` and takes no value; `-h` is `--hosts` and does.
    for line in [
        "kamal deploy -H -d production -r web -h 1.1.1.1 --version abc123",
        "kamal deploy -Hd production -rweb -h1.1.1.1 --version=abc123",
        "bundle exec kamal deploy --skip-hooks --roles=web --hosts=1.1.1.1 --destination=production --version abc123 -v",
        "docker run --rm -e A=b ghcr.io/basecamp/kamal:v2.3.0 deploy -H -d production -r web -h 1.1.1.1 --version abc123",
        "mise exec -- kamal deploy -d production -q -h 1.1.1.1 -r web --version abc123 -c config/deploy.yml",
    ] {
        let found = recognise(line).unwrap();
        let one = |list: Vec<String>| list.join(",");
        let recorded = (found.destination(None), found.version(None), one(found.hosts(None)), one(found.roles(None)));
        let recorded = (recorded.0.as_deref(), recorded.1.as_deref(), recorded.2.as_str(), recorded.3.as_str());
        assert_eq!(recorded, (Some("production"), Some("abc123"), "1.1.1.1", "web"), "{line}");
    }
    // Options may stand between the words of a verb.
    assert_eq!(brief("kamal app -d production exec 'bin/rails c'"), "kamal | app exec | exec");
    assert_eq!(brief("kamal app stale-containers --stop"), "kamal | app stale_containers | maintenance");
    assert_eq!(recognise("kamal deploy --destination staging").unwrap().destination(None).as_deref(), Some("staging"));
    assert_eq!(recognise("kamal app exec --primary -p env").unwrap().version(None), None);
    let found = recognise("kamal secrets extract RAILS_MASTER_KEY '{}'").unwrap();
    assert_eq!(found.secrets(None), ["RAILS_MASTER_KEY"]);
}

#[test]
fn aliases_stand_for_what_the_project_says() {
    let aliases = [
        ("console".to_owned(), "app exec -i --reuse \"bin/rails console\"".to_owned()),
        ("ship".to_owned(), "deploy -P -d staging".to_owned()),
        ("loop".to_owned(), "loop".to_owned()),
        ("deploy".to_owned(), "audit".to_owned()),
    ];
    let found = recognise_with("kamal console -d production", &aliases).unwrap();
    assert_eq!((found.verb.as_str(), found.destination(None).as_deref()), ("app exec", Some("production")));
    let found = recognise_with("kamal ship", &aliases).unwrap();
    assert_eq!((found.verb.as_str(), found.destination(None).as_deref()), ("deploy", Some("staging")));
    assert_eq!(recognise_with("kamal loop", &aliases).unwrap().kind.name(), "unknown");
    // A verb of its own is not an alias, nor is the beginning of one: `kamal up` is `kamal upgrade`.
    assert_eq!(recognise_with("kamal deploy", &aliases).unwrap().verb, "deploy");
}

const DEPLOY: &str = r#"
service: myapp
image: acme/myapp
x-defaults: &defaults
  options: { memory: 1g }
servers:
  web:
    <<: *defaults
    hosts:
      - 192.0.2.1
      - 192.0.2.2: experiments
  job:
    hosts: [192.0.2.3]
    env: { secret: [JOB_TOKEN] }
registry:
  server: registry.example.test
  username: ciuser
  password:
    - KAMAL_REGISTRY_PASSWORD
env:
  clear: { DB_HOST: db, PLAIN: "s3cr3t-in-clear" }
  secret:
    - RAILS_MASTER_KEY
    - DATABASE_URL:PRODUCTION_DATABASE_URL
    - "not a name = x"
builder: { arch: amd64, secrets: [BUILD_TOKEN] }
accessories:
  db: { image: postgres, env: { secret: [POSTGRES_PASSWORD] } }
aliases:
  console: app exec -i --reuse "bin/rails console"
"#;

#[test]
fn a_projects_configuration_is_read_and_merged() {
    let files = [
        ("config/deploy.yml", DEPLOY),
        ("config/deploy.production.yml", "service: myapp-pro\nservers:\n  web:\n    hosts: [198.51.100.7]\n"),
        (".kamal/secrets-common", "X=y"),
        (".kamal/secrets.production", "X=y"),
    ];
    let line = "kamal deploy -d production";
    let project = project(line, &files);
    let states: Vec<String> = project.files.iter().map(|file| format!("{} {}", file.path, file.state.name())).collect();
    assert_eq!(
        states,
        [
            "config/deploy.yml read",
            "config/deploy.production.yml read",
            ".kamal/secrets-common read",
            ".kamal/secrets.production read",
            ".env.production missing",
        ]
    );
    assert_eq!(project.service.as_deref(), Some("myapp-pro"));
    assert_eq!(project.registry.as_deref(), Some("registry.example.test"));
    let roles: Vec<(&str, Vec<&str>)> =
        project.roles.iter().map(|(role, hosts)| (role.as_str(), hosts.iter().map(String::as_str).collect())).collect();
    assert_eq!(roles, [("job", vec!["192.0.2.3"]), ("web", vec!["198.51.100.7"])]);
    assert_eq!(
        project.secrets,
        [
            "BUILD_TOKEN",
            "JOB_TOKEN",
            "KAMAL_REGISTRY_PASSWORD",
            "POSTGRES_PASSWORD",
            "PRODUCTION_DATABASE_URL",
            "RAILS_MASTER_KEY"
        ]
    );
    assert!(!format!("{project:?}").contains("s3cr3t"), "a value of the configuration was kept");
    let facts = facts(project);
    let found = recognise(line).unwrap();
    assert_eq!(found.service(Some(&facts)).as_deref(), Some("myapp-pro"));
    assert_eq!(found.hosts(Some(&facts)), ["192.0.2.3", "198.51.100.7"]);
    assert_eq!(recognise("kamal deploy -r web").unwrap().hosts(Some(&facts)), ["198.51.100.7"]);
    assert_eq!(recognise("kamal deploy -h '192.*'").unwrap().hosts(Some(&facts)), ["192.0.2.3"]);
    assert_eq!(recognise("kamal deploy -r 'j*'").unwrap().roles(Some(&facts)), ["job"]);
}

#[test]
fn a_destinations_file_without_anything_in_it_changes_nothing() {
    let files = [("config/deploy.yml", "service: a\n"), ("config/deploy.x.yml", "# nothing\n")];
    assert_eq!(project("kamal deploy -d x", &files).service.as_deref(), Some("a"));
}

#[test]
fn a_list_of_servers_is_the_web_role() {
    let project = project("kamal deploy", &[("config/deploy.yml", "service: a\nservers: [h1, {h2: tag}]\n")]);
    assert_eq!(project.roles, [("web".to_owned(), vec!["h1".to_owned(), "h2".to_owned()])]);
}

#[test]
fn a_password_in_the_configuration_is_never_read() {
    let text = "service: a\nregistry: {username: u, password: hunter2-registry}\nenv: {secret: plain-hunter3}\nbuilder: {secrets: {A: hunter4}}\n";
    let project = project("kamal deploy", &[("config/deploy.yml", text)]);
    assert!(!format!("{project:?}").contains("hunter"), "{project:?}");
}

#[test]
fn files_that_cannot_be_read_are_said_to_be() {
    for text in ["[[[", "a: *b\n", "- x\n  y: z\n w", "\u{0}", "service: [a"] {
        let project = project("kamal deploy", &[("config/deploy.yml", text)]);
        assert_eq!(project.files[0].state, FileState::Invalid, "{text:?}");
        assert_eq!(project.service, None);
    }
    let other = project("kamal deploy -c /etc/kamal/x.yml -d ../../etc/passwd", &[]);
    assert_eq!(other.files[0].path, "/etc/kamal/x.yml");
    assert_eq!(
        project("kamal deploy", &[("config/deploy.yml", "42\n")]),
        Project {
            files: project("kamal deploy", &[("config/deploy.yml", "service: a\n")]).files,
            ..Project::default()
        }
    );
}

#[test]
fn what_secrets_extract_is_given_is_removed() {
    let line =
        r#"ruby /usr/bin/kamal secrets extract KAMAL_REGISTRY_PASSWORD '{"KAMAL_REGISTRY_PASSWORD":"pw-1"}' --inline"#;
    let mut args: Vec<Vec<u8>> = argv(line).into_iter().map(String::into_bytes).collect();
    assert!(tools().redact(&mut args, None, b"[REDACTED]"));
    assert_eq!((args[4].as_slice(), args[5].as_slice()), (&b"KAMAL_REGISTRY_PASSWORD"[..], &b"[REDACTED]"[..]));
    assert!(!tools().redact(&mut args, None, b"[REDACTED]"), "twice is once");
}
