//! Shell lines: `(before, after)`.

use super::{check_line, show};

#[rustfmt::skip]
const REDACTED: &[(&str, &str)] = &[
    (r#"docker login registry.example.test -u "ciuser" -p "s3cr3t-registry-pw-AAAA""#, r#"docker login registry.example.test -u "ciuser" -p "[REDACTED]""#),
    (r#"sh -c "docker login -p \"x\"""#, r#"sh -c "docker login -p \"[REDACTED]\"""#),
    (r"sh -c 'docker login -p '\''x y'\'' r'", r"sh -c 'docker login -p '\''[REDACTED]'\'' r'"),
    (r#"ssh h "sudo sh -c \"mysql -p'a b' -e \\\"select 1\\\"\"""#, r#"ssh h "sudo sh -c \"mysql -p'[REDACTED]' -e \\\"select 1\\\"\"""#),
    (r#"docker login -p 'a'"b"c r"#, r#"docker login -p '[REDACTED]'"" r"#),
    ("docker login -p a\\ b r", "docker login -p [REDACTED] r"),
    ("docker login -p a\\\nb r", "docker login -p [REDACTED] r"),
    (r#"my"sql" -p"x" && ls"#, r#"my"sql" -p"[REDACTED]" && ls"#),
    (r"my\sql -psecret", r"my\sql -p[REDACTED]"),
    ("pass''word=x", "pass''word=[REDACTED]"),
    ("$'mysql' -p$'it\\'s' db", "$'mysql' -p$'[REDACTED]' db"),
    ("DB_PASSWORD=x ./run; ls", "DB_PASSWORD=[REDACTED] ./run; ls"),
    ("export API_KEY=\"a b\" LANG=C; ls", "export API_KEY=\"[REDACTED]\" LANG=C; ls"),
    ("cd /x && mysql -px || echo no | cat & ls", "cd /x && mysql -p[REDACTED] || echo no | cat & ls"),
    ("ls\nmysql -px\nls", "ls\nmysql -p[REDACTED]\nls"),
    ("(mysql -px)", "(mysql -p[REDACTED])"),
    ("if true; then mysql -px; fi", "if true; then mysql -p[REDACTED]; fi"),
    ("mysql -px<dump.sql 2>&1 >/dev/null", "mysql -p[REDACTED]<dump.sql 2>&1 >/dev/null"),
    ("echo $(mysql -px) `mysql -py`", "echo $(mysql -p[REDACTED]) `mysql -p[REDACTED]`"),
    (r#"echo "a $(mysql -p"x y" -e "$(cat q)") b""#, r#"echo "a $(mysql -p"[REDACTED]" -e "$(cat q)") b""#),
    ("diff <(mysql -px) b", "diff <(mysql -p[REDACTED]) b"),
    ("curl -u \"$U:x\" https://h/", "curl -u \"$U:[REDACTED]\" https://h/"),
    ("curl -H \"Authorization: Bearer x\" https://h/", "curl -H \"Authorization: Bearer [REDACTED]\" https://h/"),
    ("curl -d \"{\\\"password\\\":\\\"x\\\"}\" https://h/", "curl -d \"{\\\"password\\\":\\\"[REDACTED]\\\"}\" https://h/"),
    ("curl https://h/?token=x\\&b=2", "curl https://h/?token=[REDACTED]\\&b=2"),
    // Echo into a reader, here-strings, here-documents.
    ("echo x | docker login --password-stdin -u a r", "echo [REDACTED] | docker login --password-stdin -u a r"),
    ("printf '%s' 'a b' | sudo -S ls", "printf '%s' '[REDACTED]' | sudo -S ls"),
    ("echo -n x | base64 -d | docker login --password-stdin", "echo -n [REDACTED] | base64 -d | docker login --password-stdin"),
    ("/usr/bin/env echo bob:x | sudo chpasswd", "/usr/bin/env echo bob:[REDACTED] | sudo chpasswd"),
    ("echo x | passwd --stdin bob", "echo [REDACTED] | passwd --stdin bob"),
    ("echo x | cryptsetup open /dev/sda1 c", "echo [REDACTED] | cryptsetup open /dev/sda1 c"),
    ("docker login --password-stdin r <<< 'a b'", "docker login --password-stdin r <<< '[REDACTED]'"),
    ("bash <<< 'mysql -px'", "bash <<< 'mysql -p[REDACTED]'"),
    ("chpasswd <<EOF\nbob:x\nEOF\nls", "chpasswd <<EOF\n[REDACTED]\nEOF\nls"),
    ("cat > .env <<'EOF'\nA=1\nTOKEN=x y\nB=2\nEOF\nls -p", "cat > .env <<'EOF'\nA=1\nTOKEN=[REDACTED] y\nB=2\nEOF\nls -p"),
    ("bash <<-EOF | cat\n\tmysql -px\n\tEOF\nmysql -py", "bash <<-EOF | cat\n\tmysql -p[REDACTED]\n\tEOF\nmysql -p[REDACTED]"),
    ("TOKEN=$(echo x | base64) run", "TOKEN=$(echo [REDACTED] | base64) run"),
    ("echo -e \"A=1\\nTOKEN=x\\nB=2\" > .env", "echo -e \"A=1\\nTOKEN=[REDACTED]\\nB=2\" > .env"),
    ("PASSWORD=a$(hostname)b run", "PASSWORD=[REDACTED]$(hostname) run"),
    ("curl --password \"$ecret1\" h", "curl --password \"[REDACTED]\" h"),
    ("curl --password '$NAME' h", "curl --password '[REDACTED]' h"),
    // No end in sight: to the end.
    ("docker login -p 'abc def", "docker login -p '[REDACTED]"),
    ("curl -u \"a:b c; ls", "curl -u \"a:[REDACTED]"),
    ("mysql -p\"a$(b", "mysql -p\"[REDACTED]"),
    (r#"echo '{"password":"abc"#, r#"echo '{"password":"[REDACTED]"#),
    ("echo '-----BEGIN PRIVATE KEY-----\nabc", "echo '[REDACTED]"),
    ("cat <<EOF\npassword=x", "cat <<EOF\npassword=[REDACTED]"),
    ("mysql -pabc\\", "mysql -p[REDACTED]"),
    ("echo x | ssh h 'sudo -S ls'", "echo [REDACTED] | ssh h 'sudo -S ls'"),
    ("PASSWORDS=(a 'b c') run", "PASSWORDS=[REDACTED] run"),
    ("useradd -p $(openssl passwd -6 x) bob", "useradd -p $(openssl passwd -6 [REDACTED]) bob"),
    ("echo 'machine h login u password x' >> ~/.netrc", "echo 'machine h login u password [REDACTED]' >> ~/.netrc"),
    ("mysql -e \"SET PASSWORD = PASSWORD('x')\"", "mysql -e \"SET PASSWORD = [REDACTED]\""),
    ("tmux new -d 'mysql -px'; at now <<< 'mysql -py'", "tmux new -d 'mysql -p[REDACTED]'; at now <<< 'mysql -p[REDACTED]'"),
    ("redis-cli -h h AUTH x", "redis-cli -h h AUTH [REDACTED]"),
    ("curl https://api.telegram.org/bot1:AA-bcdefgh/getMe", "curl https://api.telegram.org/bot[REDACTED]/getMe"),
    ("npm set //r/:_authToken x; bundle config set --local gems.h u:p", "npm set //r/:_authToken [REDACTED]; bundle config set --local gems.h u:[REDACTED]"),
    // What sshd gets from deploy tools.
    (r#"mkdir -p .kamal && echo "[t] [p] [d] Executed cmd 'mysql -phunter2 -e \"select 1\"' on app version 1" >> .kamal/a-audit.log"#, r#"mkdir -p .kamal && echo "[t] [p] [d] Executed cmd 'mysql -p[REDACTED] -e \"select 1\"' on app version 1" >> .kamal/a-audit.log"#),
    ("echo [t] [p] Executed cmd 'docker login -p hunter2 r' on app version 1 >> .kamal/a-audit.log", "echo [t] [p] Executed cmd 'docker login -p [REDACTED] r' on app version 1 >> .kamal/a-audit.log"),
    ("docker run -d --env A=\"b\" --env DB_PASSWORD=\"x y\" -p 80:80 img", "docker run -d --env A=\"b\" --env DB_PASSWORD=\"[REDACTED]\" -p 80:80 img"),
    ("/usr/bin/env sh -c 'docker login -u a -p b && docker pull r/a:1'", "/usr/bin/env sh -c 'docker login -u a -p [REDACTED] && docker pull r/a:1'"),
    // Commit messages: `name: one-word` and `name=value`.
    ("git commit -m \"password: x\"", "git commit -m \"password: [REDACTED]\""),
    ("git commit -am 'use token=abc here'", "git commit -am 'use token=[REDACTED] here'"),
];

#[test]
fn secrets_in_lines_are_replaced() {
    let mut wrong = Vec::new();
    for (before, after) in REDACTED {
        let found = show(&check_line(before.as_bytes()));
        if found != *after {
            wrong.push(format!("\n  in  {before}\n  out {found}\n  not {after}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn bytes_that_are_not_utf8_are_kept_or_replaced() {
    assert_eq!(check_line(b"\xff TOKEN='\xfe x' \xfd"), b"\xff TOKEN='[REDACTED]' \xfd");
}
