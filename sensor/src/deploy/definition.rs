//! A tool's definition as it is written: one TOML file a tool. `docs/contributing.md` has the recipe,
//! `tools/kamal.toml` uses every key.
//!
//! An unknown key, an unknown action and a pattern that cannot match are errors that name the file and the key. What a
//! definition may not do is checked too: no variable whose name says secret can be called safe, as its value would be
//! recorded.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::deploy::Kind;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// `deploy.tool`.
    pub name: String,
    pub recognise: Recognise,
    pub package: Package,
    pub arguments: Arguments,
    /// Verbs, of one or more words, `*` in them: what they do.
    pub verbs: BTreeMap<String, Kind>,
    /// Verbs that are not listed. `none` for a tool with many uses of which few are deploys.
    pub unlisted: Option<Kind>,
    /// Without a verb.
    pub bare: Option<Kind>,
    /// Options that change what a verb does.
    pub when: Vec<When>,
    pub from: From,
    /// Configuration files.
    pub config: Vec<ConfigFile>,
    /// What is read of them.
    pub reads: Reads,
    /// Secret files: their names are recorded, they are never opened.
    pub secrets: Vec<SecretFile>,
    pub environment: Environment,
    /// Children that are steps.
    pub local: Vec<Step>,
    /// Commands over SSH that are steps of a known kind. All others are `remote`.
    pub remote: Vec<Step>,
    /// What words of a remote command say: `label=service={service}`.
    pub marks: Vec<String>,
    pub target: Target,
    pub outcome: Outcome,
}

/// How the tool is recognised: one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recognise {
    /// Names of the program, or of the script that an interpreter runs.
    pub programs: Vec<String>,
    /// Names of images that run it: `docker run IMAGE ...`.
    pub images: Vec<String>,
    /// And the last word of the command line must match one of these. One with `:` in it never matches a path of this
    /// host.
    pub last: Vec<String>,
    /// And none of these.
    pub except: Vec<String>,
    /// Interpreters that run it where it is a script, without their versions: `ruby`. For evidence only: a shell script
    /// of the tool's name is recognised, and is not the tool.
    pub interpreters: Vec<String>,
}

/// Where its version can be found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Package {
    /// Names of the folder that it is installed in (`NAME-VERSION/`, `NAME/VERSION/`), besides those of the tool and
    /// its programs.
    pub names: Vec<String>,
    /// The gem that it is: `Gemfile.lock` in the working directory says which version Bundler runs.
    pub gem: Option<String>,
}

/// How the tool reads its arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Arguments {
    /// Options that take a value in the next word (`--x=value` needs no row).
    pub values: Vec<String>,
    /// Options whose value is a secret: it is removed before anything is stored.
    pub secret: Vec<String>,
    /// `VERB:N`: words that are a secret.
    pub secret_words: Vec<String>,
    /// With one of these nothing happens.
    pub help: Vec<String>,
    /// Options may stand before the verb. Thor prints its help.
    pub options_first: bool,
    /// A beginning of a verb will do, if it is the only one.
    pub abbreviations: bool,
    /// `stale-containers` is `stale_containers`.
    pub dashes_are_underscores: bool,
    /// `-var x=y`, `-chdir=x`: one dash, and a whole name.
    pub one_dash: bool,
    /// `BRANCH=main` is no word.
    pub assignments: bool,
    /// Which word the verb begins with, from 1.
    pub verb_at: usize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            secret: Vec::new(),
            secret_words: Vec::new(),
            help: Vec::new(),
            options_first: true,
            abbreviations: false,
            dashes_are_underscores: false,
            one_dash: false,
            assignments: false,
            verb_at: 1,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// One of these options.
    pub options: Vec<String>,
    /// With this verb; any if absent.
    pub verb: Option<String>,
    pub action: Kind,
}

