//! A definition that was checked and made ready: what the rest of the sensor uses.

use std::sync::Arc;

use super::{
    definition::{Definition, Step},
    pattern::{Kept, Pattern},
    shell::Word,
};

/// A definition that cannot be used: which file, which key, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the tool definitions in {path}: {why}")]
    Read { path: String, why: String },
    /// The parser's message shows the line.
    #[error("{path} is no valid tool definition:\n{source}")]
    Parse { path: String, source: Box<toml::de::Error> },
    #[error("{path}: {key}: {problem}: {advice}")]
    Value { path: String, key: String, problem: String, advice: String },
}

/// A step with its patterns.
#[derive(Debug)]
pub struct Rule {
    pub step: Step,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
pub struct Tool {
    pub name: Arc<str>,
    pub definition: Definition,
    pub local: Vec<Rule>,
    pub remote: Vec<Rule>,
    pub(super) marks: Vec<Pattern>,
    /// Of the words that name a hook, what is always in them.
    pub(super) hook_literals: Vec<Vec<u8>>,
}

impl Rule {
    /// What a line has of this step's names.
    pub(super) fn matches<'a>(&self, words: &[&'a Word]) -> Option<Kept<'a>> {
        self.patterns.iter().find_map(|pattern| pattern.matches(words))
    }
}

impl Tool {
    /// Checks a definition. `path` is for messages.
    pub fn parse(text: &str, path: &str) -> Result<Self, Error> {
        let definition: Definition =
            toml::from_str(text).map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?;
        let check = Check { path };
        check.names(&definition)?;
        check.verbs(&definition)?;
        check.sources(&definition)?;
        check.environment(&definition)?;
        let local = check.rules("local", &definition.local)?;
        let remote = check.rules("remote", &definition.remote)?;
        let marks = definition.marks.iter().map(|text| check.pattern("marks", text)).collect::<Result<_, _>>()?;
        check.outcome(&definition)?;
        let hooks =
            local.iter().flat_map(|rule: &Rule| &rule.patterns).filter_map(|pattern| pattern.literal_of("hook"));
        let hook_literals = hooks.map(|text| text.as_bytes().to_vec()).collect();
        Ok(Self { name: definition.name.as_str().into(), definition, local, remote, marks, hook_literals })
    }
}

struct Check<'a> {
    path: &'a str,
}

/// Sources of values that are written `KIND:REST`.
const SOURCES: &str = "option:--name, word:N, VERB:N, VERB:N+, *:N, last, config:KEY or environment:NAME";
/// What `config:` can name.
const CONFIG_KEYS: &[&str] = &["service", "image", "hosts", "roles", "secrets", "registry_secrets"];
/// A variable with one of these in its name is never read.
const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "PRIVATE",
    "CREDENTIAL",
    "API_KEY",
    "MASTER_KEY",
    "DATABASE_URL",
    "AUTH",
];

