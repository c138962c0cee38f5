//! Secrets that a deploy handles: in argv, in the environment, on standard input, in files, in remote command lines, in
//! every shape. None is anywhere in what the sensor writes; which one was handled is.
//!
//! Every secret holds the same unguessable mark, so one search finds any of them: as it is, in base64 at each
//! alignment, in hexadecimal. Searched: records, recording, log, and what a terminal would show. That the search can
//! find is shown with a mark that is no secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;

use sensor_tests::{
    Folder, Machine, Trace,
    lab::random,
    project::{Hosts, assert_steps},
    running, sensor, wait,
};

/// Capitals and digits: it fits into every token format.
fn mark(kind: &str) -> String {
    format!("{kind}{}", random()[..10].to_uppercase())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let word = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(word >> shift & 63) as usize]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The mark in other clothes.
fn shapes(mark: &str) -> Vec<String> {
    let bytes = mark.as_bytes();
    let mut shapes = vec![mark.to_owned(), in_hex(bytes)];
    for skip in 0..3 {
        shapes.push(base64(&bytes[skip..skip + (bytes.len() - skip) / 3 * 3]));
    }
    shapes
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    shapes(mark).iter().any(|shape| memchr::memmem::find(bytes, shape.as_bytes()).is_some())
}

/// Name and value of what the project keeps secret: 20 shapes.
fn planted(m: &str) -> Vec<(&'static str, String)> {
    vec![
        ("KAMAL_REGISTRY_PASSWORD", format!("{m} with blanks, a \"quote\" and a $dollar")),
        ("RAILS_MASTER_KEY", format!("{m}00112233445566778899aabbccddeeff")),
        ("DATABASE_URL", format!("postgres://app:{m}@db.internal:5432/app?sslmode=require")),
        ("BUILD_TOKEN", format!("bt-{m}")),
        ("AWS_ACCESS_KEY_ID", format!("AKIA{m}ABCD")),
        ("AWS_SECRET_ACCESS_KEY", format!("wJalrXUtnFEMI/{m}/bPxRfiCY")),
        ("GITHUB_TOKEN", format!("ghp_{m}abcdefghijklmnop")),
        ("GITLAB_TOKEN", format!("glpat-{m}-abcdefgh")),
        ("SLACK_TOKEN", format!("xoxb-1234567890-{m}")),
        ("SESSION_JWT", format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0{m}.c2lnbmF0dXJl")),
        ("STRIPE_KEY", format!("sk_live_{m}abcdefgh")),
        ("DEPLOY_KEY_PEM", format!("-----BEGIN RSA PRIVATE KEY-----\nMIIE{m}\nabcd\n-----END RSA PRIVATE KEY-----")),
        ("MULTILINE_SECRET", format!("first line\n{m} second line\nthird")),
        ("ENCODED_SECRET", base64(format!("xx{m}{m}").as_bytes())),
        ("HEX_SECRET", in_hex(m.as_bytes())),
        ("SMTP_PASSWORD", format!("{m}'single'")),
        ("REDIS_URL", format!("rediss://:{m}@cache:6379/0")),
        ("SECRET_KEY_BASE", format!("{m}{m}{m}")),
        ("BEARER_TOKEN", format!("Bearer {m}.abc")),
        ("SENTRY_DSN", format!("https://{m}@sentry.example.test/1")),
    ]
}

#[test]
fn no_secret_of_a_deploy_is_anywhere_and_its_name_is_told() {
    let _machine = Machine::take();
    let folder = Folder::new("deploy-secrets");
    let hosts = Hosts::start(&folder);
    let project = hosts.project("myapp", None);
    let (secret, plain) = (mark("ZK"), mark("PK"));
    let planted = planted(&secret);
    assert_eq!(planted.len(), 20);
    let shell: Vec<(&str, String)> = planted.iter().map(|(name, value)| (*name, value.replace('\'', ""))).collect();
    project.secrets(&shell.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let names: Vec<&str> = planted.iter().map(|(name, _)| *name).collect();
    project.edit("secret: [RAILS_MASTER_KEY, DATABASE_URL]", &format!("secret: [{}]", names.join(", ")));
    // In the configuration, in clear: a variable of the container, a build argument.
    project.edit(
        "RAILS_ENV: production",
        &format!("RAILS_ENV: production, SMTP_PASSWORD: \"{secret} clear\", CACHE_URL: \"redis://u:{secret}@h/0\""),
    );
    project.edit(
        "arch: amd64",
        &format!("arch: amd64\n  args: {{ GREETING: \"{secret}\", BUNDLE_TOKEN: \"{secret} b\" }}"),
    );

    let recording = folder.join("recording");
    let trace = Trace::start(&folder, &["--record", recording.to_str().unwrap()]);
    let json = format!("{{\"RAILS_MASTER_KEY\":\"{secret}\",\"OTHER\":\"{secret} x\"}}");
    let lines = [
        format!("mysql -h db -p{secret} -e 'select 1'"),
        format!("curl -s -H 'Authorization: Bearer {secret}12345' https://user:{secret}@127.0.0.1:1/ || true"),
        format!("echo {secret} | docker login registry.example.test -u ci --password-stdin"),
        format!("API_KEY=\"{secret} a\" /bin/true"),
        format!("( export DB_PASSWORD='{secret}\nsecond' ; /bin/true )"),
        format!("docker run --rm -e DB_PASSWORD={secret} img sh -c 'psql postgres://u:{secret}@h/d'"),
        format!("/bin/true {plain}"),
    ];
    let mut runs = vec![project.kamal(&["deploy", "-d", "production"])];
    for line in &lines {
        runs.push(project.kamal(&["server", "exec", line, "-d", "production", "-h", "127.0.0.2"]));
    }
    let option = format!("API_TOKEN:{secret}");
    runs.push(project.kamal(&["app", "exec", "env", "-e", &option, "-d", "production", "--version", "1"]));
    runs.push(project.kamal(&["env", "push", "-d", "production"]));
    runs.push(project.kamal(&["registry", "login", "-d", "production"]));
    runs.push(project.kamal(&["secrets", "print", "-d", "production"]));
    runs.push(project.kamal(&["secrets", "extract", "RAILS_MASTER_KEY", &json, "-d", "production"]));
    wait::until("every deploy's end", || (trace.records().count("deploy-finished") >= runs.len()).then_some(()));
    let (records, log) = trace.stop();
    records.assert_nothing_lost();

    let table = running::succeed(sensor::command(&["replay", "--all"]).arg(&recording)).stdout;
    let (written, recorded) = (fs::read(folder.join("trace.json")).unwrap(), fs::read(&recording).unwrap());
    for (what, bytes) in [("records", &written), ("recording", &recorded), ("terminal output", &table)] {
        assert!(holds(bytes, &plain), "the search does not find what is in the {what}");
        for shape in shapes(&secret) {
            let at = memchr::memmem::find(bytes, shape.as_bytes());
            let shown = at.map(|at| {
                String::from_utf8_lossy(&bytes[at.saturating_sub(300)..(at + 60).min(bytes.len())]).into_owned()
            });
            assert_eq!(shown, None, "a secret is in the {what}");
        }
    }
    assert!(!holds(log.as_bytes(), &secret), "a secret is in the log: {log}");

    // What was handled is recorded by its name.
    let started: Vec<_> = records.of("deploy-started").filter(|record| record.text("deploy.tool") == "kamal").collect();
    assert_eq!(started.len(), runs.len());
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(started[0].list("deploy.secrets"), expected);
    assert_eq!(started.last().unwrap().list("deploy.secrets"), ["RAILS_MASTER_KEY"]);
    for (record, (_, log)) in started.iter().zip(&runs) {
        assert_steps(&records, record.text("deploy.id"), log);
    }
    let step = |kind: &str| records.of("deploy-step").find(|record| record.text("deploy.step.kind") == kind).unwrap();
    assert_eq!(step("registry-login").list("deploy.step.secrets"), ["KAMAL_REGISTRY_PASSWORD"]);
    assert_eq!(step("env").list("deploy.step.secrets"), expected);
    let build = step("build");
    assert_eq!(build.list("deploy.step.secrets"), ["BUILD_TOKEN"]);
    for name in ["GREETING=", "BUNDLE_TOKEN="] {
        assert!(build.text("deploy.step.line").contains(name), "{}", build.text("deploy.step.line"));
    }
    let recorded: String =
        records.of("deploy-step").map(|record| record.text("deploy.step.line").to_owned() + "\n").collect();
    for name in [
        "API_TOKEN=",
        "API_KEY=",
        "DB_PASSWORD=",
        "SMTP_PASSWORD=",
        "mysql -h db -p[REDACTED]",
        "redis://u:[REDACTED]@h/0",
    ] {
        assert!(recorded.contains(name), "{name} is not recorded");
    }
}
