//! The reference of records, made from the types: a JSON Schema, and a page in Markdown.
//!
//! In: the structs of a line with their comments, and a finding of each action with every field set (`sample`). Out:
//! which fields a record of that action can have, with type, words and meaning. What the page says is what is written.

use std::{collections::BTreeSet, fmt::Write as _};

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Line, Words as _, meaning};
use crate::{
    finding::{Action, Finding, FindingKind, Outcome, Time},
    schema::{Origin, Stamp, sample},
};

/// A JSON Schema of every record, with the fields of each action.
pub fn json_schema() -> Value {
    let mut schema = line_schema(false);
    let actions: Vec<Value> = Action::ALL.iter().map(|action| action_schema(*action)).collect();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "A record of sensor".into());
        root.insert("oneOf".into(), actions.into());
        require(root, &always());
    }
    schema
}

/// What tells an action from the others, and the fields that it can have.
fn action_schema(action: Action) -> Value {
    let meaning = meaning(action);
    json!({
        "title": action.word(),
        "description": about(action),
        "properties": { "event": { "properties": {
            "action": { "const": action.word() },
            "dataset": { "const": meaning.dataset },
            "category": { "const": meaning.category },
            "type": { "const": meaning.kind },
        }}},
        "x-fields": fields(action),
    })
}

/// The schema of a line as it is written: what is absent is never null. `inline`: without references.
fn line_schema(inline: bool) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = inline);
    let mut schema = Schema::into(settings.into_generator().into_root_schema_for::<Line<'_>>());
    without_null(&mut schema);
    schema
}

fn without_null(schema: &mut Value) {
    let Value::Object(object) = schema else {
        if let Value::Array(list) = schema {
            list.iter_mut().for_each(without_null);
        }
        return;
    };
    object.remove("default");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            only.into_iter().for_each(|(key, value)| {
                object.entry(key).or_insert(value);
            });
        }
    }
    object.values_mut().for_each(without_null);
}

/// Names the fields that are in every record as required; the objects that they are in are one level deep.
fn require(root: &mut Map<String, Value>, always: &BTreeSet<String>) {
    let objects: BTreeSet<&str> = always.iter().map(|path| path.split('.').next().unwrap_or(path)).collect();
    root.insert("required".into(), json!(objects));
    let within: Map<String, Value> = objects
        .iter()
        .filter_map(|object| {
            let prefix = format!("{object}.");
            let names: Vec<&str> = always.iter().filter_map(|path| path.strip_prefix(&prefix)).collect();
            (!names.is_empty()).then(|| ((*object).to_owned(), json!({ "required": names })))
        })
        .collect();
    root.insert("allOf".into(), json!([{ "properties": within }]));
}

/// Fields that no record is without.
fn always() -> BTreeSet<String> {
    paths_of(&Finding::new(Time(0), Outcome::Success, FindingKind::SensorConfigReloaded))
}

/// Fields that a record of this action can have.
fn fields(action: Action) -> BTreeSet<String> {
    let mut finding = sample::finding(action, "x");
    let mut found = paths_of(&finding);
    // A file is there or it is gone.
    if let FindingKind::DeployConfigChanged(change) = &mut finding.kind {
        change.now = None;
        found.append(&mut paths_of(&finding));
    }
    found
}

fn paths_of(finding: &Finding) -> BTreeSet<String> {
    let line = serde_json::to_value(Line::new(&Origin::default(), &Stamp::default(), finding));
    let mut found = BTreeSet::new();
    leaves(&line.unwrap_or_default(), "", &mut found);
    found
}

/// Paths of values that are no objects; `[]` follows the name of a list of objects.
fn leaves(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                leaves(value, &if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, out);
            }
        }
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            for value in list {
                leaves(value, &format!("{at}[]"), out);
            }
        }
        _ => {
            out.insert(at.to_owned());
        }
    }
}

/// The reference as a page.
pub fn markdown() -> String {
    let schema = line_schema(true);
    let mut page = String::from(
        "# Fields of records\n\n\
         Made from the types by `sensor schema --markdown`; `sensor schema` prints the same as a JSON Schema. A field\n\
         that is not known is absent: never null, never a made-up zero. More fields may come, none changes its meaning.\n\
         Times are RFC 3339 in UTC with nanoseconds.\n\n\
         ## In every record\n\n",
    );
    let always = always();
    table(&mut page, &schema, always.iter());
    // A start of a process has no fields of its own: all that it has can be in every record.
    let shared = fields(Action::ProcessStarted);
    page.push_str(
        "\n## Of whom a record is, and what it says of itself\n\n\
         In records about processes, connections, sessions and deploys, as far as it applies and is known.\n\n",
    );
    table(&mut page, &schema, shared.difference(&always));
    for action in Action::ALL {
        let meaning = meaning(*action);
        let _ = write!(
            page,
            "\n## {}\n\n{}. `event.dataset`: `{}`; `event.category`: `{}`; `event.type`: `{}`.\n",
            action.word(),
            about(*action),
            meaning.dataset,
            meaning.category.join("`, `"),
            meaning.kind.join("`, `"),
        );
        let fields = fields(*action);
        let mut own = fields.difference(&shared).peekable();
        if own.peek().is_some() {
            page.push('\n');
            table(&mut page, &schema, own);
        }
    }
    page
}

