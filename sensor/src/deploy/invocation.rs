//! One command line of a deploy tool: the verb, what it does, and the values that it and the project give.
//!
//! A value that comes from nowhere is absent. Hosts and roles are as the tool selects them: those of the command line,
//! with its wildcards, out of those of the configuration.

use std::sync::Arc;

use super::{
    Tool,
    arguments::{self, Parsed, Verb},
    pattern::glob,
    program::Place,
    shell, version,
};
use crate::event::{
    deploy::{Facts, Kind, Project},
    executed::base_name,
};

/// An alias of an alias of an alias; Kamal has no more either.
const ALIASES_MAX: usize = 4;
/// What stands where a secret was.
const MARK: &str = "[REDACTED]";
/// Values of one field: 1,000 hosts are a large deploy.
const VALUES_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub struct Invocation {
    pub tool: Arc<Tool>,
    pub verb: String,
    pub kind: Kind,
    /// The tool was started in a container.
    pub container: bool,
    parsed: Parsed,
    found: Verb,
    /// The tool's own version, as far as what was started shows it.
    tool_version: Option<String>,
    /// Bundler chose the version: what runs is what the project locked.
    bundled: bool,
    /// The script or program, as argv has it.
    pub(super) script: Option<String>,
    /// Where its arguments begin in argv; none once an alias was put in their place.
    offset: Option<usize>,
}

impl Invocation {
    /// Reads the arguments from `argv[from]` on. None: this tool asks for more than its name, and that is not there.
    pub(super) fn read(
        tool: &Arc<Tool>,
        argv: &[&str],
        from: usize,
        container: bool,
        aliases: &[(String, String)],
    ) -> Option<Self> {
        let definition = &tool.definition;
        let mut args: Vec<String> = argv.get(from..)?.iter().map(|arg| (*arg).to_owned()).collect();
        let mut offset = Some(from);
        let (mut parsed, mut found) = Self::parse(tool, &args);
        for _ in 0..ALIASES_MAX {
            let alias = aliases.iter().find(|(name, _)| !found.listed && Some(name) == args.first());
            let Some((_, text)) = alias else { break };
            args = shell::split(text).into_iter().chain(args.into_iter().skip(1)).collect();
            offset = None;
            (parsed, found) = Self::parse(tool, &args);
        }
        let (last, except) = (&definition.recognise.last, &definition.recognise.except);
        let fits = |word: &arguments::Word| {
            let text = word.text.as_str();
            // `./a:b` is a file of this host, to scp and rsync alike.
            let local = text.split(':').next().is_some_and(|host| host.contains('/'));
            let matches = |pattern: &String| glob(pattern, text);
            last.iter().any(|pattern| matches(pattern) && !(local && pattern.contains(':')))
                && !except.iter().any(matches)
        };
        if !last.is_empty() && !parsed.words.last().is_some_and(fits) {
            return None;
        }
        let (verb, kind) = (found.name.clone(), found.kind);
        let mut invocation = Self {
            tool: tool.clone(),
            verb,
            kind,
            container,
            tool_version: None,
            bundled: false,
            script: None,
            parsed,
            found,
            offset,
        };
        invocation.settle();
        Some(invocation)
    }

    /// What was started to run it: of the programs in argv it is this one.
    pub(super) fn started_by(&mut self, argv: &[&str], places: &[Place], own: Place, executable: Option<&str>) {
        let Some(path) = argv.get(own.at) else { return };
        // `args[0]` is the caller's to choose.
        let path = executable.as_ref().filter(|_| own.at == 0).unwrap_or(path);
        if own.image {
            self.tool_version = version::of_image(path);
            return;
        }
        let definition = &self.tool.definition;
        let names = definition.package.names.iter().chain(&definition.recognise.programs).map(String::as_str);
        let names: Vec<&str> = names.chain([&*self.tool.name]).collect();
        let by_path = |path: &str| version::of_path(path, &names);
        self.tool_version = by_path(path).or_else(|| executable.and_then(by_path));
        let bundler =
            |place: &Place| argv.get(place.at).is_some_and(|path| matches!(base_name(path), "bundle" | "bundler"));
        // A path below the working directory is the project's own binstub.
        let below = path.contains('/') && !path.starts_with(['/', '.', '~']) || path.starts_with("./");
        self.bundled = below || places.iter().any(bundler);
        self.script = Some((*path).to_owned());
    }

    /// The folder that it was started in: a binstub in there is the project's own.
    pub fn in_folder(&mut self, folder: &str) {
        let below = |script: &String| script.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.bundled |= self.script.as_ref().is_some_and(below);
    }

    /// The gem whose version `Gemfile.lock` has.
    pub(super) fn locked_gem(&self) -> Option<&str> {
        let gem = self.tool.definition.package.gem.as_deref();
        gem.filter(|_| self.bundled && self.tool_version.is_none())
    }

