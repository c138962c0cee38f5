//! Layer 2: what deploy tools are, as data, and what a command line asks of one.
//!
//! What enters: the argv of an exec, a command line of an SSH request, definitions as TOML. What leaves: which tool it
//! is, the verb and what that does, service, destination, version, hosts and roles; of a remote command which step it
//! is. Pure: it rests on the definitions (`tools/*.toml`, shipped inside the binary, and the user's own) and on nothing
//! of this host, so the live source and a replay recognise the same. Recognition is by what runs (program, script,
//! image, verb), never by the process's own name for itself.
//!
//! It fails towards "no deploy": what no definition names is not recorded. A definition that cannot be used is an error
//! that says which file and key.

mod arguments;
mod definition;
mod executed;
mod invocation;
mod pattern;
mod program;
mod project;
mod remote;
mod shell;
mod tool;
mod version;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use foldhash::HashSet;
use memchr::memmem::Finder;

pub use definition::Acts;
pub use invocation::Invocation;
pub use project::{FILE_MAX, Found, Wanted, read as read_project, wanted};
pub use remote::{ClassifiedStep, classify, classify_local};
pub use tool::{Error, Rule, Tool};

use crate::event::{
    deploy::{Facts, Kind, ToolFile},
    stream::{Args, Exec},
};

/// Definitions that come with the sensor.
const SHIPPED: &[(&str, &str)] = &[
    ("kamal.toml", include_str!("tools/kamal.toml")),
    ("capistrano.toml", include_str!("tools/capistrano.toml")),
    ("ansible.toml", include_str!("tools/ansible.toml")),
    ("ansible-adhoc.toml", include_str!("tools/ansible-adhoc.toml")),
    ("fabric.toml", include_str!("tools/fabric.toml")),
    ("docker.toml", include_str!("tools/docker.toml")),
    ("docker-compose.toml", include_str!("tools/docker-compose.toml")),
    ("kubectl.toml", include_str!("tools/kubectl.toml")),
    ("helm.toml", include_str!("tools/helm.toml")),
    ("terraform.toml", include_str!("tools/terraform.toml")),
    ("rsync.toml", include_str!("tools/rsync.toml")),
    ("scp.toml", include_str!("tools/scp.toml")),
    ("git.toml", include_str!("tools/git.toml")),
];

/// More definitions than this are a folder of something else.
const TOOLS_MAX: usize = 256;

/// Arguments in which a program is looked for: wrappers and their options come before it.
const NAMES_WITHIN: usize = 64;
/// And a hook: an interpreter or `env` stands before it.
const HOOK_WITHIN: usize = 4;

/// The tools that are known.
#[derive(Clone, Debug, Default)]
pub struct Tools(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    tools: Vec<Arc<Tool>>,
    /// Names of programs and images: what has none of them is no business of ours.
    names: HashSet<Vec<u8>>,
    /// What a hook's path has in it, of any tool.
    hooks: Vec<Finder<'static>>,
}

/// Arguments as text, for recognition: what is no UTF-8 names no tool.
pub fn texts(args: &Args) -> Vec<Cow<'_, str>> {
    args.list.iter().map(|arg| String::from_utf8_lossy(arg)).collect()
}

impl Tools {
    /// The shipped definitions, read once.
    pub fn shipped() -> Self {
        // They are sound: a test reads them all.
        static SHIPPED: LazyLock<Tools> = LazyLock::new(|| Tools::new(&[]).unwrap_or_default());
        SHIPPED.clone()
    }

    /// The shipped definitions, and the user's: one with the same name replaces a shipped one.
    pub fn new(own: &[ToolFile]) -> Result<Self, Error> {
        let mut tools: Vec<Arc<Tool>> = Vec::new();
        let shipped = SHIPPED.iter().map(|(path, text)| (*path, *text));
        for (path, text) in shipped.chain(own.iter().map(|file| (file.path.as_str(), file.text.as_str()))) {
            let tool = Arc::new(Tool::parse(text, path)?);
            tools.retain(|known| known.name != tool.name);
            if tools.len() >= TOOLS_MAX {
                return Err(Error::Read { path: path.into(), why: format!("there are more than {TOOLS_MAX}") });
            }
            tools.push(tool);
        }
        let recognise = tools.iter().map(|tool| &tool.definition.recognise);
        let names = recognise.flat_map(|recognise| recognise.programs.iter().chain(&recognise.images));
        let names = names.map(|name| name.clone().into_bytes()).collect();
        let hooks = tools.iter().flat_map(|tool| &tool.hook_literals);
        let hooks = hooks.map(|part| Finder::new(part).into_owned()).collect();
        Ok(Self(Arc::new(Known { tools, names, hooks })))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.0.tools.iter()
    }

