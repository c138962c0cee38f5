//! Input made to hurt: nesting, open quotes, random mixtures, and the time it takes.

use std::time::{Duration, Instant};

use super::{argv, check_args, check_line, redact_line_slowly, show};

const SIZE: usize = 32 * 1024;

/// Unoptimised and on a busy machine; a quadratic pass over 32 KiB takes tens of seconds here.
const PATIENCE: Duration = Duration::from_secs(20);

#[rustfmt::skip]
const UNITS: &[&str] = &[
    "'", "\"", "\\", "\\\"", "$(", "`", "`'", "\"$(", "${", "$((", "(", ")", "{", "[", "<<a ", "<<a\n", "<<<", "|",
    "&", ";", "password=", "password: ", "\"password\":", "\"password\":\"", "\"password\":[", "password=\"",
    "password='", "secrets=/etc/", "secrets=/etc/ ", "token=a,", "token=a&b", "://", "://a:b", "://a:b/",
    "https://a@", "sk-", "ghp_", "eyJ", "eyJa.", "Bearer ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ",
    "sh -c '", "sh -c \"", "sudo ", "eval ", "ssh h ", "env -S ", "a=b ", "-p ", "curl -u a:b ", "password ",
    "password\\", "identified by ", "\u{e9}", "#", "$'", "$'\\'", "a:\"", "a:\\\"", ",a", "=", "PASSWORD=$(echo ",
    "<password>", "git commit -m 'password: a ", "expect -c 'send ", "passwordToken", "aB", "-exec ", "docker run ",
];

fn repeated(unit: &str) -> Vec<u8> {
    unit.bytes().cycle().take(SIZE).collect()
}

fn timed(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    assert!(took < PATIENCE, "{what:?} took {took:?}");
}

#[test]
fn repeated_units_end_in_time() {
    for unit in UNITS {
        for line in [repeated(unit), [b"mysql -p".to_vec(), repeated(unit)].concat()] {
            timed(unit, || drop(redact_line_slowly(&line)));
        }
    }
}

#[test]
fn repeated_units_in_argv_end_in_time() {
    for unit in UNITS {
        let mut args =
            vec![b"git".to_vec(), b"commit".to_vec(), b"-m".to_vec(), repeated(unit), b"-p".to_vec(), repeated(unit)];
        timed(unit, || _ = super::redact_args_slowly(&mut args, None));
        let mut words: Vec<Vec<u8>> =
            repeated(unit).chunks(unit.len().max(2)).map(|word| word.trim_ascii().to_vec()).collect();
        timed(unit, || _ = super::redact_args_slowly(&mut words, None));
    }
}

#[test]
fn growing_runs_of_backslashes_end_in_time() {
    let line: Vec<u8> =
        (1..250).flat_map(|n| [b"password=".to_vec(), vec![b'\\'; n], b"\"".to_vec()].concat()).collect();
    timed("backslashes", || drop(redact_line_slowly(&line)));
}

#[test]
fn substitutions_in_followed_strings_do_not_double_the_work() {
    let line = ["sh -c \"$(".repeat(SIZE / 9 / 2), ")\"".repeat(SIZE / 2 / 2)].concat();
    timed("sh -c $( nested", || drop(redact_line_slowly(line.as_bytes())));
}

#[test]
fn nesting_is_followed_and_then_given_up() {
    let mut line = "mysql -phunter2".to_string();
    for depth in 0..14 {
        let clean = show(&check_line(line.as_bytes()));
        assert!(!clean.contains("hunter2"), "depth {depth}: {clean}");
        line = format!("echo $({line})");
    }
    let mut line = "mysql -phunter2".to_string();
    for depth in 0..6 {
        let clean = show(&check_line(line.as_bytes()));
        assert!(!clean.contains("hunter2"), "depth {depth}: {clean}");
        line = format!("sh -c \"{}\"", line.replace('\\', "\\\\").replace('"', "\\\""));
    }
}

