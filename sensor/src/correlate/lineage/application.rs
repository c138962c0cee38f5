//! Which application a process is, where its program is only an interpreter: the script and not `python3.11`.
//!
//! What enters: an executed file and its argv, with the folder that it was executed in. What leaves: the script or
//! module, the name that people know it by, the virtual environment. From argv alone: an interpreter that is found
//! through PATH in an activated environment does not say which one, and what a program sets its title to comes later. A
//! shebang's argv is the interpreter's: the kernel puts it before the script.

use std::sync::Arc;

use serde_bytes::ByteBuf;

use crate::{
    event::{executed::base_name, text::escape},
    finding::Application,
};

/// Paths are cut here; the kernel's limit is 4096.
const TEXT_MAX: usize = 1024;

struct Interpreter {
    /// Its name begins so; a version may follow.
    name: &'static str,
    /// Options whose value is the next argument.
    with_value: &'static [&'static str],
    /// Options that bring the program themselves.
    inline: &'static [&'static str],
    /// Letters of options may stand together: `-Im module`.
    bundles: bool,
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        name: "python",
        with_value: &["-W", "-X", "--check-hash-based-pycs"],
        inline: &["-c"],
        bundles: true,
    },
    Interpreter { name: "pypy", with_value: &["-W", "-X"], inline: &["-c"], bundles: true },
    Interpreter { name: "ruby", with_value: &["-C", "-E", "-F", "-I", "-r"], inline: &["-e"], bundles: false },
    Interpreter { name: "jruby", with_value: &["-C", "-E", "-F", "-I", "-r"], inline: &["-e"], bundles: false },
    Interpreter {
        name: "node",
        with_value: &["-r", "--require", "--import", "--loader", "--env-file"],
        inline: &["-e", "--eval", "-p", "--print"],
        bundles: false,
    },
    Interpreter { name: "perl", with_value: &["-I"], inline: &["-e", "-E"], bundles: false },
    Interpreter { name: "php", with_value: &["-d", "-c", "-f"], inline: &["-r"], bundles: false },
];

/// Programs that run another one, which they are told by a word such as `package.module:object`.
const SERVERS: &[&str] = &["gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "waitress-serve"];

/// None: the program is the application.
pub(super) fn application(
    executable: Option<&str>,
    args: &[ByteBuf],
    folder: Option<&str>,
) -> Option<Arc<Application>> {
    let executable = executable?;
    let program = base_name(executable);
    let interpreter = INTERPRETERS.iter().find(|known| is_version_of(program, known.name))?;
    let mut words = args.iter().map(|arg| text(arg));
    let first = words.next()?;
    let words: Vec<String> = words.collect();
    let mut found = begun(interpreter, &words, folder);
    found.venv = environment(executable, &first, folder);
    Some(Arc::new(found))
}

/// What the interpreter was told to run.
fn begun(interpreter: &Interpreter, words: &[String], folder: Option<&str>) -> Application {
    let by_name = |name: &str| Application { name: name.to_owned(), ..Application::default() };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if interpreter.inline.contains(&word.as_str()) {
            return by_name(&format!("{} {word}", interpreter.name));
        }
        if word == "-" {
            break;
        }
        if interpreter.bundles
            && let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'))
        {
            // The first letter that takes a value has the rest of the word, or the next one.
            if let Some(at) = letters.find(['m', 'c', 'W', 'X']) {
                let (letter, value) = letters.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                let value = if value.is_empty() { rest.next().map_or("", String::as_str) } else { value };
                match letters.get(at..=at).unwrap_or_default() {
                    "m" => return module(value, rest.as_slice()),
                    "c" => return by_name(&format!("{} -{letter}c", interpreter.name)),
                    _ => continue,
                }
            }
            continue;
        }
        if interpreter.with_value.contains(&word.as_str()) {
            rest.next();
            continue;
        }
        if word.starts_with('-') && word != "--" {
            continue;
        }
        let script = if word == "--" { rest.next() } else { Some(word) };
        return script.map_or_else(|| by_name(interpreter.name), |script| run(script, rest.as_slice(), folder));
    }
    by_name(interpreter.name)
}

fn run(script: &str, rest: &[String], folder: Option<&str>) -> Application {
    let name = base_name(script);
    // `bundle exec NAME` becomes that program in the same process.
    let name = match (name, rest) {
        ("bundle" | "bundler", [verb, inner, ..]) if verb == "exec" => base_name(inner),
        _ => name,
    };
    Application { name: name.to_owned(), script: Some(absolute(script, folder)), module: told(name, rest), venv: None }
}

fn module(name: &str, rest: &[String]) -> Application {
    let module = told(name, rest).unwrap_or_else(|| name.to_owned());
    Application { name: name.to_owned(), script: None, module: Some(module), venv: None }
}