    /// The same start, seen further: a shim executes the program that it stands for.
    pub fn goes_on_as(&mut self, later: &Self) {
        if self.tool_version.is_none() && self.tool.name == later.tool.name {
            self.tool_version.clone_from(&later.tool_version);
        }
    }

    /// The version of the tool.
    pub fn tool_version(&self, facts: Option<&Facts>) -> Option<String> {
        let project = facts.and_then(|facts| facts.project.as_ref());
        self.tool_version.clone().or_else(|| project.and_then(|project| project.tool_version.clone()))
    }

    fn parse(tool: &Tool, args: &[String]) -> (Parsed, Verb) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let parsed = arguments::parse(&args, &tool.definition.arguments);
        let words: Vec<&str> = parsed.words.iter().map(|word| word.text.as_str()).collect();
        let verb = arguments::verb(&words, &tool.definition);
        (parsed, verb)
    }

    /// Options that make the verb another, or nothing at all.
    fn settle(&mut self) {
        let definition = &self.tool.definition;
        let rules = &definition.arguments;
        let has = |options: &[String]| self.parsed.options.iter().any(|choice| options.contains(&choice.name));
        if has(&rules.help) || (self.parsed.begins_with_option && !rules.options_first) {
            self.kind = Kind::None;
            return;
        }
        if self.kind == Kind::None {
            return;
        }
        let when = definition
            .when
            .iter()
            .find(|when| when.verb.as_ref().is_none_or(|verb| *verb == self.verb) && has(&when.options));
        if let Some(when) = when {
            self.kind = when.action;
        }
    }

    /// The same arguments, wherever they stand.
    pub fn same_request(&self, other: &Self) -> bool {
        let words = |of: &Self| of.parsed.words.iter().map(|word| word.text.clone()).collect::<Vec<_>>();
        let options = |of: &Self| {
            of.parsed.options.iter().map(|choice| (choice.name.clone(), choice.value.clone())).collect::<Vec<_>>()
        };
        self.tool.name == other.tool.name && words(self) == words(other) && options(self) == options(other)
    }

    /// The value of the first of these options that is there.
    pub fn option(&self, names: &[String]) -> Option<&str> {
        let chosen = |name: &String| self.parsed.options.iter().rev().find(|choice| choice.name == *name);
        names.iter().find_map(chosen).and_then(|choice| choice.value.as_deref())
    }

    /// All values of a field, from the first source that has any.
    fn values(&self, sources: &[String], facts: Option<&Facts>) -> Vec<String> {
        let project = facts.and_then(|facts| facts.project.as_deref());
        let from = |source: &String| -> Vec<String> {
            let one = |text: Option<&str>| text.map(str::to_owned).into_iter().collect();
            match source.rsplit_once(':') {
                Some(("option", name)) => {
                    let chosen = self.parsed.options.iter().filter(|choice| choice.name == name);
                    chosen.filter_map(|choice| choice.value.clone()).collect()
                }
                Some(("config", key)) => project.map(|project| of_project(project, key)).unwrap_or_default(),
                Some(("environment", name)) => {
                    let found = facts.and_then(|facts| facts.variables.iter().find(|(own, _)| own == name));
                    one(found.map(|(_, value)| value.as_str()))
                }
                Some((verb, number)) => match number.strip_suffix('+').map(str::parse) {
                    Some(Ok(first)) => (first..first + self.parsed.words.len())
                        .map_while(|n| self.word(verb, n))
                        .map(str::to_owned)
                        .collect(),
                    _ => one(number.parse().ok().and_then(|number| self.word(verb, number))),
                },
                None => one(self.parsed.words.last().map(|word| word.text.as_str())),
            }
        };
        let values = sources.iter().map(from).find(|values| values.iter().any(|value| !value.is_empty()));
        // What was a secret says nothing: `-p` is a project's name to one verb and a password to another.
        let known = |value: &String| !value.is_empty() && value != MARK;
        values.unwrap_or_default().into_iter().filter(known).take(VALUES_MAX).collect()
    }

    /// The N-th word: of all, or after this verb.
    fn word(&self, verb: &str, number: usize) -> Option<&str> {
        let words = &self.parsed.words;
        let at = match verb {
            "word" => number.checked_sub(1)?,
            "*" => (self.found.from + self.found.words + number).checked_sub(1)?,
            _ if glob(verb, &self.verb) => (self.found.from + self.found.words + number).checked_sub(1)?,
            _ => return None,
        };
        words.get(at).map(|word| word.text.as_str())
    }

    fn value(&self, sources: &[String], facts: Option<&Facts>) -> Option<String> {
        self.values(sources, facts).into_iter().next()
    }

    fn list(&self, sources: &[String], facts: Option<&Facts>) -> Vec<String> {
        let values = self.values(sources, facts);
        let parts = values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty());
        let mut list: Vec<String> = parts.map(str::to_owned).take(VALUES_MAX).collect();
        let mut seen = std::collections::HashSet::new();
        list.retain(|value| seen.insert(value.clone()));
        list
    }

    pub fn service(&self, facts: Option<&Facts>) -> Option<String> {
        self.value(&self.tool.definition.from.service, facts)
    }

    pub fn destination(&self, facts: Option<&Facts>) -> Option<String> {
        self.value(&self.tool.definition.from.destination, facts)
    }

    pub fn version(&self, facts: Option<&Facts>) -> Option<String> {
        self.value(&self.tool.definition.from.version, facts)
    }

    pub fn performer(&self, facts: Option<&Facts>) -> Option<String> {
        self.value(&self.tool.definition.from.performer, facts)
    }

    /// Names of the secrets that the command is about.
    pub fn secrets(&self, facts: Option<&Facts>) -> Vec<String> {
        self.list(&self.tool.definition.from.secrets, facts)
    }

    /// Names that a step stands for: `config:...` is the project's.
    pub fn secrets_of(&self, step: &[String], facts: Option<&Facts>) -> Vec<String> {
        let project = facts.and_then(|facts| facts.project.as_deref());
        let name = |name: &String| match (name.strip_prefix("config:"), project) {
            (None, _) => vec![name.clone()],
            (Some(key), Some(project)) => of_project(project, key),
            (Some(_), None) => Vec::new(),
        };
        step.iter().flat_map(name).collect()
    }

    pub fn roles(&self, facts: Option<&Facts>) -> Vec<String> {
        let roles = self.list(&self.tool.definition.from.roles, facts);
        let project = facts.and_then(|facts| facts.project.as_deref());
        selected(roles, &project.map(|project| of_project(project, "roles")).unwrap_or_default())
    }

    pub fn hosts(&self, facts: Option<&Facts>) -> Vec<String> {
        let from = &self.tool.definition.from;
        let by_config = |source: &String| source.starts_with("config:");
        let (configured, given): (Vec<String>, Vec<String>) = from.hosts.iter().cloned().partition(by_config);
        let asked: Vec<String> = self.list(&given, facts).into_iter().map(host_of).collect();
        let all = self.list(&configured, facts);
        if !asked.is_empty() {
            return selected(asked, &all);
        }
        let Some(project) = facts.and_then(|facts| facts.project.as_deref()) else { return all };
        let roles = self.roles(facts);
        let of_roles = project.roles.iter().filter(|(role, _)| roles.contains(role)).flat_map(|(_, hosts)| hosts);
        let of_roles: Vec<String> = of_roles.cloned().collect();
        let mut hosts = if of_roles.is_empty() || configured.is_empty() { all } else { of_roles };
        let mut seen = std::collections::HashSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        hosts
    }

    /// Where in argv a secret begins: index and byte.
    pub(super) fn secret_places(&self) -> Vec<(usize, usize)> {
        let Some(offset) = self.offset else { return Vec::new() };
        let rules = &self.tool.definition.arguments;
        let options = self.parsed.options.iter().filter(|choice| rules.secret.contains(&choice.name));
        let options = options.filter_map(|choice| choice.place);
        let words = rules.secret_words.iter().filter_map(|source| {
            let (verb, number) = source.rsplit_once(':')?;
            let number: usize = number.parse().ok()?;
            let glob = glob(verb, &self.verb);
            let at = (self.found.from + self.found.words + number).checked_sub(1)?;
            self.parsed.words.get(at).filter(|_| glob).map(|word| (word.at, 0))
        });
        options.chain(words).map(|(at, from)| (at + offset, from)).collect()
    }
}

/// The host of `user@host:/path`.
fn host_of(place: String) -> String {
    match place.split_once(":/") {
        Some((host, _)) => host.rsplit('@').next().unwrap_or(host).to_owned(),
        None => place,
    }
}

/// What was asked for: names as they are, wildcards out of those that there are.
fn selected(asked: Vec<String>, all: &[String]) -> Vec<String> {
    asked
        .into_iter()
        .flat_map(|name| {
            if name.contains('*') && !all.is_empty() {
                all.iter().filter(|one| glob(&name, one)).cloned().collect()
            } else {
                vec![name]
            }
        })
        .collect()
}

fn of_project(project: &Project, key: &str) -> Vec<String> {
    match key {
        "service" => project.service.iter().cloned().collect(),
        "image" => project.image.iter().cloned().collect(),
        "hosts" => project.roles.iter().flat_map(|(_, hosts)| hosts.clone()).collect(),
        "roles" => project.roles.iter().map(|(role, _)| role.clone()).collect(),
        "secrets" => project.secrets.clone(),
        "registry_secrets" => project.registry_secrets.clone(),
        _ => Vec::new(),
    }
}