    /// Could these arguments be a deploy, or a hook of one? Every exec of the host is asked this.
    pub fn may_match(&self, args: &Args, executable: Option<&[u8]>) -> bool {
        let named = |arg: &[u8]| {
            let name = arg.rsplit(|byte| *byte == b'/').next().unwrap_or(arg);
            let tag = name.iter().position(|byte| matches!(byte, b':' | b'@'));
            self.0.names.contains(name)
                || tag.and_then(|end| name.get(..end)).is_some_and(|image| self.0.names.contains(image))
        };
        args.list.iter().take(NAMES_WITHIN).any(|arg| named(arg))
            || executable.is_some_and(named)
            || self.hook_among(args)
    }

    fn hook_among(&self, args: &Args) -> bool {
        args.list.iter().take(HOOK_WITHIN).any(|arg| self.0.hooks.iter().any(|part| part.find(arg).is_some()))
    }

    /// The tool whose hook this is, if it has variables that may be read.
    pub fn hook(&self, argv: &[&str], executable: Option<&str>) -> Option<&Arc<Tool>> {
        let hook = |tool: &&Arc<Tool>| {
            !tool.definition.environment.safe.is_empty() && classify_local(tool, argv, executable).hook.is_some()
        };
        self.iter().find(hook)
    }

    /// The deploy that an exec is, with the aliases of its project.
    pub fn read(&self, exec: &Exec, facts: Option<&Facts>) -> Option<Invocation> {
        let executable = exec.executable.as_ref().map(|path| path.bytes.as_slice());
        if !self.may_match(&exec.args, executable) {
            return None;
        }
        let argv = texts(&exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let aliases = facts.and_then(|facts| facts.project.as_ref()).map(|project| project.aliases.as_slice());
        let executable = executable.and_then(|path| std::str::from_utf8(path).ok());
        self.recognise(&argv, executable, aliases.unwrap_or_default())
    }

    /// The deploy that this argv is. The program is `executable`, and `args[0]` only where that is not known; `aliases`
    /// are the project's.
    pub fn recognise(
        &self,
        argv: &[&str],
        executable: Option<&str>,
        aliases: &[(String, String)],
    ) -> Option<Invocation> {
        self.named(argv, executable, aliases).filter(|invocation| invocation.kind != Kind::None)
    }

    /// The same, with help and completion too.
    fn named(&self, argv: &[&str], executable: Option<&str>, aliases: &[(String, String)]) -> Option<Invocation> {
        let places = program::places(argv, executable);
        let mut quiet = None;
        for place in &places {
            let name = program::name(argv, place.at, executable);
            for tool in self.iter() {
                let recognise = &tool.definition.recognise;
                let is = |name: &str| recognise.programs.iter().any(|own| own == name);
                let fits = match place.image {
                    true => recognise.images.iter().any(|own| own == program::image_name(name)),
                    false => is(name) || is(program::stem(name)),
                };
                if !fits {
                    continue;
                }
                let container = place.image || places.iter().any(|place| place.image);
                let Some(mut invocation) = Invocation::read(tool, argv, place.at + 1, container, aliases) else {
                    continue;
                };
                invocation.started_by(argv, &places, *place, executable);
                if invocation.kind != Kind::None {
                    return Some(invocation);
                }
                quiet.get_or_insert(invocation);
            }
        }
        quiet
    }

    /// Removes what the definitions call secret from the argv of an executable. Says whether anything was.
    pub fn redact(&self, args: &mut [Vec<u8>], executable: Option<&[u8]>, mark: &[u8]) -> bool {
        let texts: Vec<String> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        let argv: Vec<&str> = texts.iter().map(String::as_str).collect();
        let executable = executable.and_then(|path| std::str::from_utf8(path).ok());
        let Some(invocation) = self.named(&argv, executable, &[]) else { return false };
        let mut changed = false;
        for (at, from) in invocation.secret_places() {
            if let Some(arg) = args.get_mut(at)
                && arg.get(from..).is_some_and(|value| value != mark && !value.is_empty())
            {
                arg.truncate(from);
                arg.extend_from_slice(mark);
                changed = true;
            }
        }
        changed
    }
}