#[test]
fn every_prefix_of_a_secret_line_is_safe() {
    let line = r#"cd /x; sh -c "docker login -u a -p \"hunter2-very-long\" r && mysql -p'hunter2 x'" <<EOF"#;
    for end in 0..line.len() {
        let clean = show(&check_line(line.as_bytes().get(..end).unwrap_or_default()));
        assert!(!clean.contains("hun"), "{clean}");
    }
}

/// Commands with a secret, and ways to run a command from another: no combination lets the secret through.
#[test]
fn secrets_survive_no_wrapping() {
    const COMMANDS: &[&str] = &[
        "mysql -phunter2",
        "docker login -u a -p 'hunter2' r",
        "DB_PASSWORD=\"hunter2\" run",
        "curl -u a:hunter2 -H 'X-Api-Key: hunter2' https://u:hunter2@h/?token=hunter2",
        "echo hunter2 | docker login --password-stdin",
        "curl -d '{\"password\":\"hunter2\",\"n\":1}' h",
        "app --password=hunter2\\ hunter2 && ls",
        "cat <<EOF | chpasswd\na:hunter2\nEOF",
    ];
    let single = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let double = |text: &str| {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`");
        format!("\"{escaped}\"")
    };
    let mut random = Random(5);
    for _ in 0..cases() / 10 {
        let mut line = COMMANDS.get(random.below(COMMANDS.len())).copied().unwrap_or_default().to_string();
        for _ in 0..random.below(5) {
            line = match random.below(9) {
                0 => format!("sh -c {}", single(&line)),
                1 => format!("sudo -u bob bash -lc {} x", double(&line)),
                2 => format!("ssh -p 22 h {}", double(&line)),
                3 => format!("docker exec -it c sh -c {}", single(&line)),
                4 => format!("su - bob -c {} && ls", single(&line)),
                5 => format!("echo \"$({line})\""),
                6 => format!("cd /x; ({line}\n)"),
                7 => format!("eval {}; true", single(&line)),
                _ => format!("X=1 env -i timeout 5 sh -c {}", double(&line)),
            };
        }
        let clean = show(&check_line(line.as_bytes()));
        assert!(!clean.contains("hunter2"), "{line}\n{clean}");
    }
}

/// A small generator: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % n
    }

    fn mixture(&mut self, most: usize) -> String {
        const MORE: &[&str] = &[
            " ",
            " ",
            " ",
            "x",
            "hunter2",
            "docker login ",
            "-p",
            "-u",
            "a:b",
            "curl ",
            "mysql ",
            "--password",
            "--secret ",
            "\n",
            "EOF",
            "{\"a\":",
            "}",
            "]",
            "[REDACTED]",
            "echo ",
            " | chpasswd",
            " | sudo -S",
            "TOKEN=",
            "$X",
            "${x}",
            ": ",
            "user",
            "&b=",
            ",c=",
            "true",
            "Authorization: Bearer ",
            "-H ",
            "-d ",
            "@h/",
            "https://u:",
            "AKIAIOSFODNN7EXAMPLE",
            "\\n",
            "kamal app exec ",
            "{{x}}",
            "a/b@c",
            "set ",
            "openssl -pass pass:",
            "IDENTIFIED BY 'x'",
            "<b>",
            "; ",
            "=> ",
            "htpasswd -b f ",
            "vault login ",
            "\t",
            "\r",
            "~/x",
        ];
        (0..self.below(most))
            .map(|_| {
                let n = self.below(UNITS.len() + MORE.len());
                UNITS.get(n).or_else(|| MORE.get(n - UNITS.len())).copied().unwrap_or_default()
            })
            .collect()
    }
}

/// `CASES=2000000 cargo test` tries harder.
fn cases() -> usize {
    std::env::var("CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

#[test]
fn random_lines_keep_the_properties() {
    let mut random = Random(7);
    for _ in 0..cases() {
        check_line(random.mixture(14).as_bytes());
    }
}

#[test]
fn random_argvs_keep_the_properties() {
    let mut random = Random(11);
    for _ in 0..cases() {
        let text = (0..random.below(7)).map(|_| random.mixture(5)).collect::<Vec<_>>().join(" ¦ ");
        check_args(&argv(&text));
    }
}
