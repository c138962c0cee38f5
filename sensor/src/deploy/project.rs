//! What a project's configuration files say: the YAML that the definition names, read for service, image, hosts, roles
//! and aliases.
//!
//! In: the files' bytes, as far as they could be had. Out: a [`Project`], with the state of each file. The files belong
//! to the user who deploys, so they are hostile: a bound on size, nesting and nodes (an alias of an alias...), and
//! never a value where a name is wanted: of `registry.password` only a list is read, which names variables. ERB is not
//! run: what a template tag would print is not known, so a value with one in it is absent. Errors of the parser quote
//! the file, so they are not kept.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::{Invocation, definition::ConfigFile, version};
use crate::event::{
    config_file::holds_secrets,
    deploy::{Facts, FileState, Project, ProjectFile},
};

/// A configuration file is some KiB; its reader takes microseconds for each.
pub const FILE_MAX: usize = 256 << 10;
/// Nodes of a document, after aliases.
const NODES_MAX: usize = 20_000;
/// Nesting.
const DEPTH_MAX: usize = 32;
/// Hosts, aliases, secrets: each.
const ENTRIES_MAX: usize = 4096;
/// Characters of one name.
const NAME_MAX: usize = 1024;
/// Characters of all: a thousand hosts take half of it. What is over is left out, as a record holds 256 KiB.
const TOTAL_MAX: usize = 64 << 10;
/// Bundler's.
const LOCK: &str = "Gemfile.lock";
/// What stands where a template would print something.
const UNKNOWN: &str = "\u{fffd}";

/// A file to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub path: String,
    /// Its presence only.
    pub secret: bool,
    /// Its contents too.
    pub read: bool,
    /// It is no configuration: it has the version of this gem.
    pub locks: Option<String>,
}

/// The files of this invocation, in the order in which the tool merges them.
pub fn wanted(invocation: &Invocation) -> Vec<Wanted> {
    let definition = &invocation.tool.definition;
    let no_facts: Option<&Facts> = None;
    let destination = invocation.destination(no_facts);
    let mut files = Vec::new();
    for file in &definition.config {
        let path = invocation.option(&file.options).unwrap_or(&file.path).to_owned();
        if path.is_empty() {
            continue;
        }
        let beside = destination.as_deref().filter(|_| file.per_destination).map(|name| beside(&path, name));
        // An option may name a file of secrets: `-var-file production.tfvars`.
        let want = |path: String, file: &ConfigFile| {
            let secret = holds_secrets(path.as_ref());
            Wanted { path, secret, read: file.yaml && !secret, locks: None }
        };
        files.push(want(path, file));
        files.extend(beside.map(|path| want(path, file)));
    }
    for file in &definition.secrets {
        let path = match destination.as_deref().filter(|_| file.per_destination) {
            Some(name) => format!("{}.{name}", file.path),
            None => file.path.clone(),
        };
        files.push(Wanted { path, secret: true, read: false, locks: None });
    }
    let locks = invocation.locked_gem().map(str::to_owned);
    files.extend(locks.map(|gem| Wanted { path: LOCK.into(), secret: false, read: true, locks: Some(gem) }));
    // A destination is an argument: it could be a path.
    files.retain(|file| !file.path.is_empty() && file.path.len() <= 4096 && !file.path.contains('\0'));
    files
}

/// `config/deploy.yml` for production: `config/deploy.production.yml`.
fn beside(path: &str, destination: &str) -> String {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let name = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}.{destination}.{extension}"),
        _ => format!("{name}.{destination}"),
    };
    if folder.is_empty() && !path.starts_with('/') { name } else { format!("{folder}/{name}") }
}

/// What became of a file: its bytes, nothing but that it is there, or why not.
pub type Found = Result<Option<Vec<u8>>, FileState>;