fn table<'a>(page: &mut String, schema: &Value, fields: impl Iterator<Item = &'a String>) {
    page.push_str("| field | type | meaning |\n|---|---|---|\n");
    for field in fields {
        let found = field_schema(schema, field).unwrap_or(&Value::Null);
        let text = found.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let _ = writeln!(page, "| `{field}` | {} | {text}{} |", kind_of(found), words_of(found));
    }
}

fn field_schema<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, name| {
        let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        let found = schema.get("properties")?.get(name)?;
        if is_list { found.get("items") } else { Some(found) }
    })
}

fn kind_of(schema: &Value) -> String {
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => format!("{}[]", schema.get("items").map(kind_of).unwrap_or_default()),
        Some("string") => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => "time".into(),
            Some("uuid") => "UUID".into(),
            Some("ip") => "address".into(),
            _ => "text".into(),
        },
        Some(kind) => kind.into(),
        None => String::new(),
    }
}

/// Closed sets are listed.
fn words_of(schema: &Value) -> String {
    let words = schema.get("enum").or_else(|| schema.get("items").and_then(|items| items.get("enum")));
    let words: Vec<&str> = words.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { String::new() } else { format!(" One of `{}`.", words.join("`, `")) }
}

/// When there is a record of this action.
fn about(action: Action) -> &'static str {
    match action {
        Action::SshConnection => "The clear phase of an SSH connection is over: identifications, algorithms, host key",
        Action::SshHostKey => {
            "A server showed its key to a client of this host; the outcome says whether the client continued"
        }
        Action::SshKeyOffered => "A key without a signature was offered; the outcome says whether it would do",
        Action::SshAuthentication => "An attempt to log in was answered, or given up",
        Action::SshChannelOpened => "A channel was opened, or refused",
        Action::SshChannelClosed => "A channel was closed",
        Action::SshForwardRequested => "A peer asked to listen, or to forward an agent or X11",
        Action::SshCommandStarted => "A command, a shell or a subsystem was asked for",
        Action::SshCommandEnded => "A command, a shell or a subsystem ended",
        Action::SshProtocolError => "A peer did what the protocol does not allow, or ended the connection for it",
        Action::SshSessionStarted => "Somebody logged in",
        Action::SshSessionEnded => "The connection of a session is over",
        Action::ProcessStarted => "A process executed a program; several starts can share a `process.entity_id`",
        Action::ProcessEnded => "The last thread of a process exited",
        Action::ConnectionOpened => "A process made a TCP connection",
        Action::ConnectionClosed => "A TCP connection of a process ended; or an SSH connection ended without a login",
        Action::ConnectionFailed => "A process tried to make a TCP connection, and it was not made",
        Action::DeployConfigChanged => "A configuration file of a deploy holds something else than before",
        Action::DeployStarted => "A deploy tool started",
        Action::DeployStep => {
            "A remote command, hook or local child of a deploy ended; each end of a connection has its own"
        }
        Action::DeployFinished => "The deploy tool ended; the outcome goes by its steps, not by its exit code alone",
        Action::SensorStarted => "The sensor watches from here on",
        Action::SensorStopped => "The sensor stops in good order: the account of the run",
        Action::SensorConfigReloaded => "The configuration was read again",
        Action::SensorDegraded => "Something cannot be seen from here on",
        Action::SensorEventsLost => "Something was lost, anywhere between the kernel and the log",
        Action::SensorSuppressed => "Records of a session or user were held back over a limit, and counted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/fields.md");

    #[test]
    fn the_page_is_what_the_types_say() {
        let page = markdown();
        let differs = PAGE.lines().zip(page.lines()).find(|(old, new)| old != new);
        assert!(
            PAGE == page,
            "docs/fields.md is stale ({differs:?}): cargo run -p sensor -- schema --markdown > sensor/docs/fields.md"
        );
    }

    #[test]
    fn every_field_of_every_action_is_described() {
        let schema = line_schema(true);
        for action in Action::ALL {
            for field in fields(*action) {
                let found = field_schema(&schema, &field).unwrap();
                let text = found.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(text.ends_with(['.', '?']), "{field}: {found}");
            }
        }
    }

    #[test]
    fn no_field_of_a_line_is_out_of_reach() {
        let reached: BTreeSet<String> = Action::ALL.iter().flat_map(|action| fields(*action)).collect();
        let mut declared = BTreeSet::new();
        declare(&line_schema(true), "", &mut declared);
        assert_eq!(declared.difference(&reached).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    fn declare(schema: &Value, at: &str, out: &mut BTreeSet<String>) {
        let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
            if let Some(items) = schema.get("items").filter(|items| items.get("properties").is_some()) {
                return declare(items, &format!("{at}[]"), out);
            }
            out.insert(at.to_owned());
            return;
        };
        for (name, field) in fields {
            declare(field, &if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, out);
        }
    }

    #[test]
    fn nothing_in_the_schema_can_be_null() {
        let text = json_schema().to_string();
        assert!(!text.contains("\"null\"") && !text.contains(":null"), "{text}");
        let schema = json_schema();
        assert_eq!(schema["oneOf"].as_array().unwrap().len(), Action::ALL.len());
        assert_eq!(schema["required"], json!(["@timestamp", "ecs", "event", "host", "sensor"]));
    }
}
