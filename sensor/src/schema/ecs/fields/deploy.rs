//! `deploy.*`.

use super::objects;
use crate::{
    finding::deploy::{Claim, Evidence, Kind},
    schema::ecs::{
        list::{Texts, WordList},
        value::{Sha256, Text, Word},
    },
};

objects! {
    /// The deploy that the record belongs to.
    Deploy<'a> {
        /// In every record of the deploy's processes and SSH connections. Local to a host: sides join on
        /// `ssh.connection.id`.
        pub id: Option<Text<'a>>,
        /// The tool's name, by the definition that knows it.
        pub tool: Option<Text<'a>>,
        /// The tool's version, from its folder's name, its image's tag or the project's lock file. Absent where none
        /// has it: no tool is asked.
        pub tool_version: Option<Text<'a>>,
        /// What the verb does, by the tool's definition. Absent on a target.
        pub action: Option<Word<Kind>>,
        /// The verb, as it was typed. Absent on a target.
        pub verb: Option<Text<'a>>,
        /// What is deployed, by arguments, project or commands.
        pub service: Option<Text<'a>>,
        /// The environment (`staging`), by arguments, project or commands.
        pub destination: Option<Text<'a>>,
        /// The version that is deployed.
        pub version: Option<Text<'a>>,
        /// The version that ran before, by what the tool removed.
        pub previous_version: Option<Text<'a>>,
        /// Hosts that it was asked to go to.
        pub hosts: Option<Texts<'a>>,
        /// Roles that it was asked to deploy.
        pub roles: Option<Texts<'a>>,
        /// Who did it, by what environment, files or arguments say: a claim. Who the kernel says it was is in `user`.
        pub performer: Option<Text<'a>>,
        /// Names of secrets that it handles or may use; values are nowhere.
        pub secrets: Option<Texts<'a>>,
        pub config: Option<DeployConfig<'a>>,
        /// `ssh.connection.id` of its connections, as far as they are known by then.
        pub connections: Option<Texts<'a>>,
        /// Addresses to which its connections were made. At the end only.
        pub contacted: Option<Texts<'a>>,
        /// Its steps, each counted once where a host sees both ends. At the end only.
        pub steps: Option<u64>,
        /// What shows that the tool did anything, the weakest first: `none` (a program of that name ran),
        /// `connections`, `commands` (of the tool, over its connections), `traffic-switched` (a step that proves it).
        /// At the end; absent where events were lost and nothing was seen.
        pub evidence: Option<Word<Evidence>>,
        /// Fields that rest on what environment, files or arguments say, and on no act that was seen.
        pub claimed: Option<WordList<'a, Claim>>,
        /// Why it failed, in a word: `unhealthy`, `lock-held`, `unreachable`... At the end, of a failure.
        pub reason: Option<Text<'a>>,
        pub step: Option<DeployStep<'a>>,
    }

    /// Configuration files.
    DeployConfig<'a> {
        /// Files of the project that were read.
        pub files: Option<Texts<'a>>,
        /// Files that could not be read, and why: `path: too-large`.
        pub unread: Option<Texts<'a>>,
        /// What the file held before: as `file.hash.sha256`. Absent where it was not there.
        pub previous_sha256: Option<Sha256>,
        /// Both hashes are HMAC-SHA256 under a key of this host.
        pub keyed: Option<bool>,
        /// The file is gone. Absent where it is there.
        pub removed: Option<bool>,
    }

    /// A remote command, hook or local child of a deploy.
    DeployStep<'a> {
        /// What it does, by the tool's definition; `remote` where no rule knows it.
        pub kind: Option<Text<'a>>,
        /// The command line, secrets replaced, at most 4 KiB.
        pub line: Option<Text<'a>>,
        /// The server's address. Absent for a local step.
        pub host: Option<Text<'a>>,
        /// The role that it is for, where the command says so.
        pub role: Option<Text<'a>>,
        /// How it ended. Absent where no status was seen.
        pub exit_status: Option<u32>,
        /// Names of secrets that it uploads, logs in with or handles.
        pub secrets: Option<Texts<'a>>,
        /// The registry that it logs in to.
        pub registry: Option<Text<'a>>,
    }
}