/// Reads what was found.
pub fn read(invocation: &Invocation, files: Vec<(Wanted, Found)>) -> Project {
    let mut project = Project::default();
    let mut merged = Value::Null;
    for (wanted, found) in files {
        if let Some(gem) = &wanted.locks {
            let text = found.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
            project.tool_version = text.and_then(|text| version::of_lock(&text, gem));
            continue;
        }
        let mut state = FileState::Read;
        match found {
            Err(why) => state = why,
            Ok(None) => {}
            Ok(Some(bytes)) => match parse(&bytes) {
                // A file of comments says nothing.
                Some(Value::Null) => {}
                Some(value) => merge(&mut merged, value),
                None => state = FileState::Invalid,
            },
        }
        project.files.push(ProjectFile { path: wanted.path, secret: wanted.secret, state });
    }
    let reads = &invocation.tool.definition.reads;
    let text = |key: &Option<String>| key.as_deref().and_then(|key| at(&merged, key)).and_then(name_of);
    project.service = text(&reads.service);
    project.image = text(&reads.image);
    project.registry = text(&reads.registry);
    if let Some(servers) = reads.servers.as_deref().and_then(|key| at(&merged, key)) {
        project.roles = roles(servers, reads.default_role.as_deref().unwrap_or("default"));
    }
    if let Some(Value::Object(aliases)) = reads.aliases.as_deref().and_then(|key| at(&merged, key)) {
        let pairs = aliases.iter().filter_map(|(name, value)| Some((name.clone(), name_of(value)?)));
        project.aliases = pairs.take(ENTRIES_MAX).collect();
    }
    project.secrets = names(&merged, &reads.secrets);
    project.registry_secrets = names(&merged, &reads.registry_secrets);
    fit(&mut project);
    project
}

/// Leaves out what is over the limit.
fn fit(project: &mut Project) {
    let mut left = TOTAL_MAX;
    let mut fits = |text: &str| {
        let rest = left.checked_sub(text.len());
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    project.roles.retain(|(role, _)| fits(role));
    for (_, hosts) in &mut project.roles {
        hosts.retain(|host| fits(host));
    }
    project.secrets.retain(|name| fits(name));
    project.registry_secrets.retain(|name| fits(name));
    project.aliases.retain(|(name, text)| fits(name) && fits(text));
}

/// The names of secrets in the lists at these keys.
fn names(merged: &Value, keys: &[String]) -> Vec<String> {
    let lists = keys.iter().flat_map(|key| all_at(merged, key));
    let names = lists.filter_map(Value::as_array).flatten().filter_map(name_of);
    // `NAME` or `NAME:OTHER`, where OTHER is what it is called in the secret file.
    let mut names: Vec<String> =
        names.take(ENTRIES_MAX).map(|name| name.split(':').next_back().unwrap_or_default().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| is_name(name));
    names
}

/// The name of a variable: anything else in such a list could be a value.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn parse(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > FILE_MAX {
        return None;
    }
    let text = without_templates(std::str::from_utf8(bytes).ok()?);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_depth: DEPTH_MAX, max_events: 4 * NODES_MAX },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(&text, options).ok()
}

