//! Is what the kernel executed the tool that a definition names?
//!
//! In: an invocation, which argv made, and the executable, which the kernel has. Out: yes or no. A shell script named
//! `kubectl` is executed by `/bin/sh`: recognised, as its name says so, and not the tool. The answer is needed for
//! evidence and is never a proof: a copy of another program under the tool's name, or a script in the tool's own
//! language, passes. It fails towards "no".

use super::{Acts, Invocation, pattern::glob, program::stem};
use crate::event::executed::base_name;

/// Where only root installs programs (FHS 3.0; snap, Nix).
const INSTALLED: &[&str] = &["/usr/", "/bin/", "/sbin/", "/opt/", "/snap/", "/nix/store/", "/var/lib/snapd/"];

impl Invocation {
    /// Where what this verb does can be seen.
    pub fn acts(&self) -> Acts {
        let outcome = &self.tool.definition.outcome;
        if outcome.local.iter().any(|verb| glob(verb, &self.verb)) { Acts::Local } else { outcome.acts }
    }

    /// Did the kernel execute the tool's own program, or an interpreter of its script?
    pub fn is_executed(&self, executable: &str) -> bool {
        let definition = &self.tool.definition;
        let name = base_name(executable);
        let language = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let own = definition.recognise.programs.iter().any(|program| program == name || program == stem(name));
        let interpreted = definition.recognise.interpreters.iter().any(|interpreter| interpreter == language);
        let installed = |path: &str| INSTALLED.iter().any(|folder| path.starts_with(folder));
        // Nothing else speaks for a tool that only talks to a daemon of this host.
        let placed = definition.outcome.acts != Acts::Local
            || installed(executable) && (own || self.script.as_deref().is_some_and(installed));
        (own || interpreted) && placed
    }
}

#[cfg(test)]
mod tests {
    use crate::deploy::{Acts, Tools};

    fn executed(line: &[&str], executable: &str) -> bool {
        Tools::shipped().recognise(line, Some(executable), &[]).unwrap().is_executed(executable)
    }

    #[test]
    fn the_tool_is_what_the_kernel_executed_and_not_what_argv_says() {
        assert!(executed(&["kubectl", "apply", "-f", "a.yml"], "/home/ci/bin/kubectl"));
        assert!(!executed(&["/bin/sh", "./kubectl", "apply"], "/usr/bin/dash"));
        // `exec -a kubectl python3`: nothing is recognised in the first place.
        assert!(Tools::shipped().recognise(&["kubectl", "apply"], Some("/usr/bin/python3.11"), &[]).is_none());
        assert!(executed(&["kubectl", "apply", "-f", "a.yml"], "/usr/bin/kubectl1.28"));
        assert!(executed(&["ruby3.1", "bin/kamal", "deploy"], "/usr/bin/ruby3.1"));
        assert!(!executed(&["/bin/bash", "bin/kamal", "deploy"], "/usr/bin/bash"));
        assert!(executed(&["python3", "/usr/bin/ansible-playbook", "site.yml"], "/usr/bin/python3.11"));
    }

    #[test]
    fn a_client_of_a_local_daemon_is_where_root_installs_programs() {
        assert!(executed(&["docker", "compose", "up"], "/usr/bin/docker"));
        assert!(!executed(&["docker", "compose", "up"], "/tmp/docker"));
        assert!(executed(&["python3", "/usr/bin/podman-compose", "up"], "/usr/bin/python3"));
        assert!(!executed(&["python3", "./podman-compose", "up"], "/usr/bin/python3"));
    }

    #[test]
    fn a_verb_can_act_on_this_host_alone() {
        let acts = |line: &[&str]| Tools::shipped().recognise(line, None, &[]).unwrap().acts();
        assert_eq!(acts(&["kamal", "deploy"]), Acts::Ssh);
        assert_eq!(acts(&["kamal", "secrets", "print"]), Acts::Local);
        assert_eq!(acts(&["kubectl", "apply", "-f", "x"]), Acts::Tcp);
    }
}