/// Where a field's value comes from: the first source that has one.
///
/// `option:--name`, `word:N` (the N-th word from 1, verb and all), `VERB:N` (the N-th word after that verb; `N+`: and
/// all after it), `last`, `config:service`, `environment:NAME`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct From {
    pub service: Vec<String>,
    pub destination: Vec<String>,
    pub version: Vec<String>,
    pub hosts: Vec<String>,
    pub roles: Vec<String>,
    pub performer: Vec<String>,
    /// Names of secrets that the command handles.
    pub secrets: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Relative to the working directory.
    pub path: String,
    /// Options that give another path.
    pub options: Vec<String>,
    /// Also `NAME.DESTINATION.EXTENSION` beside it, which is merged over it.
    pub per_destination: bool,
    /// YAML, and read; else only its name is recorded.
    pub yaml: bool,
}

/// Keys of the configuration files: dotted, `*` for any key or element.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reads {
    pub service: Option<String>,
    pub image: Option<String>,
    pub registry: Option<String>,
    /// A list of hosts, or roles with theirs.
    pub servers: Option<String>,
    /// The role of a plain list.
    pub default_role: Option<String>,
    pub aliases: Option<String>,
    /// Lists of names of secrets. Anything but a list is a value, and is not read.
    pub secrets: Vec<String>,
    /// The same, of the registry alone.
    pub registry_secrets: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretFile {
    pub path: String,
    /// With a destination it is `PATH.DESTINATION` instead.
    pub per_destination: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// Variables of children that may be read and recorded. Nothing else of an environment ever is.
    pub safe: Vec<String>,
    /// Said to be secret: for people, and a guard against calling them safe.
    pub secret: Vec<String>,
}

/// A command that is a step, by its pattern (`pattern.rs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Step {
    /// `deploy.step.kind`.
    pub kind: String,
    /// One of these patterns.
    pub commands: Vec<String>,
    /// Why the deploy failed, if this step did.
    pub reason: Option<String>,
    /// Its failure does not make the deploy fail.
    pub may_fail: bool,
    /// Names of the secrets that it handles: as they are, `config:secrets` or `config:registry_secrets`.
    pub secrets: Vec<String>,
    /// On the target: only with this tool's client, as anybody could run it.
    pub requires_client: bool,
    /// And from that client it is a deploy's even where nothing else says so.
    pub standalone: bool,
    /// The container that it stops was the version before, once the new one serves.
    pub retires: bool,
    /// It acts on the version, service and role that it names: that it ended with 0 confirms them. Looking at a
    /// container, or writing into a log, confirms nothing.
    pub confirms: bool,
}

/// How the tool looks on the hosts that it deploys to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Beginnings of the SSH client's software.
    pub clients: Vec<String>,
}

/// Where what a tool does can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acts {
    /// In commands over SSH connections of its own process tree.
    #[default]
    Ssh,
    /// Nowhere: it sends requests over TCP, which are not read. That the tool's own program ran and connected is
    /// `commands`.
    Tcp,
    /// Nowhere: it sends requests over a local socket (Docker's). That the tool's own program ran, from a folder that
    /// root installs programs in, is `commands`.
    Local,
}

/// What counts as done.
///
/// Every run needs evidence (`event::deploy::Evidence`): with `none` or `connections` and exit code 0 its outcome is
/// unknown, as the tool's name alone proves nothing. A deploy or rollback of a tool that has a `proof` succeeded by
/// that proof alone. Of one without (Ansible, Fabric, kubectl, Docker) `commands` is all that there can be, and the
/// exit code decides; the commands of Ansible and Fabric have no form of their own, so these count if the tool's own
/// program ran. Only commands over the tool's connections are evidence: a local step, a hook among them, is a program
/// that the user chose.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// Kinds of remote steps, the strongest first: a deploy or rollback succeeded if the steps of the first kind that
    /// was tried did.
    pub proof: Vec<String>,
    pub acts: Acts,
    /// Verbs that act on this host alone (`*` in them): their evidence is that the tool's own program ran.
    pub local: Vec<String>,
    /// What it means if the tool said success and none of `proof` was tried: for `deploy` and `rollback`. Without an
    /// entry the outcome is unknown.
    pub nothing_done: BTreeMap<String, String>,
    /// Kinds of steps that are taken after a failure, and its reason.
    pub failure_tail: BTreeMap<String, String>,
}