/// The module that a server of applications is told to run.
fn told(server: &str, args: &[String]) -> Option<String> {
    // `host:port` is none: what follows the colon is a name.
    let is_module = |word: &&String| {
        word.split_once(':').is_some_and(|(module, object)| {
            let begins = |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'(' | b')');
            begins(module) && begins(object) && module.bytes().chain(object.bytes()).all(byte)
        })
    };
    if server == "celery" {
        let with_value = args.iter().find_map(|arg| arg.strip_prefix("--app="));
        let next = args.iter().position(|arg| arg == "-A" || arg == "--app").and_then(|at| args.get(at + 1));
        return with_value.or(next.map(String::as_str)).map(str::to_owned);
    }
    SERVERS.contains(&server).then(|| args.iter().rfind(is_module).cloned())?
}

/// An environment's interpreter is called by its path there, which is a link: `/srv/app/venv/bin/python`.
fn environment(executable: &str, called: &str, folder: Option<&str>) -> Option<String> {
    let called = called.contains('/').then(|| absolute(called, folder))?;
    let (bin, _) = called.rsplit_once('/')?;
    let root = bin.strip_suffix("/bin")?;
    let own = executable.rsplit_once('/').is_some_and(|(place, _)| place == bin);
    let system = ["", "/usr", "/usr/local"].contains(&root);
    (!own && !system).then(|| root.to_owned())
}

/// `./x` and `x/../y` as they are meant; as it is where the folder is not known.
fn absolute(path: &str, folder: Option<&str>) -> String {
    let path = match folder {
        Some(folder) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    };
    if !path.starts_with('/') {
        return path;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn is_version_of(program: &str, name: &str) -> bool {
    program.strip_prefix(name).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        || name == "node" && program == "nodejs"
}

fn text(bytes: &[u8]) -> String {
    let mut text = escape(bytes).0.into_owned();
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(executable: &str, line: &str) -> (String, String, String, String) {
        let args: Vec<ByteBuf> = line.split(' ').map(|arg| ByteBuf::from(arg.as_bytes().to_vec())).collect();
        let found = application(Some(executable), &args, Some("/srv/app")).expect("an interpreter");
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        (found.name.clone(), own(&found.script), own(&found.module), own(&found.venv))
    }

    #[test]
    fn the_application_is_what_the_interpreter_runs() {
        let python = "/usr/bin/python3.11";
        for (executable, line, name, script, module, venv) in [
            (python, "python3 app.py --port 22", "app.py", "/srv/app/app.py", "", ""),
            (python, "/usr/bin/python3 -u ./bin/../app.py", "app.py", "/srv/app/app.py", "", ""),
            (python, "/srv/v/bin/python -W ignore -Xdev /x/app.py", "app.py", "/x/app.py", "", "/srv/v"),
            (python, "venv/bin/python3 -m package.tool -c x", "package.tool", "", "package.tool", "/srv/app/venv"),
            (python, "python3 -Im http.server", "http.server", "", "http.server", ""),
            (python, "python3 -mjson.tool", "json.tool", "", "json.tool", ""),
            (python, "python3 -c pass x.py", "python -c", "", "", ""),
            (python, "python3", "python", "", "", ""),
            (python, "python3 -", "python", "", "", ""),
            (
                python,
                "/v/bin/python /v/bin/gunicorn -b 0.0.0.0:80 -w 4 shop.wsgi:app",
                "gunicorn",
                "/v/bin/gunicorn",
                "shop.wsgi:app",
                "/v",
            ),
            (python, "/v/bin/python -m uvicorn shop:app --reload", "uvicorn", "", "shop:app", "/v"),
            (python, "/v/bin/python3 /v/bin/celery -A shop worker", "celery", "/v/bin/celery", "shop", "/v"),
            (
                python,
                "/bin/python3 /usr/bin/ansible-playbook site.yml",
                "ansible-playbook",
                "/usr/bin/ansible-playbook",
                "",
                "",
            ),
            ("/opt/py/bin/python3.13", "/opt/py/bin/python3 a.py", "a.py", "/srv/app/a.py", "", ""),
            ("/usr/bin/ruby3.1", "/usr/bin/ruby /usr/local/bin/kamal deploy", "kamal", "/usr/local/bin/kamal", "", ""),
            ("/usr/bin/ruby3.1", "ruby -I lib -rset x.rb", "x.rb", "/srv/app/x.rb", "", ""),
            ("/usr/bin/ruby3.1", "ruby /usr/bin/bundle exec kamal deploy", "kamal", "/usr/bin/bundle", "", ""),
            ("/usr/bin/ruby3.1", "ruby -e x", "ruby -e", "", "", ""),
            ("/usr/bin/node", "node --inspect -r dotenv/config server.js", "server.js", "/srv/app/server.js", "", ""),
            ("/usr/bin/perl", "perl -w x.pl", "x.pl", "/srv/app/x.pl", "", ""),
        ] {
            let expected = [name, script, module, venv].map(str::to_owned);
            let (name, script, module, venv) = of(executable, line);
            assert_eq!([name, script, module, venv], expected, "{line}");
        }
    }

    #[test]
    fn other_programs_are_themselves() {
        for executable in ["/usr/bin/ssh", "/usr/bin/python3-config", "/usr/bin/rubyx", "/usr/bin/nodeenv"] {
            assert_eq!(application(Some(executable), &[ByteBuf::from("x")], None), None, "{executable}");
        }
        assert_eq!(application(None, &[], None), None);
        assert_eq!(application(Some("/usr/bin/python3"), &[], None), None);
    }
}
