//! An sshd that takes every kind of login, and an ssh that tries them: with keys of all types, a certificate, passwords
//! that no argument and no environment holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Account, Ended, Folder, Sshd,
    running::{self, Running},
};

pub struct Lab {
    pub sshd: Sshd,
    /// One factor, or two: a key and then a password.
    pub one: Account,
    pub two: Account,
    password: PathBuf,
    wrong: PathBuf,
    askpass: PathBuf,
}

/// Key types that can log in.
pub const KEYS: &[&str] = &["ed25519", "rsa", "ecdsa"];

impl Lab {
    pub fn start(folder: &Folder) -> Self {
        let (one, two) = (Account::create("sensor-one"), Account::create("sensor-two"));
        let secret = random();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let password = file("password", &secret);
        let wrong = file("wrong", &random());
        for account in [&one, &two] {
            set_password(&account.name, &secret);
        }
        let askpass = file("askpass", "#!/bin/sh\ncat \"$SENSOR_TEST_ANSWER\"\n");
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
        let own = folder.join("keys");
        fs::create_dir(&own).unwrap();
        let key = |name: &str| own.join(name);
        let mut authorized = String::new();
        for kind in KEYS {
            keygen(&["-t", kind], &key(kind));
            authorized += &fs::read_to_string(key(kind).with_extension("pub")).unwrap();
        }
        keygen(&["-t", "ed25519"], &key("stranger"));
        keygen(&["-t", "ed25519"], &key("ca"));
        keygen(&["-t", "ed25519"], &key("certified"));
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-s"]).arg(key("ca")).args(["-I", "a certificate", "-z", "77", "-n", &one.name, "-V", "+1d"]);
        running::succeed(sign.arg(key("certified.pub")));
        fs::write(key("authorized"), authorized).unwrap();
        let path = own.display();
        let before = format!(
            "LogLevel VERBOSE\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\nAuthorizedKeysFile {path}/authorized\n\
             TrustedUserCAKeys {path}/ca.pub\nMaxAuthTries 4\nX11Forwarding yes\nAllowStreamLocalForwarding yes\n\
             Ciphers +3des-cbc,aes128-cbc,aes192-cbc,aes256-cbc\nMACs +hmac-md5,hmac-md5-96,hmac-sha1-96,hmac-md5-etm@openssh.com,\
             hmac-md5-96-etm@openssh.com,hmac-sha1-96-etm@openssh.com\n"
        );
        let after = format!("Match User {}\n  AuthenticationMethods publickey,password\n", two.name);
        let sshd = Sshd::start_with(folder, &before, &after);
        Self { sshd, one, two, password, wrong, askpass }
    }

    /// A key's file.
    pub fn key(&self, name: &str) -> PathBuf {
        self.password.with_file_name("keys").join(name)
    }

    /// `ssh` as `user` with these options, answering with the right or a wrong password whatever is asked.
    pub fn ssh(&self, user: &str, key: &str, right: bool, options: &[String]) -> Command {
        let mut command = self.sshd.program("ssh");
        // The first value of an option counts.
        command.args(options).arg("-i").arg(self.key(key));
        command.args(["-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1"]).arg(format!("{user}@test"));
        command.env("SSH_ASKPASS", &self.askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        command.env("SENSOR_TEST_ANSWER", if right { &self.password } else { &self.wrong });
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    pub fn password(&self) -> String {
        fs::read_to_string(&self.password).unwrap()
    }

    /// `SHA256:...` of a public key, as ssh-keygen shows it.
    pub fn fingerprint(&self, name: &str) -> String {
        fingerprint(&self.key(name).with_extension("pub"))
    }
}

/// `SHA256:...` of a key in a file.
pub fn fingerprint(path: &Path) -> String {
    let shown = running::succeed(Command::new("ssh-keygen").arg("-lf").arg(path)).text();
    shown.split(' ').nth(1).unwrap().to_owned()
}

fn keygen(args: &[&str], path: &Path) {
    running::succeed(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", ""]).args(args).arg("-f").arg(path));
}

/// 24 characters that cannot be guessed and no shell changes.
pub fn random() -> String {
    use std::{fmt::Write as _, io::Read as _};
    let mut bytes = [0u8; 12];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Through standard input: an argument would be in the records.
pub fn set_password(user: &str, password: &str) {
    use std::io::Write as _;
    let mut chpasswd = Running::start(Command::new("chpasswd").stdin(Stdio::piped()));
    let mut input = chpasswd.child().stdin.take().unwrap();
    writeln!(input, "{user}:{password}").unwrap();
    drop(input);
    assert!(chpasswd.wait().success());
}

/// What `ssh -v` says was agreed on: its line `debug1: kex: NAME: ...`.
pub fn agreed(client: &Ended, what: &str) -> String {
    let prefix = format!("debug1: kex: {what}");
    let line = client.stderr.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no `{prefix}` in {}", client.stderr)).trim().to_owned()
}
