//! How interpreters are given code and scripts on their command lines.
//!
//! In: the name of an interpreter and its argv. Out: which words are code, and where the script or the arguments
//! begin. It rests on the manuals of the interpreters, and on getopt: letters stand together, and the first one that
//! takes a value has the rest of the word, or the next one. An unknown option is taken for one without a value; if
//! that is wrong, a value is read as a script.

use super::executed::stem;

/// How one interpreter reads its options.
pub struct Interpreter {
    /// Names without a version.
    names: &'static [&'static str],
    /// Letters whose value is code: the rest of the word, or the next one.
    code: &'static [u8],
    /// Whole words before code.
    words: &'static [&'static str],
    /// Letters that take a value.
    valued: &'static [u8],
    /// Letters that the rest of the word belongs to, and only that.
    joined: &'static [u8],
    /// Whole words that take a value.
    longs: &'static [&'static str],
    /// The letter that a module's name follows.
    module: Option<u8>,
    /// After code come the code's arguments, and no more options.
    ends: bool,
    /// The first word that is no option is code, unless an option gave it.
    first: bool,
}

/// What the argv of an interpreter says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Words that are code, and where in them it begins.
    pub code: Vec<(usize, usize)>,
    /// The first word that is not the interpreter's: a script, or arguments of the code.
    pub rest: usize,
}

const PLAIN: Interpreter = Interpreter {
    names: &[],
    code: b"",
    words: &[],
    valued: b"",
    joined: b"",
    longs: &[],
    module: None,
    ends: false,
    first: false,
};

#[rustfmt::skip]
const INTERPRETERS: &[Interpreter] = &[
    Interpreter { names: &["python", "pypy", "python-dbg", "micropython"], code: b"c", valued: b"WX", longs: &["--check-hash-based-pycs"],
        module: Some(b'm'), ends: true, ..PLAIN },
    Interpreter { names: &["ruby", "jruby", "truffleruby", "mruby"], code: b"e", valued: b"CEIr", joined: b"FKTWix", ..PLAIN },
    Interpreter { names: &["perl", "raku"], code: b"eE", valued: b"I", joined: b"CDFMVimx", ..PLAIN },
    Interpreter { names: &["php", "php-cgi"], code: b"BERr", words: &["--run", "--process-begin", "--process-code", "--process-end"],
        valued: b"cdtz", longs: &["--define", "--php-ini"], ..PLAIN },
    Interpreter { names: &["node", "nodejs", "bun"], words: &["-e", "-p", "-pe", "--eval", "--print"], valued: b"Cr",
        longs: &["--require", "--import", "--loader", "--experimental-loader", "--env-file", "--conditions"], ..PLAIN },
    Interpreter { names: &["lua", "luajit", "texlua"], code: b"e", valued: b"l", ..PLAIN },
    Interpreter { names: &["julia"], code: b"Ee", words: &["--eval", "--print"], valued: b"CJLp", ..PLAIN },
    Interpreter { names: &["R", "Rscript"], words: &["-e"], ..PLAIN },
    Interpreter { names: &["pwsh", "powershell"], words: &["-c", "-Command", "-command", "-e", "-ec", "-EncodedCommand"], ends: true, ..PLAIN },
    Interpreter { names: &["osascript", "elixir", "groovy", "scala", "clojure", "clj", "racket", "ocaml", "jjs"],
        words: &["-e", "--eval"], ..PLAIN },
    Interpreter { names: &["guile", "gjs", "gdb"], words: &["-c", "-ex", "-e"], ..PLAIN },
    Interpreter { names: &["sbcl", "emacs"], words: &["--eval", "-eval"], longs: &["--load", "-l"], ..PLAIN },
    Interpreter { names: &["awk", "gawk", "mawk", "nawk", "original-awk"], code: b"e", words: &["--source"], valued: b"Ffilv",
        longs: &["--file", "--assign", "--field-separator", "--include", "--load"], first: true, ..PLAIN },
];

/// The interpreter of this name, with or without a version.
pub fn find(name: &[u8]) -> Option<&'static Interpreter> {
    let named = |name: &[u8]| {
        INTERPRETERS.iter().find(|interpreter| interpreter.names.iter().any(|own| own.as_bytes() == name))
    };
    let plain = stem(name.strip_suffix(b"-dbg").unwrap_or(name));
    named(plain).or_else(|| named(name).filter(|_| plain != name))
}

/// Whether an option is one that interpreters take code with.
pub fn takes_code(option: &[u8]) -> bool {
    matches!(option, b"-c" | b"-e" | b"-E" | b"-r" | b"--eval" | b"--exec" | b"--execute" | b"--print" | b"--command")
}

impl Interpreter {
    /// Reads the words after the interpreter, which stands at `at`.
    pub fn read(&self, words: &[&[u8]], at: usize) -> Given {
        let mut given = self.options(words, at);
        // An option without its value.
        given.code.retain(|(word, _)| *word < words.len());
        given.rest = given.rest.min(words.len());
        given
    }