impl Check<'_> {
    fn error(&self, key: &str, problem: impl Into<String>, advice: impl Into<String>) -> Error {
        Error::Value { path: self.path.into(), key: key.into(), problem: problem.into(), advice: advice.into() }
    }

    fn names(&self, definition: &Definition) -> Result<(), Error> {
        if definition.name.is_empty() {
            return Err(self.error("name", "it is missing", "write name = \"tool\", as deploy.tool shall show it"));
        }
        let recognise = &definition.recognise;
        if recognise.programs.is_empty() && recognise.images.is_empty() {
            let advice = "write programs = [\"tool\"], or images = [\"tool\"], under [recognise]";
            return Err(self.error("recognise", "nothing would be recognised", advice));
        }
        match recognise.programs.iter().find(|name| name.contains('/')) {
            Some(path) => {
                let problem = format!("`{path}` is a path");
                Err(self.error("recognise.programs", problem, "write the name of the program alone"))
            }
            None if definition.arguments.verb_at == 0 => {
                Err(self.error("arguments.verb_at", "words are counted from 1", "write 1 for the first word"))
            }
            None => Ok(()),
        }
    }

    fn verbs(&self, definition: &Definition) -> Result<(), Error> {
        let bad = definition.verbs.keys().find(|verb| {
            verb.is_empty() || verb.starts_with('-') || **verb != verb.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        match bad {
            Some(verb) => {
                let key = format!("verbs.\"{verb}\"");
                Err(self.error(&key, "this is no verb", "write words with one blank between them, and no options"))
            }
            None => Ok(()),
        }
    }

    fn sources(&self, definition: &Definition) -> Result<(), Error> {
        let from = &definition.from;
        let fields = [
            ("service", &from.service),
            ("destination", &from.destination),
            ("version", &from.version),
            ("hosts", &from.hosts),
            ("roles", &from.roles),
            ("performer", &from.performer),
            ("secrets", &from.secrets),
        ];
        for (field, sources) in fields {
            for source in sources {
                let known = match source.rsplit_once(':') {
                    None => source == "last",
                    Some(("option", name)) => name.starts_with('-'),
                    Some(("config", key)) => CONFIG_KEYS.contains(&key),
                    Some(("environment", name)) => definition.environment.safe.iter().any(|safe| safe == name),
                    Some((_, number)) => number.trim_end_matches('+').parse::<usize>().is_ok_and(|number| number > 0),
                };
                if !known {
                    let problem = format!("`{source}` is no source of a value");
                    let advice =
                        format!("use {SOURCES}; variables must be in environment.safe, keys are {CONFIG_KEYS:?}");
                    return Err(self.error(&format!("from.{field}"), problem, advice));
                }
            }
        }
        let words = definition.arguments.secret_words.iter();
        for source in words {
            let number = source.rsplit_once(':').and_then(|(_, number)| number.parse::<usize>().ok());
            if number.is_none_or(|number| number == 0) {
                let problem = format!("`{source}` names no word");
                return Err(self.error("arguments.secret_words", problem, "write VERB:N, with N from 1"));
            }
        }
        Ok(())
    }

    fn environment(&self, definition: &Definition) -> Result<(), Error> {
        let environment = &definition.environment;
        let secret = |name: &str| {
            environment.secret.iter().any(|own| own == name) || SECRET_WORDS.iter().any(|word| name.contains(word))
        };
        match environment.safe.iter().find(|name| secret(name)) {
            Some(name) => {
                let advice = "leave it out: the values of safe variables are read and recorded";
                Err(self.error("environment.safe", format!("`{name}` says that it is a secret"), advice))
            }
            None => Ok(()),
        }
    }

    fn rules(&self, key: &str, steps: &[Step]) -> Result<Vec<Rule>, Error> {
        let mut rules = Vec::new();
        for step in steps {
            if step.kind.is_empty() || step.commands.is_empty() {
                let advice = "write kind = \"name\" and commands = [\"pattern\"]";
                return Err(self.error(key, "a step without a kind or without commands", advice));
            }
            let key = format!("{key} (kind {})", step.kind);
            let patterns = step.commands.iter().map(|text| self.pattern(&key, text)).collect::<Result<_, _>>()?;
            rules.push(Rule { step: step.clone(), patterns });
        }
        Ok(rules)
    }

    fn pattern(&self, key: &str, text: &str) -> Result<Pattern, Error> {
        Pattern::parse(text).map_err(|problem| self.error(key, format!("the pattern `{text}` cannot be used"), problem))
    }

    fn outcome(&self, definition: &Definition) -> Result<(), Error> {
        let kinds = || definition.remote.iter().chain(&definition.local).map(|step| step.kind.as_str());
        let outcome = &definition.outcome;
        let local = |kind: &&String| definition.remote.iter().all(|step| step.kind != **kind);
        if let Some(kind) = outcome.proof.iter().find(local) {
            let problem = format!("`{kind}` is no kind of a remote step");
            let advice = "name a kind that a [[remote]] step has: what runs on this host proves nothing of another";
            return Err(self.error("outcome.proof", problem, advice));
        }
        let unknown = outcome.failure_tail.keys().find(|kind| kinds().all(|own| own != *kind));
        if let Some(kind) = unknown {
            let advice = "name a kind that a [[local]] or [[remote]] step has";
            return Err(self.error("outcome", format!("there is no step of kind `{kind}`"), advice));
        }
        match outcome.nothing_done.keys().find(|action| !matches!(action.as_str(), "deploy" | "rollback")) {
            Some(action) => {
                let problem = format!("`{action}` is not judged by its steps");
                Err(self.error("outcome.nothing_done", problem, "use deploy and rollback"))
            }
            None => Ok(()),
        }
    }
}
