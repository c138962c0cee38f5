//! What a command line of a deploy says about locks and secrets, where its record does not.
//!
//! Records name both (`deploy.step.kind`, `deploy.secrets[]`); these few patterns are for logs of targets alone.
//! Kamal's strings, 1.x and 2.x: a lock is a folder with `details` in it, an environment goes to the target as a file.
//! Values never: they are not in records.

/// What a command does to a deploy lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    Taken,
    Released,
}

/// `kind` is the record's `deploy.step.kind`.
pub(super) fn lock(kind: Option<&str>, line: &str) -> Option<Lock> {
    match kind {
        Some("lock") => return Some(Lock::Taken),
        Some("unlock") => return Some(Lock::Released),
        Some("lock-read") => return None,
        _ => {}
    }
    if !(line.contains(".kamal/lock-") || line.contains(".kamal/locks/")) || !line.contains("/details") {
        return None;
    }
    let has = |wanted| line.split_ascii_whitespace().any(|word| word == wanted);
    if has("rm") { Some(Lock::Released) } else { has("mkdir").then_some(Lock::Taken) }
}

/// The secret that a command handles, by name.
pub(super) fn secret(kind: Option<&str>, line: &str) -> Option<String> {
    if let Some(at) = line.find("docker login ") {
        let mut words = line.get(at..)?.split_ascii_whitespace().skip(2);
        let registry = words.next().filter(|word| !word.starts_with('-'));
        let user = words.skip_while(|word| *word != "-u" && *word != "--username").nth(1);
        let user = user.map(|user| user.trim_matches(['"', '\'']));
        return Some(match (registry, user) {
            (Some(registry), Some(user)) => format!("registry login at {registry} as {user}"),
            (Some(registry), None) => format!("registry login at {registry}"),
            (None, _) => "registry login".into(),
        });
    }
    if let Some(path) = line.strip_prefix("scp -t ").filter(|path| path.rsplit('.').next() == Some("env")) {
        return Some(format!("environment file {path}"));
    }
    kind.filter(|kind| kind.contains("secret")).map(|_| line.to_owned())
}

/// Is a configuration file one of secrets?
pub(super) fn is_secret_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains(".kamal/secrets")
        || name.starts_with(".env")
        || name == "master.key"
        || path.contains("config/credentials") && name.rsplit('.').next() == Some("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_recognised() {
        let kamal2 =
            r#"/usr/bin/env mkdir .kamal/lock-myapp-production && echo "TG9j" > .kamal/lock-myapp-production/details"#;
        assert_eq!(lock(None, kamal2), Some(Lock::Taken));
        let release = "/usr/bin/env rm .kamal/lock-myapp-production/details && rm -r .kamal/lock-myapp-production";
        assert_eq!(lock(None, release), Some(Lock::Released));
        assert_eq!(lock(None, "mkdir -p .kamal/locks"), None);
        assert_eq!(lock(None, "/usr/bin/env stat .kamal/lock-a > /dev/null && cat .kamal/lock-a/details"), None);
        assert_eq!(lock(Some("lock"), "anything"), Some(Lock::Taken));
        assert_eq!(lock(Some("unlock"), "anything"), Some(Lock::Released));
        assert_eq!(lock(Some("lock-read"), kamal2), None);
    }

    #[test]
    fn secrets_are_named() {
        let login = "docker login registry.example.test -u \"ciuser\" -p \"[REDACTED]\"";
        assert_eq!(secret(None, login).as_deref(), Some("registry login at registry.example.test as ciuser"));
        assert_eq!(secret(None, "docker login").as_deref(), None);
        assert_eq!(secret(None, "docker login -u x -p y").as_deref(), Some("registry login"));
        let env = secret(None, "scp -t .kamal/apps/myapp-production/env/roles/web.env");
        assert_eq!(env.as_deref(), Some("environment file .kamal/apps/myapp-production/env/roles/web.env"));
        assert_eq!(secret(Some("secret"), "kamal secrets print").as_deref(), Some("kamal secrets print"));
        assert_eq!(secret(None, "docker pull x"), None);
    }

    #[test]
    fn secret_files_are_known_by_their_names() {
        for path in [".kamal/secrets", "/srv/a/.kamal/secrets.production", ".env.staging", "config/master.key"] {
            assert!(is_secret_file(path), "{path}");
        }
        for path in ["config/deploy.yml", "environment.rb", "config/credentials.yml.enc", "monkey.key"] {
            assert!(!is_secret_file(path), "{path}");
        }
    }
}
