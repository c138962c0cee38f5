//! What a command line is to a tool: which step, and what its words name.
//!
//! In: a redacted line of an SSH request, or the argv of a child. Out: the step's kind by the first rule that fits, and
//! what the rule's pattern, the definition's marks and the audit line keep: service, destination, role, version,
//! container, image, performer. It rests on the exact lines that the tools were seen to send, wherever `env`, `sh -c`
//! and SSHKit's `( export X=y ; ... )` stand around them. What no rule knows is `remote`, without more.

use super::{
    Rule, Tool,
    program::{Place, name, places},
    shell::{self, Word},
};
use crate::{
    event::executed::base_name,
    shell::runners::{is_assignment, is_shell},
};

/// `sh -c` in `sh -c`; Kamal has one.
const DEPTH_MAX: usize = 2;
/// Names of secrets kept of one line.
const SECRETS_MAX: usize = 64;

/// What is known of one command.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct ClassifiedStep {
    pub kind: String,
    pub service: Option<String>,
    pub destination: Option<String>,
    pub role: Option<String>,
    pub version: Option<String>,
    pub container: Option<String>,
    /// The beginning of a container's name: all but the version.
    pub prefix: Option<String>,
    pub image: Option<String>,
    pub tag: Option<String>,
    pub registry: Option<String>,
    pub performer: Option<String>,
    pub hook: Option<String>,
    pub secrets: Vec<String>,
    /// Service and destination are certain: labels, not the name of a file.
    pub labelled: bool,
    /// A mark of the tool: what nothing else would run.
    pub marked: bool,
    /// A rule fits that others could run too.
    pub known: bool,
    pub may_fail: bool,
    pub retires: bool,
    /// It acts on what it names: its success confirms it.
    pub confirms: bool,
    /// The version that it acts on: of its image or its path, and not what a variable or a label says.
    pub acts_on: Option<String>,
    /// From the tool's client it is a deploy's, whatever else is asked.
    pub standalone: bool,
    pub reason: Option<String>,
}

/// Reads a line of a shell.
pub fn classify(tool: &Tool, line: &str) -> ClassifiedStep {
    let words = commands(shell::words(line), 0);
    read(tool, &tool.remote, &words, "remote")
}

/// Reads the argv of a local child, which is an exec of `executable`: the outermost program in it that a rule knows.
pub fn classify_local(tool: &Tool, argv: &[&str], executable: Option<&str>) -> ClassifiedStep {
    let word = |text: &&str| Word { text: (*text).to_owned(), operator: false };
    let of = |place: Place| {
        let (first, rest) = argv.get(place.at..)?.split_first()?;
        // Patterns name programs, not where they lie; a script's folder can matter.
        let words = |first: &str| std::iter::once(&first).chain(rest).map(word).collect::<Vec<_>>();
        let name = name(argv, place.at, executable);
        // A path in `args[0]` counts if it is the executable's: `.kamal/hooks/pre-deploy`.
        let path = if base_name(first) == name { first } else { name };
        let whole = read(tool, &tool.local, &commands(words(path), 0), "local");
        Some(if whole.known { whole } else { read(tool, &tool.local, &commands(words(name), 0), "local") })
    };
    let mut first = None;
    for place in places(argv, executable).into_iter().filter(|place| !place.image) {
        let Some(found) = of(place) else { continue };
        if found.known {
            return found;
        }
        first.get_or_insert(found);
    }
    first.unwrap_or_default()
}

fn read(tool: &Tool, rules: &[Rule], words: &[Word], kind: &str) -> ClassifiedStep {
    let words: Vec<&Word> = words.iter().collect();
    let mut remote = ClassifiedStep { kind: kind.into(), ..ClassifiedStep::default() };
    let found = rules.iter().find_map(|rule| Some((rule, rule.matches(&words)?)));
    if let Some((rule, kept)) = found {
        let step = &rule.step;
        remote.kind.clone_from(&step.kind);
        remote.known = true;
        remote.marked = !step.requires_client;
        (remote.may_fail, remote.retires, remote.standalone) = (step.may_fail, step.retires, step.standalone);
        remote.confirms = step.confirms;
        remote.reason.clone_from(&step.reason);
        remote.secrets.clone_from(&step.secrets);
        for (name, text) in kept {
            if name == "audit_log" {
                remote.audit(tool, text, &words);
            } else {
                remote.keep(name, text);
            }
        }
    }
    remote.acts_on.clone_from(&remote.version);
    remote.marks(tool, &words);
    // `docker run ... IMAGE:VERSION COMMAND`: the image is the word with the version that a mark found.
    if remote.image.is_none()
        && remote.container.is_some()
        && let Some(end) = remote.version.as_ref().map(|version| format!(":{version}"))
        && let Some(word) = words.iter().find(|word| word.text.ends_with(&end) && !word.text.contains('='))
    {
        remote.image(&word.text);
    }
    remote.acts_on = remote.acts_on.take().or_else(|| remote.tag.clone());
    remote
}