    fn options(&self, words: &[&[u8]], at: usize) -> Given {
        let mut given = Given { code: Vec::new(), rest: at + 1 };
        let mut file = false;
        while let Some(&word) = words.get(given.rest) {
            let i = given.rest;
            if word == b"--" {
                given.rest += 1;
                break;
            }
            if !word.starts_with(b"-") || word == b"-" {
                break;
            }
            given.rest += 1;
            if let Some(own) = self.words.iter().find(|own| is_option(word, own)) {
                match word.get(own.len()) {
                    None => given.code(i + 1, 0),
                    Some(_) => given.code.push((i, own.len() + 1)),
                }
            } else if word.starts_with(b"--") {
                let is_valued = self.longs.iter().any(|long| long.as_bytes() == word);
                given.rest += usize::from(is_valued);
                file |= is_valued && word == b"--file";
                continue;
            } else if self.longs.iter().any(|long| long.as_bytes() == word) {
                given.rest += 1;
                continue;
            } else {
                match self.letters(word) {
                    Letters::Switches => continue,
                    Letters::Value(letter, at) => {
                        given.rest += usize::from(at == word.len());
                        file |= letter == b'f';
                        continue;
                    }
                    // `-mNAME` has no word of its own: what follows are arguments.
                    Letters::Module => return given,
                    Letters::Code(at) if at == word.len() => given.code(i + 1, 0),
                    Letters::Code(at) => given.code.push((i, at)),
                }
            }
            if self.ends {
                return given;
            }
        }
        if self.first && given.code.is_empty() && !file {
            given.code(given.rest, 0);
        }
        given
    }

    fn letters(&self, word: &[u8]) -> Letters {
        for (i, letter) in word.iter().enumerate().skip(1) {
            if self.code.contains(letter) {
                return Letters::Code(i + 1);
            } else if self.valued.contains(letter) {
                return Letters::Value(*letter, i + 1);
            } else if self.module == Some(*letter) {
                return Letters::Module;
            } else if self.joined.contains(letter) {
                return Letters::Switches;
            }
        }
        Letters::Switches
    }
}

/// `--eval`, `--eval=CODE`.
fn is_option(word: &[u8], own: &str) -> bool {
    let rest = word.strip_prefix(own.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || (own.starts_with("--") && rest.starts_with(b"=")))
}

/// What a word of short options holds, and where a value begins in it.
enum Letters {
    Switches,
    Value(u8, usize),
    Module,
    Code(usize),
}

impl Given {
    /// The word `i` is code.
    fn code(&mut self, i: usize, from: usize) {
        self.code.push((i, from));
        self.rest = i + 1;
    }

    /// No script runs: the code is in argv.
    pub fn is_inline(&self) -> bool {
        !self.code.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_distinguished_from_scripts() {
        for (line, code, rest) in [
            ("python3.11 -c CODE a", &["CODE"][..], "a"),
            ("python3 -Ic CODE -c a", &["CODE"], "-c"),
            ("python3 -cCODE a", &["CODE"], "a"),
            ("python3 -W x -X y app.py -c a", &[], "app.py"),
            ("python3 -m module a", &[], "module"),
            ("python3 -um module a", &[], "module"),
            ("python3", &[], ""),
            ("python3 -c", &[], ""),
            ("ruby3.1 -rjson -ne CODE -e MORE f", &["CODE", "MORE"], "f"),
            ("ruby -W0 -I lib bin/kamal -e x", &[], "bin/kamal"),
            ("ruby -S kamal deploy", &[], "kamal"),
            ("perl5.36.0 -lne CODE f", &["CODE"], "f"),
            ("perl -0777pe CODE f", &["CODE"], "f"),
            ("perl -MJSON -pi.bak -E CODE f", &["CODE"], "f"),
            ("perl -Mend -w s.pl", &[], "s.pl"),
            ("php8.2 -d a=b -r CODE x", &["CODE"], "x"),
            ("node -r dotenv/config --eval=CODE x", &["CODE"], "x"),
            ("node -pe CODE x", &["CODE"], "x"),
            ("nodejs -- s.js", &[], "s.js"),
            ("mawk -F : -v a=b CODE f", &["CODE"], "f"),
            ("gawk -f p.awk f", &[], "f"),
            ("lua5.4 -l a -e CODE", &["CODE"], ""),
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let found = find(words[0]).unwrap_or_else(|| panic!("{line}")).read(&words, 0);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let given: Vec<String> = found.code.iter().map(|(i, from)| text(&words[*i][*from..])).collect();
            assert_eq!(given, code, "{line}");
            assert_eq!(text(words.get(found.rest).copied().unwrap_or_default()), rest, "{line}");
        }
    }

    #[test]
    fn other_programs_are_no_interpreters() {
        for name in ["node_exporter", "python3-config", "nodeenv", "rubocop", "sh", "", "perldoc"] {
            assert!(find(name.as_bytes()).is_none(), "{name}");
        }
    }
}
