//! Execs: `executable | argv | expected`. What `args[0]` cannot hide, what it cannot let through, and code that stays.

use super::{argv, check_exec, show_all};

fn check(table: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (executable, before, after) in table {
        let executable = Some(executable.as_bytes()).filter(|path| !path.is_empty());
        let found = show_all(&check_exec(executable, &argv(before)));
        if found != *after {
            wrong.push(format!("\n  in  {before}\n  out {found}\n  not {after}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// As `check`, of what stays as it is.
fn check_stays(table: &[(&str, &str)]) {
    let rows: Vec<(&str, &str, &str)> = table.iter().map(|(executable, line)| (*executable, *line, *line)).collect();
    check(&rows);
}

const PYTHON: &str = "/usr/bin/python3.11";

#[test]
fn a_title_hides_no_evidence() {
    check_stays(&[
        (PYTHON, "snmpget ¦ -c ¦ print(1); SECRETWORD_IS_CODE"),
        (PYTHON, "/usr/bin/mysql ¦ -c ¦ import os"),
        (PYTHON, "redis-cli ¦ -c ¦ import os; os.system('id')"),
        ("/usr/bin/perl", "redis-cli ¦ -e ¦ exec q(id) ¦ -a ¦ x"),
        ("/usr/bin/ruby3.1", "gh ¦ -e ¦ system 'id' ¦ secret ¦ -b ¦ evidence"),
        ("/usr/bin/node", "xfreerdp ¦ -e ¦ f() ¦ /p:evidence"),
        ("/usr/bin/php8.2", "curl ¦ -r ¦ f(); ¦ -u ¦ a:evidence"),
        ("/usr/bin/mkdir", "mysql ¦ -p ¦ evidence"),
        ("/usr/bin/cat", "bw ¦ unlock ¦ /etc/shadow"),
        ("/usr/bin/tar", "sqlplus ¦ x/evidence@h"),
        ("/usr/bin/nc.openbsd", "ldapsearch ¦ -w ¦ 3 ¦ 10.0.0.1 ¦ 4444"),
        ("/usr/bin/dash", "openssl ¦ -c ¦ id -u -k evidence"),
        ("/usr/bin/bash", "snmpget ¦ -c ¦ id; ls evidence"),
        ("/usr/bin/gawk", "vault ¦ BEGIN{system(\"id\")} ¦ login"),
        // The shell's words are not words of `args[0]` either.
        ("/usr/bin/sleep", "then ¦ 100 ¦ mysql ¦ -px"),
        ("/usr/bin/sleep", "sudo ¦ mysql ¦ -px"),
        ("/usr/bin/sleep", "A=b ¦ snmpget ¦ -c ¦ evidence"),
        // An interpreter under another name, where a user can put one.
        ("/home/a/snmpget", "snmpget ¦ -c ¦ print(1); CODE"),
        ("/home/a/snmpget", "snmpget ¦ -c ¦ __import__('os').system('id')"),
        ("/home/a/mysql", "mysql ¦ -p ¦ /home/a/evidence"),
        ("/tmp/busybox", "snmpget ¦ -c ¦ import os, sys"),
        (PYTHON, "/usr/bin/python3 ¦ /home/a/snmpget ¦ -c ¦ print(1); CODE"),
        (PYTHON, "python3 ¦ /usr/../home/a/snmpget ¦ -c ¦ print(1); CODE"),
        ("/home/a/snmpget (deleted)", "snmpget ¦ -c ¦ print(1); CODE"),
        // Arguments of code may be code.
        (PYTHON, "python3 ¦ -c ¦ exec(argv[3]) ¦ snmpget ¦ -c ¦ print(1); CODE"),
        (PYTHON, "python3 ¦ -c ¦ exec(argv[2]) ¦ --password ¦ print(1); CODE"),
        ("/usr/bin/dash", "sh ¦ -c ¦ eval \"$2\" #/snmpget ¦ -c ¦ id; CODE (1)"),
        ("", "snmpget ¦ -c ¦ print(1); CODE"),
        // A path inside a line.
        ("/usr/bin/bash", "bash ¦ -c ¦ /home/a/snmpget -c 'print(1); CODE'"),
        ("/usr/bin/timeout", "timeout ¦ 5 ¦ ./snmpget ¦ -c ¦ print(1); CODE"),
    ]);
}

#[test]
fn a_title_lets_no_secret_through() {
    check(&[
        ("/usr/bin/mysql", "notmysql ¦ -phunter2", "notmysql ¦ -p[REDACTED]"),
        ("/usr/bin/mariadb", "x ¦ -u ¦ root ¦ -p ¦ hunter2", "x ¦ -u ¦ root ¦ -p ¦ [REDACTED]"),
        ("/usr/bin/mariadb", "python3 ¦ -phunter2 ¦ db", "python3 ¦ -p[REDACTED] ¦ db"),
        ("/home/a/bin/mysql", "notmysql ¦ -phunter2", "notmysql ¦ -p[REDACTED]"),
        ("/usr/bin/mysql", "then ¦ -phunter2", "then ¦ -p[REDACTED]"),
        ("/usr/bin/mysql", "A=b ¦ -p ¦ f(x); y z", "A=b ¦ -p ¦ [REDACTED]"),
        ("/usr/bin/curl", "ls ¦ -u ¦ a:hunter2 ¦ h", "ls ¦ -u ¦ a:[REDACTED] ¦ h"),
        ("/usr/bin/redis-cli", " ¦ -a ¦ hunter2", " ¦ -a ¦ [REDACTED]"),
        ("/usr/bin/snmpget (deleted)", "x ¦ -c ¦ hunter2", "x ¦ -c ¦ [REDACTED]"),
        ("/usr/bin/unrar-nonfree", "unrar ¦ -phunter2", "unrar ¦ -p[REDACTED]"),
        ("/nix/store/x/bin/.mysql-wrapped", "mysql ¦ -phunter2", "mysql ¦ -p[REDACTED]"),
        (
            "/usr/bin/kubectl1.28",
            "x ¦ create ¦ secret ¦ --from-literal=a=hunter2",
            "x ¦ create ¦ secret ¦ --from-literal=a=[REDACTED]",
        ),
        ("/usr/bin/sudo", "ls ¦ mysql ¦ -phunter2", "ls ¦ mysql ¦ -p[REDACTED]"),
        ("/usr/bin/dash", "ls ¦ -c ¦ mysql -phunter2", "ls ¦ -c ¦ mysql -p[REDACTED]"),
        ("/usr/bin/bash", "-bash ¦ -c ¦ mysql -phunter2", "-bash ¦ -c ¦ mysql -p[REDACTED]"),
        ("/usr/bin/busybox", "sh ¦ -c ¦ mysql -phunter2", "sh ¦ -c ¦ mysql -p[REDACTED]"),
        (
            "/usr/bin/busybox",
            "busybox ¦ timeout ¦ 5 ¦ mysql ¦ -phunter2",
            "busybox ¦ timeout ¦ 5 ¦ mysql ¦ -p[REDACTED]",
        ),
        ("/usr/bin/perl", "x ¦ /usr/bin/mysqldump ¦ -phunter2", "x ¦ /usr/bin/mysqldump ¦ -p[REDACTED]"),
        (
            "/usr/bin/dash",
            "sh ¦ -c ¦ exec \"$0\" \"$@\" ¦ mysql ¦ -phunter2",
            "sh ¦ -c ¦ exec \"$0\" \"$@\" ¦ mysql ¦ -p[REDACTED]",
        ),
        ("/home/a/x", "mysql ¦ -phunter2", "mysql ¦ -p[REDACTED]"),
        ("", "mysql ¦ -phunter2", "mysql ¦ -p[REDACTED]"),
        (PYTHON, "x ¦ -m ¦ mycli ¦ -p ¦ hunter2", "x ¦ -m ¦ mycli ¦ -p ¦ [REDACTED]"),
        (PYTHON, "python3 ¦ -c ¦ run(argv) ¦ mysql ¦ -phunter2", "python3 ¦ -c ¦ run(argv) ¦ mysql ¦ -p[REDACTED]"),
    ]);
}

#[test]
fn of_code_only_literals_go() {
    check(&[
        (
            PYTHON,
            "python3 ¦ -c ¦ x='{\"password\": \"x\", \"n\": 1}';CODE",
            "python3 ¦ -c ¦ x='{\"password\": \"[REDACTED]\", \"n\": 1}';CODE",
        ),
        (
            PYTHON,
            "python3 ¦ -c ¦ f(headers={'Authorization': 'Bearer x'});CODE",
            "python3 ¦ -c ¦ f(headers={'Authorization': 'Bearer [REDACTED]'});CODE",
        ),
        (PYTHON, "python3 ¦ -c ¦ TOKEN=hunter2;CODE", "python3 ¦ -c ¦ TOKEN=[REDACTED];CODE"),
        (PYTHON, "python3 ¦ -c ¦ TOKEN=1;CODE", "python3 ¦ -c ¦ TOKEN=1;CODE"),
        (PYTHON, "python3 ¦ -cTOKEN=7;CODE", "python3 ¦ -cTOKEN=[REDACTED];CODE"),
        (PYTHON, "python3 ¦ -Ic ¦ token = 'a b';\nCODE", "python3 ¦ -Ic ¦ token = '[REDACTED]';\nCODE"),
        (PYTHON, "python3 ¦ -c ¦ f(password=b'x',CODE)", "python3 ¦ -c ¦ f(password=b'[REDACTED]',CODE)"),
        (
            PYTHON,
            "python3 ¦ -c ¦ password=\"\"\"x\ny\"\"\";CODE",
            "python3 ¦ -c ¦ password=\"\"\"[REDACTED]\"\"\";CODE",
        ),
        (PYTHON, "python3 ¦ -c ¦ token='a' + 'b';CODE", "python3 ¦ -c ¦ token='[REDACTED]' + '[REDACTED]';CODE"),
        (PYTHON, "python3 ¦ -c ¦ token=decode('x');CODE", "python3 ¦ -c ¦ token=decode('[REDACTED]');CODE"),
        (
            PYTHON,
            "python3 ¦ -c ¦ tokens=['a',f('b')];CODE",
            "python3 ¦ -c ¦ tokens=['[REDACTED]',f('[REDACTED]')];CODE",
        ),
        (PYTHON, "python3 ¦ -c ¦ x=1 #token='x\nCODE\n'", "python3 ¦ -c ¦ x=1 #token='[REDACTED]\nCODE\n'"),
        (PYTHON, "python3 ¦ -c ¦ #-----BEGIN PRIVATE KEY-----\nf(x); CODE", "python3 ¦ -c ¦ #[REDACTED](x); CODE"),
        (PYTHON, "python3 ¦ -c ¦ CODE ¦ --api-key ¦ hunter2", "python3 ¦ -c ¦ CODE ¦ --api-key ¦ [REDACTED]"),
        (PYTHON, "python3 ¦ -c ¦ CODE ¦ --token=hunter2", "python3 ¦ -c ¦ CODE ¦ --token=[REDACTED]"),
        (PYTHON, "python3 ¦ -c ¦ x='ghp_0123456789abcdef';CODE", "python3 ¦ -c ¦ x='[REDACTED]';CODE"),
        ("/usr/bin/perl", "perl ¦ -ne ¦ $password=q{x};CODE", "perl ¦ -ne ¦ $password=q{[REDACTED]};CODE"),
        ("/usr/bin/perl", "perl ¦ -Mx ¦ -e ¦ TOKEN=7;CODE ¦ f", "perl ¦ -Mx ¦ -e ¦ TOKEN=[REDACTED];CODE ¦ f"),
        (
            "/usr/bin/ruby3.1",
            "ruby ¦ -rset ¦ -e ¦ password = 'x'; CODE",
            "ruby ¦ -rset ¦ -e ¦ password = '[REDACTED]'; CODE",
        ),
        ("/usr/bin/ruby3.1", "ruby ¦ -e ¦ f(password: g(1), n: CODE)", "ruby ¦ -e ¦ f(password: g(1), n: CODE)"),
        ("/usr/bin/node", "node ¦ -e ¦ token=`x`;CODE", "node ¦ -e ¦ token=`[REDACTED]`;CODE"),
        ("/usr/bin/node", "node ¦ --eval=TOKEN=7;CODE", "node ¦ --eval=TOKEN=[REDACTED];CODE"),
        ("/usr/bin/php8.2", "php ¦ -r ¦ $token = 'x'; CODE;", "php ¦ -r ¦ $token = '[REDACTED]'; CODE;"),
        ("/usr/bin/mawk", "awk ¦ TOKEN=7;CODE ¦ f", "awk ¦ TOKEN=[REDACTED];CODE ¦ f"),
        ("/usr/bin/dash", "sh ¦ -c ¦ TOKEN=x; CODE", "sh ¦ -c ¦ TOKEN=[REDACTED]; CODE"),
        ("/usr/bin/dash", "sh ¦ -c ¦ python3 -c 'TOKEN=7;CODE'", "sh ¦ -c ¦ python3 -c 'TOKEN=[REDACTED];CODE'"),
        ("/home/a/foo", "foo ¦ -c ¦ TOKEN='x';print(CODE)", "foo ¦ -c ¦ TOKEN='[REDACTED]';print(CODE)"),
        ("/usr/bin/lua5.4", "lua ¦ -e ¦ TOKEN='x';CODE", "lua ¦ -e ¦ TOKEN='[REDACTED]';CODE"),
    ]);
}

#[test]
fn code_without_a_secret_stays() {
    check_stays(&[
        (PYTHON, "python3 ¦ -c ¦ password = open('/etc/shadow').read(); CODE"),
        (PYTHON, "python3 ¦ -c ¦ token = os.environ[\"API_TOKEN\"]; CODE"),
        (PYTHON, "python3 ¦ -c ¦ password = input('Your password: '); CODE"),
        (PYTHON, "python3 ¦ -c ¦ TOKEN='import os; os.system(1)'; exec(TOKEN)"),
        (PYTHON, "python3 ¦ -c ¦ x<password>y; CODE"),
        (PYTHON, "python3 ¦ -c ¦ x='password: '; CODE; y=''"),
        (PYTHON, "python3 ¦ -c ¦ x=\"token=\"; CODE; y=\"\""),
        ("/usr/bin/ruby3.1", "ruby ¦ -e ¦ token = ENV.fetch('API_TOKEN'); CODE"),
        ("/usr/bin/perl", "perl ¦ -e ¦ $password=$ARGV[0]; CODE"),
        ("/usr/bin/php8.2", "php ¦ -r ¦ $token = $argv[1]; CODE;"),
        ("/usr/bin/node", "node ¦ -e ¦ token = process.env['TOKEN']; CODE"),
    ]);
}