impl ClassifiedStep {
    fn keep(&mut self, name: &str, text: &str) {
        let place = match name {
            "service" => &mut self.service,
            "destination" => &mut self.destination,
            "role" => &mut self.role,
            "version" => &mut self.version,
            "container" => &mut self.container,
            "prefix" => &mut self.prefix,
            "registry" => &mut self.registry,
            "performer" => &mut self.performer,
            "hook" => &mut self.hook,
            "image" => return self.image(text),
            "secret" if self.secrets.len() < SECRETS_MAX => {
                // `id=NAME`, `id=NAME,env=OTHER`
                let name = text.split(',').next().unwrap_or(text).to_owned();
                if !self.secrets.contains(&name) {
                    self.secrets.push(name);
                }
                return;
            }
            _ => return,
        };
        place.get_or_insert_with(|| text.to_owned());
    }

    /// `registry/name:tag`: the tag is the version, unless it is `latest...`.
    fn image(&mut self, text: &str) {
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (text, None),
        };
        self.image = Some(name.to_owned());
        self.tag = tag.map(str::to_owned);
        if let Some(tag) = tag.filter(|tag| !tag.starts_with("latest")) {
            self.version.get_or_insert_with(|| tag.to_owned());
        }
    }

    fn marks(&mut self, tool: &Tool, words: &[&Word]) {
        for mark in &tool.marks {
            for (name, text) in mark.find_all(words) {
                if matches!(name, "service" | "destination" | "role") {
                    self.marked = true;
                    self.labelled |= name == "service";
                }
                match name {
                    // Labels say it for certain.
                    "service" => self.service = Some(text.to_owned()),
                    "destination" => self.destination = Some(text.to_owned()),
                    "role" => self.role = Some(text.to_owned()),
                    _ => self.keep(name, text),
                }
            }
        }
    }

    /// `[time] [performer] [destination] [role] text`, the last two if there are any.
    fn audit(&mut self, tool: &Tool, log: &str, words: &[&Word]) {
        let from = words.iter().position(|word| !word.operator && word.text == "echo").map_or(0, |at| at + 1);
        let to = words.iter().rposition(|word| word.operator && word.text == ">>").unwrap_or(words.len());
        let line =
            words.get(from..to).unwrap_or_default().iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let mut rest = line.trim_start();
        let mut tags = Vec::new();
        while let Some((tag, tail)) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|_| tags.len() < 4)
        {
            tags.push(tag);
            rest = tail.trim_start();
        }
        self.performer = tags.get(1).map(|tag| (*tag).to_owned());
        self.service = Some(log.to_owned());
        let mut others = tags.into_iter().skip(2).peekable();
        if let Some(destination) = others.peek()
            && let Some(service) = log.strip_suffix(destination).and_then(|rest| rest.strip_suffix('-'))
        {
            self.service = Some(service.to_owned());
            self.destination = others.next().map(str::to_owned);
        }
        self.role = others.next().map(str::to_owned);
        let said: Vec<Word> =
            rest.split_whitespace().map(|text| Word { text: text.to_owned(), operator: false }).collect();
        // Somebody's own command is quoted in the log: what its words say is not Kamal's.
        if !rest.starts_with("Executed cmd") {
            let said: Vec<&Word> = said.iter().collect();
            for mark in &tool.marks {
                for (name, text) in mark.find_all(&said) {
                    self.keep(name, text);
                }
            }
        }
    }
}

/// Commands without what only carries them: `env`, assignments, `( export X=y ; ... )`, `cd x && ...`, `sh -c`.
fn commands(words: Vec<Word>, depth: usize) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::with_capacity(words.len());
    let mut words = words.into_iter().peekable();
    let mut start = true;
    while let Some(word) = words.next() {
        if word.operator {
            start = true;
            // Nothing was kept of what stood before it.
            if !out.is_empty() || !matches!(word.text.as_str(), "(" | ";" | "&&") {
                out.push(word);
            }
            continue;
        }
        let name = base_name(&word.text);
        if start && (name == "env" || is_assignment(word.text.as_bytes())) {
            continue;
        }
        if start && out.is_empty() && matches!(name, "export" | "cd") {
            while words.next_if(|word| !word.operator).is_some() {}
            continue;
        }
        if start && depth < DEPTH_MAX && is_shell(name.as_bytes()) {
            let text = words.next_if(|word| word.text == "-c").and_then(|_| words.next());
            if let Some(text) = text {
                out.extend(commands(shell::words(&text.text), depth + 1));
            } else {
                // A script: its name is what runs.
                continue;
            }
        } else {
            out.push(word);
        }
        start = false;
    }
    // The parenthesis that the first one opened.
    let opened = |words: &[Word]| words.iter().filter(|word| word.operator && word.text == "(").count();
    let closed = |words: &[Word]| words.iter().filter(|word| word.operator && word.text == ")").count();
    while out.last().is_some_and(|word| word.operator && word.text == ")") && closed(&out) > opened(&out) {
        out.pop();
    }
    out
}