/// ERB tags away: `<%= x %>` leaves a mark, `<% x %>` nothing.
fn without_templates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("<%") {
        out.push_str(before);
        let (tag, after) = tail.split_once("%>").unwrap_or((tail, ""));
        if tag.starts_with('=') {
            out.push_str(UNKNOWN);
        } else if before.rsplit('\n').next().is_some_and(|line| line.trim().is_empty()) {
            // A line of its own: a comment keeps its place.
            out.push('#');
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// As the tool merges: keys of maps, deeply; anything else is replaced.
fn merge(into: &mut Value, other: Value) {
    match (into, other) {
        (Value::Object(own), Value::Object(other)) => {
            for (key, value) in other {
                merge(own.entry(key).or_insert(Value::Null), value);
            }
        }
        (own, other) => *own = other,
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

/// Every value at a path with `*` in it.
fn all_at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('.').fold(vec![value], |values, key| {
        let step = |value: &'a Value| -> Vec<&'a Value> {
            match (key, value) {
                ("*", Value::Object(map)) => map.values().collect(),
                ("*", Value::Array(list)) => list.iter().collect(),
                _ => value.get(key).into_iter().collect(),
            }
        };
        values.into_iter().flat_map(step).take(ENTRIES_MAX).collect()
    })
}

/// A name or number as text; not what a template would print.
fn name_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= NAME_MAX && !text.contains(UNKNOWN)).then_some(text)
}

/// `[host, ...]`, `{role: [host, ...]}`, `{role: {hosts: [...]}}`; a host is a name or `{name: tags}`.
fn roles(servers: &Value, default: &str) -> Vec<(String, Vec<String>)> {
    match servers {
        Value::Object(roles) => {
            let of = |value: &Value| hosts(value.get("hosts").unwrap_or(value));
            roles.iter().map(|(role, value)| (role.clone(), of(value))).take(ENTRIES_MAX).collect()
        }
        Value::Array(_) => vec![(default.to_owned(), hosts(servers))],
        _ => Vec::new(),
    }
}

fn hosts(list: &Value) -> Vec<String> {
    let host = |value: &Value| match value {
        Value::Object(tagged) => tagged.keys().next().cloned(),
        _ => name_of(value),
    };
    list.as_array().into_iter().flatten().filter_map(host).take(ENTRIES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destinations_file_stands_beside_its_own() {
        assert_eq!(beside("config/deploy.yml", "production"), "config/deploy.production.yml");
        assert_eq!(beside("/deploy.yml", "a"), "/deploy.a.yml");
        assert_eq!(beside("deploy", "a"), "deploy.a");
    }

    /// One rule for what tools name and for what an administrator has watched.
    #[test]
    fn what_a_shipped_definition_calls_secret_is_secret_by_its_name_too() {
        let tools = super::super::Tools::shipped();
        let files: Vec<&str> =
            tools.iter().flat_map(|tool| &tool.definition.secrets).map(|file| file.path.as_str()).collect();
        assert!(files.len() >= 7, "{files:?}");
        for file in files {
            assert!(holds_secrets(file.as_ref()), "{file}");
        }
    }

    #[test]
    fn a_file_of_secrets_that_an_option_names_is_not_read() {
        let argv = ["terraform", "apply", "-var-file", "envs/production.tfvars"];
        let invocation = super::super::Tools::shipped().recognise(&argv, None, &[]).unwrap();
        let named = wanted(&invocation).into_iter().find(|file| file.path == argv[3]).unwrap();
        assert!(named.secret && !named.read);
    }

    #[test]
    fn templates_are_not_run() {
        let text = "service: a<%= ENV['X'] %>\n<% if x %>\nimage: b\n  <%# no %>\nregistry: {server: <%= y %>}\n";
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(at(&value, "service").and_then(name_of), None);
        assert_eq!(at(&value, "image").and_then(name_of), Some("b".into()));
        assert_eq!(at(&value, "registry.server").and_then(name_of), None);
    }

    #[test]
    fn no_more_is_kept_than_a_record_holds() {
        let host = |n: usize| ["  - ", &"h".repeat(100), &n.to_string()].concat();
        let hosts = (0..2000).map(host).collect::<Vec<_>>().join("\n");
        let servers = parse(format!("servers:\n{hosts}").as_bytes()).unwrap();
        let mut project = Project { roles: roles(&servers["servers"], "web"), ..Project::default() };
        assert_eq!(project.roles[0].1.len(), 2000);
        fit(&mut project);
        let kept: usize = project.roles.iter().flat_map(|(_, hosts)| hosts).map(String::len).sum();
        assert!(kept <= TOTAL_MAX && kept > TOTAL_MAX / 2, "{kept}");
    }

    #[test]
    fn a_file_made_to_exhaust_its_reader_is_none() {
        let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
        for pair in "abcdefghijk".as_bytes().windows(2) {
            let [from, to] = [char::from(pair[0]), char::from(pair[1])];
            bomb +=
                &["", &to.to_string(), ": &", &to.to_string(), " [", &vec![format!("*{from}"); 9].join(", "), "]\n"]
                    .concat();
        }
        let started = std::time::Instant::now();
        assert_eq!(parse(bomb.as_bytes()), None);
        assert_eq!(parse("[".repeat(200_000).as_bytes()), None);
        assert_eq!(parse(&vec![b' '; FILE_MAX + 1]), None);
        assert_eq!(parse(b"\xff\xfe"), None);
        assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
    }
}
