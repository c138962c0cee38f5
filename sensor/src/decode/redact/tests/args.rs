//! Argv tables: `(before, after)`.

use super::{argv, check_args, show_all};

#[rustfmt::skip]
const REDACTED: &[(&str, &str)] = &[
    // Options by name.
    ("app ¦ --password ¦ hunter2", "app ¦ --password ¦ [REDACTED]"),
    ("app ¦ --password=hunter2", "app ¦ --password=[REDACTED]"),
    ("app ¦ -password ¦ hunter2", "app ¦ -password ¦ [REDACTED]"),
    ("app ¦ --db-pass ¦ -hunter2!", "app ¦ --db-pass ¦ [REDACTED]"),
    ("app ¦ --api-key ¦ a b c ¦ --verbose", "app ¦ --api-key ¦ [REDACTED] ¦ --verbose"),
    ("app ¦ --apiKey=x", "app ¦ --apiKey=[REDACTED]"),
    ("app ¦ --auth ¦ bob:x", "app ¦ --auth ¦ [REDACTED]"),
    ("app ¦ auth=bobx", "app ¦ auth=[REDACTED]"),
    ("app ¦ --otp ¦ 123456", "app ¦ --otp ¦ [REDACTED]"),
    ("app ¦ --pin=4711", "app ¦ --pin=[REDACTED]"),
    ("app ¦ /password:x", "app ¦ /password:[REDACTED]"),
    ("app ¦ -passphrase:x", "app ¦ -passphrase:[REDACTED]"),
    ("java ¦ -Ddb.password=x ¦ -Dtoken=y ¦ -jar ¦ a.jar", "java ¦ -Ddb.password=[REDACTED] ¦ -Dtoken=[REDACTED] ¦ -jar ¦ a.jar"),
    ("app ¦ --private-key ¦ MIIEabcd", "app ¦ --private-key ¦ [REDACTED]"),
    ("gpg ¦ --batch ¦ --passphrase ¦ x ¦ -c ¦ f", "gpg ¦ --batch ¦ --passphrase ¦ [REDACTED] ¦ -c ¦ f"),
    ("wget ¦ --http-password=x ¦ --http-user=u ¦ https://h/", "wget ¦ --http-password=[REDACTED] ¦ --http-user=u ¦ https://h/"),
    ("tailscale ¦ up ¦ --authkey ¦ x", "tailscale ¦ up ¦ --authkey ¦ [REDACTED]"),
    ("vault ¦ write ¦ auth/approle/login ¦ role_id=r ¦ secret_id=s", "vault ¦ write ¦ auth/approle/login ¦ role_id=r ¦ secret_id=[REDACTED]"),
    ("aws ¦ configure ¦ set ¦ aws_secret_access_key ¦ x", "aws ¦ configure ¦ set ¦ aws_secret_access_key ¦ [REDACTED]"),
    ("redis-cli ¦ config ¦ set ¦ requirepass ¦ x", "redis-cli ¦ config ¦ set ¦ requirepass ¦ [REDACTED]"),
    ("npm ¦ config ¦ set ¦ //registry.npmjs.org/:_authToken=abc", "npm ¦ config ¦ set ¦ //registry.npmjs.org/:_authToken=[REDACTED]"),
    // Assignments.
    ("docker ¦ run ¦ -e ¦ DB_PASSWORD=a b ¦ -e ¦ LANG=C ¦ img", "docker ¦ run ¦ -e ¦ DB_PASSWORD=[REDACTED] ¦ -e ¦ LANG=C ¦ img"),
    ("docker ¦ run ¦ -eAPI_TOKEN=x ¦ img", "docker ¦ run ¦ -eAPI_TOKEN=[REDACTED] ¦ img"),
    ("docker ¦ run ¦ --env=API_TOKEN=x&y=z ¦ img", "docker ¦ run ¦ --env=API_TOKEN=[REDACTED] ¦ img"),
    ("docker ¦ build ¦ --build-arg ¦ NPM_TOKEN=x ¦ .", "docker ¦ build ¦ --build-arg ¦ NPM_TOKEN=[REDACTED] ¦ ."),
    ("docker ¦ buildx ¦ build ¦ --build-arg ¦ GREETING=x y ¦ --secret ¦ id=NPM_TOKEN ¦ --build-arg=LANG=z ¦ .", "docker ¦ buildx ¦ build ¦ --build-arg ¦ GREETING=[REDACTED] ¦ --secret ¦ id=NPM_TOKEN ¦ --build-arg=LANG=[REDACTED] ¦ ."),
    ("kamal ¦ secrets ¦ extract ¦ RAILS_MASTER_KEY ¦ {\"RAILS_MASTER_KEY\":\"x\",\"A\":\"y\"}", "kamal ¦ secrets ¦ extract ¦ RAILS_MASTER_KEY ¦ [REDACTED]"),
    ("fab ¦ -p ¦ hunter2 ¦ deploy", "fab ¦ -p ¦ [REDACTED] ¦ deploy"),
    ("env ¦ PGPASSWORD=x ¦ psql ¦ -h ¦ db", "env ¦ PGPASSWORD=[REDACTED] ¦ psql ¦ -h ¦ db"),
    ("helm ¦ install ¦ --set ¦ a.b.password=x,c=d ¦ r ¦ c", "helm ¦ install ¦ --set ¦ a.b.password=[REDACTED],c=d ¦ r ¦ c"),
    ("helm ¦ install ¦ --set=c=d,auth.password=x,y", "helm ¦ install ¦ --set=c=d,auth.password=[REDACTED]"),
    ("terraform ¦ apply ¦ -var ¦ db_password=x", "terraform ¦ apply ¦ -var ¦ db_password=[REDACTED]"),
    ("mount ¦ -t ¦ cifs ¦ -o ¦ username=u,password=p,w,uid=1 ¦ //s/x ¦ /mnt", "mount ¦ -t ¦ cifs ¦ -o ¦ username=u,password=[REDACTED],uid=1 ¦ //s/x ¦ /mnt"),
    ("kubectl ¦ create ¦ secret ¦ generic ¦ x ¦ --from-literal=foo=bar ¦ --from-literal ¦ a=b", "kubectl ¦ create ¦ secret ¦ generic ¦ x ¦ --from-literal=foo=[REDACTED] ¦ --from-literal ¦ a=[REDACTED]"),
    ("vault ¦ kv ¦ put ¦ kv/app ¦ value=x ¦ f=@file", "vault ¦ kv ¦ put ¦ kv/app ¦ value=[REDACTED] ¦ f=@file"),
    ("fly ¦ secrets ¦ set ¦ FOO=bar", "fly ¦ secrets ¦ set ¦ FOO=[REDACTED]"),
    // JSON, YAML, XML, forms, headers, connection strings, SQL.
    (r#"app ¦ {"password":"x","a":1}"#, r#"app ¦ {"password":"[REDACTED]","a":1}"#),
    (r#"app ¦ {"a":{"apiKey" : "x\"y"},"pin":1234,"token":null}"#, r#"app ¦ {"a":{"apiKey" : "[REDACTED]"},"pin":[REDACTED],"token":null}"#),
    (r#"app ¦ "{\"password\":\"x\",\"a\":1}""#, r#"app ¦ "{\"password\":\"[REDACTED]\",\"a\":1}""#),
    (r#"app ¦ {"secrets":["a","b"],"n":2}"#, r#"app ¦ {"secrets":[REDACTED],"n":2}"#),
    ("app ¦ {user: bob, password: x, n: 1}", "app ¦ {user: bob, password: [REDACTED], n: 1}"),
    ("app ¦ user: bob\npassword: correct horse\nn: 1", "app ¦ user: bob\npassword: [REDACTED]\nn: 1"),
    ("app ¦ <a><password>x</password></a>", "app ¦ <a><password>[REDACTED]</password></a>"),
    ("python3 ¦ -c ¦ connect(user='a', password='x', n=1)", "python3 ¦ -c ¦ connect(user='a', password='[REDACTED]', n=1)"),
    ("ruby ¦ -e ¦ f(password: 'x', n: 1)", "ruby ¦ -e ¦ f(password: '[REDACTED]', n: 1)"),
    (r#"python3 ¦ -c ¦ os.environ["API_TOKEN"] = "x"; f()"#, r#"python3 ¦ -c ¦ os.environ["API_TOKEN"] = "[REDACTED]"; f()"#),
    ("curl ¦ https://h/p?token=x&b=2#f", "curl ¦ https://h/p?token=[REDACTED]&b=2#f"),
    ("curl ¦ -d ¦ user=a&password=b ¦ https://h/", "curl ¦ -d ¦ user=a&password=[REDACTED] ¦ https://h/"),
    ("curl ¦ -d ¦ password=b&user=a ¦ https://h/", "curl ¦ -d ¦ password=[REDACTED]&user=a ¦ https://h/"),
    ("curl ¦ --data-raw ¦ user[password]=b&user[name]=a ¦ https://h/", "curl ¦ --data-raw ¦ user[password]=[REDACTED]&user[name]=a ¦ https://h/"),
    ("curl ¦ -H ¦ Authorization: Bearer x ¦ https://h/", "curl ¦ -H ¦ Authorization: Bearer [REDACTED] ¦ https://h/"),
    ("curl ¦ -HAuthorization:Basic abc ¦ https://h/", "curl ¦ -HAuthorization:Basic [REDACTED] ¦ https://h/"),
    ("curl ¦ --header=X-Api-Key: x y ¦ https://h/", "curl ¦ --header=X-Api-Key: [REDACTED] ¦ https://h/"),
    ("curl ¦ -H ¦ Cookie: a=b; c=d ¦ https://h/", "curl ¦ -H ¦ Cookie: [REDACTED] ¦ https://h/"),
    ("curl ¦ -b ¦ sid=abc; x=y ¦ https://h/", "curl ¦ -b ¦ [REDACTED] ¦ https://h/"),
    ("http ¦ GET ¦ https://h/ ¦ X-Api-Key:abc ¦ a:=1", "http ¦ GET ¦ https://h/ ¦ X-Api-Key:[REDACTED] ¦ a:=1"),
    ("app ¦ Server=db;User Id=sa;Password=p;w;Encrypt=yes", "app ¦ Server=db;User Id=sa;Password=[REDACTED];Encrypt=yes"),
    ("app ¦ --connection-string ¦ Server=db;Pwd=x", "app ¦ --connection-string ¦ [REDACTED]"),
    ("psql ¦ -c ¦ ALTER USER a WITH PASSWORD 'x y' VALID UNTIL 'z'", "psql ¦ -c ¦ ALTER USER a WITH PASSWORD '[REDACTED]' VALID UNTIL 'z'"),
    ("mysql ¦ -e ¦ CREATE USER a IDENTIFIED BY 'x'; SELECT 1", "mysql ¦ -e ¦ CREATE USER a IDENTIFIED BY '[REDACTED]'; SELECT 1"),
    ("psql ¦ host=db user=u password=x dbname=d", "psql ¦ host=db user=u password=[REDACTED] dbname=d"),
    // URLs.
    ("psql ¦ postgres://u:p%40ss@db:5432/x?sslmode=off", "psql ¦ postgres://u:[REDACTED]@db:5432/x?sslmode=off"),
    ("env ¦ DATABASE_URL=postgres://u:p@ss@db/x ¦ rails ¦ s", "env ¦ DATABASE_URL=postgres://u:[REDACTED]@db/x ¦ rails ¦ s"),
    ("app ¦ REDIS_URL=redis://:pw@r:6379/0", "app ¦ REDIS_URL=redis://:[REDACTED]@r:6379/0"),
    ("app ¦ amqp://u:p/w@mq", "app ¦ amqp://u:[REDACTED]@mq"),
    ("git ¦ clone ¦ https://0123456789abcdef0123@h/x.git", "git ¦ clone ¦ https://[REDACTED]@h/x.git"),
    // The table of programs.
    ("mysql ¦ -u ¦ root ¦ -psecret ¦ db", "mysql ¦ -u ¦ root ¦ -p[REDACTED] ¦ db"),
    ("/usr/bin/mysqldump ¦ -p ¦ secret ¦ db", "/usr/bin/mysqldump ¦ -p ¦ [REDACTED] ¦ db"),
    ("mariadb-admin ¦ -psecret ¦ ping", "mariadb-admin ¦ -p[REDACTED] ¦ ping"),
    ("sshpass ¦ -p ¦ x ¦ ssh ¦ -p ¦ 22 ¦ h ¦ ls", "sshpass ¦ -p ¦ [REDACTED] ¦ ssh ¦ -p ¦ 22 ¦ h ¦ ls"),
    ("sshpass ¦ -px ¦ ssh ¦ h ¦ docker login -u a -p b", "sshpass ¦ -p[REDACTED] ¦ ssh ¦ h ¦ docker login -u a -p [REDACTED]"),
    ("docker ¦ login ¦ registry.example.test ¦ -u ¦ ciuser ¦ -p ¦ s3cr3t", "docker ¦ login ¦ registry.example.test ¦ -u ¦ ciuser ¦ -p ¦ [REDACTED]"),
    ("podman ¦ --log-level=debug ¦ login ¦ -pabc ¦ r", "podman ¦ --log-level=debug ¦ login ¦ -p[REDACTED] ¦ r"),
    ("helm ¦ registry ¦ login ¦ r ¦ -u ¦ a ¦ -p ¦ b", "helm ¦ registry ¦ login ¦ r ¦ -u ¦ a ¦ -p ¦ [REDACTED]"),
    ("az ¦ login ¦ --service-principal ¦ -u ¦ a ¦ -p ¦ b ¦ --tenant ¦ t", "az ¦ login ¦ --service-principal ¦ -u ¦ a ¦ -p ¦ [REDACTED] ¦ --tenant ¦ t"),
    ("mongosh ¦ -u ¦ a ¦ -p ¦ b ¦ host/db", "mongosh ¦ -u ¦ a ¦ -p ¦ [REDACTED] ¦ host/db"),
    ("redis-cli ¦ -a ¦ x ¦ ping", "redis-cli ¦ -a ¦ [REDACTED] ¦ ping"),
    ("curl ¦ -u ¦ alice:s:x ¦ https://h/", "curl ¦ -u ¦ alice:[REDACTED] ¦ https://h/"),
    ("curl ¦ -ualice:x ¦ https://h/", "curl ¦ -ualice:[REDACTED] ¦ https://h/"),
    ("curl ¦ -sSku ¦ alice:x ¦ https://h/", "curl ¦ -sSku ¦ alice:[REDACTED] ¦ https://h/"),
    ("curl ¦ --user=alice:x ¦ --proxy-user ¦ a:b ¦ https://h/", "curl ¦ --user=alice:[REDACTED] ¦ --proxy-user ¦ a:[REDACTED] ¦ https://h/"),
    ("ldapsearch ¦ -x ¦ -D ¦ cn=a ¦ -w ¦ x", "ldapsearch ¦ -x ¦ -D ¦ cn=a ¦ -w ¦ [REDACTED]"),
    ("smbclient ¦ //s/x ¦ -U ¦ DOM/u%pa%ss", "smbclient ¦ //s/x ¦ -U ¦ DOM/u%[REDACTED]"),
    ("openssl ¦ rsa ¦ -passin ¦ pass:x ¦ -in ¦ k", "openssl ¦ rsa ¦ -passin ¦ pass:[REDACTED] ¦ -in ¦ k"),
    ("openssl ¦ enc ¦ -aes-256-cbc ¦ -k ¦ x ¦ -in ¦ f", "openssl ¦ enc ¦ -aes-256-cbc ¦ -k ¦ [REDACTED] ¦ -in ¦ f"),
    ("openssl ¦ enc ¦ -pass ¦ pass:x", "openssl ¦ enc ¦ -pass ¦ pass:[REDACTED]"),
    ("htpasswd ¦ -b ¦ /etc/f ¦ alice ¦ x", "htpasswd ¦ -b ¦ /etc/f ¦ alice ¦ [REDACTED]"),
    ("htpasswd ¦ -nbB ¦ alice ¦ x", "htpasswd ¦ -nbB ¦ alice ¦ [REDACTED]"),
    ("7z ¦ a ¦ -pabc ¦ x.7z ¦ f", "7z ¦ a ¦ -p[REDACTED] ¦ x.7z ¦ f"),
    ("zip ¦ -P ¦ x ¦ a.zip ¦ f", "zip ¦ -P ¦ [REDACTED] ¦ a.zip ¦ f"),
    ("unzip ¦ -Px ¦ a.zip", "unzip ¦ -P[REDACTED] ¦ a.zip"),
    ("rabbitmqctl ¦ -n ¦ r@h ¦ add_user ¦ u ¦ x", "rabbitmqctl ¦ -n ¦ r@h ¦ add_user ¦ u ¦ [REDACTED]"),
    ("rabbitmqctl ¦ change_password ¦ u ¦ x", "rabbitmqctl ¦ change_password ¦ u ¦ [REDACTED]"),
    ("snmpwalk ¦ -v3 ¦ -A ¦ x ¦ -X ¦ y ¦ h", "snmpwalk ¦ -v3 ¦ -A ¦ [REDACTED] ¦ -X ¦ [REDACTED] ¦ h"),
    ("ipmitool ¦ -H ¦ h ¦ -U ¦ u ¦ -P ¦ x ¦ power ¦ on", "ipmitool ¦ -H ¦ h ¦ -U ¦ u ¦ -P ¦ [REDACTED] ¦ power ¦ on"),
    ("sqlcmd ¦ -S ¦ h ¦ -U ¦ sa ¦ -P ¦ x", "sqlcmd ¦ -S ¦ h ¦ -U ¦ sa ¦ -P ¦ [REDACTED]"),
    ("sqlplus ¦ -s ¦ scott/tiger@db", "sqlplus ¦ -s ¦ scott/[REDACTED]@db"),
    ("expect ¦ -c ¦ spawn ssh h; expect word; send \"hunter2\\r\"; interact", "expect ¦ -c ¦ spawn ssh h; expect word; send \"[REDACTED]\"; interact"),
    ("ssh-keygen ¦ -t ¦ ed25519 ¦ -N ¦ x ¦ -f ¦ k", "ssh-keygen ¦ -t ¦ ed25519 ¦ -N ¦ [REDACTED] ¦ -f ¦ k"),
    ("useradd ¦ -m ¦ -p ¦ $6$abc ¦ bob", "useradd ¦ -m ¦ -p ¦ [REDACTED] ¦ bob"),
    ("xfreerdp ¦ /u:a ¦ /p:x ¦ /v:h", "xfreerdp ¦ /u:a ¦ /p:[REDACTED] ¦ /v:h"),
    ("nmcli ¦ dev ¦ wifi ¦ connect ¦ net ¦ password ¦ x", "nmcli ¦ dev ¦ wifi ¦ connect ¦ net ¦ password ¦ [REDACTED]"),
    ("mc ¦ alias ¦ set ¦ s3 ¦ https://h ¦ access ¦ hidden", "mc ¦ alias ¦ set ¦ s3 ¦ https://h ¦ [REDACTED] ¦ [REDACTED]"),
    ("kamal ¦ app ¦ exec ¦ env ¦ -e ¦ API_TOKEN:x ¦ -d ¦ production", "kamal ¦ app ¦ exec ¦ env ¦ -e ¦ API_TOKEN:[REDACTED] ¦ -d ¦ production"),
    ("kamal ¦ app ¦ exec ¦ -e ¦ API_TOKEN:x ¦ bin/rails c", "kamal ¦ app ¦ exec ¦ -e ¦ API_TOKEN:[REDACTED] ¦ bin/rails c"),
    ("gh ¦ secret ¦ set ¦ FOO ¦ -b ¦ x", "gh ¦ secret ¦ set ¦ FOO ¦ -b ¦ [REDACTED]"),
    ("vault ¦ login ¦ abcdef", "vault ¦ login ¦ [REDACTED]"),
    // Wrappers and shells.
    ("sudo ¦ -u ¦ bob ¦ mysql ¦ -px", "sudo ¦ -u ¦ bob ¦ mysql ¦ -p[REDACTED]"),
    ("/usr/bin/env ¦ A=b ¦ nice ¦ -n ¦ 5 ¦ timeout ¦ -s ¦ 9 ¦ 10 ¦ nohup ¦ mysql ¦ -px", "/usr/bin/env ¦ A=b ¦ nice ¦ -n ¦ 5 ¦ timeout ¦ -s ¦ 9 ¦ 10 ¦ nohup ¦ mysql ¦ -p[REDACTED]"),
    ("xargs ¦ -n ¦ 1 ¦ redis-cli ¦ -a ¦ x", "xargs ¦ -n ¦ 1 ¦ redis-cli ¦ -a ¦ [REDACTED]"),
    ("docker ¦ exec ¦ -it ¦ -w ¦ / ¦ db ¦ mysql ¦ -px", "docker ¦ exec ¦ -it ¦ -w ¦ / ¦ db ¦ mysql ¦ -p[REDACTED]"),
    ("docker ¦ exec ¦ db ¦ sh ¦ -c ¦ mysql -px -e 'select 1'", "docker ¦ exec ¦ db ¦ sh ¦ -c ¦ mysql -p[REDACTED] -e 'select 1'"),
    ("kubectl ¦ exec ¦ pod ¦ -- ¦ mysql ¦ -px", "kubectl ¦ exec ¦ pod ¦ -- ¦ mysql ¦ -p[REDACTED]"),
    ("find ¦ . ¦ -exec ¦ unzip ¦ -P ¦ x ¦ {} ¦ ;", "find ¦ . ¦ -exec ¦ unzip ¦ -P ¦ [REDACTED] ¦ {} ¦ ;"),
    ("bash ¦ -euo ¦ pipefail ¦ -lc ¦ PASS=x y", "bash ¦ -euo ¦ pipefail ¦ -lc ¦ PASS=[REDACTED] y"),
    ("sh ¦ -c ¦ docker login r -u \"ciuser\" -p \"s3\"", "sh ¦ -c ¦ docker login r -u \"ciuser\" -p \"[REDACTED]\""),
    ("su ¦ - ¦ bob ¦ -c ¦ mysql -px", "su ¦ - ¦ bob ¦ -c ¦ mysql -p[REDACTED]"),
    ("ssh ¦ -i ¦ k ¦ -t ¦ root@h ¦ -p ¦ 2262 ¦ docker login -p x r", "ssh ¦ -i ¦ k ¦ -t ¦ root@h ¦ -p ¦ 2262 ¦ docker login -p [REDACTED] r"),
    ("ssh ¦ h ¦ mysql ¦ -p'a ¦ b' ¦ db", "ssh ¦ h ¦ mysql ¦ -p'[REDACTED] ¦ [REDACTED]' ¦ db"),
    ("ssh ¦ h ¦ API_TOKEN=x ¦ ./run", "ssh ¦ h ¦ API_TOKEN=[REDACTED] ¦ ./run"),
    ("eval ¦ mysql ¦ -px", "eval ¦ mysql ¦ -p[REDACTED]"),
    ("unknown ¦ sh ¦ -c ¦ mysql -px", "unknown ¦ sh ¦ -c ¦ mysql -p[REDACTED]"),
    ("-bash ¦ -c ¦ mysql -px", "-bash ¦ -c ¦ mysql -p[REDACTED]"),
    ("env ¦ -S ¦ mysql -px", "env ¦ -S ¦ mysql -p[REDACTED]"),
    ("/usr/bin/python3 ¦ -I ¦ /usr/bin/az ¦ login ¦ -u ¦ a ¦ -p ¦ b", "/usr/bin/python3 ¦ -I ¦ /usr/bin/az ¦ login ¦ -u ¦ a ¦ -p ¦ [REDACTED]"),
    ("/bin/sh ¦ -e ¦ /usr/bin/mysqldump ¦ -px", "/bin/sh ¦ -e ¦ /usr/bin/mysqldump ¦ -p[REDACTED]"),
    ("ansible-vault ¦ encrypt_string ¦ x ¦ --name ¦ db_password", "ansible-vault ¦ encrypt_string ¦ [REDACTED] ¦ --name ¦ db_password"),
    // Shapes.
    ("echo ¦ AKIAIOSFODNN7EXAMPLE", "echo ¦ [REDACTED]"),
    ("echo ¦ x-ghp_0123456789abcdefghij,y", "echo ¦ x-[REDACTED],y"),
    ("echo ¦ github_pat_11ABCDEFG0abcdefghijkl", "echo ¦ [REDACTED]"),
    ("echo ¦ glpat-abcdefghij0123456789", "echo ¦ [REDACTED]"),
    ("echo ¦ xoxb-1234567890-abcdef", "echo ¦ [REDACTED]"),
    ("curl ¦ https://hooks.slack.com/services/T000/B000/XXXX", "curl ¦ https://hooks.slack.com/services/[REDACTED]"),
    ("echo ¦ a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl b", "echo ¦ a [REDACTED] b"),
    ("echo ¦ -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "echo ¦ [REDACTED]\nrest"),
    ("echo ¦ -----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "echo ¦ [REDACTED]"),
    ("echo ¦ npm_0123456789abcdefABCDEF", "echo ¦ [REDACTED]"),
    ("echo ¦ pypi-AgEIcHlwaS5vcmcCJDAw", "echo ¦ [REDACTED]"),
    ("echo ¦ sk_live_0123456789abcdef ¦ rk_live_0123456789abcdef", "echo ¦ [REDACTED] ¦ [REDACTED]"),
    ("echo ¦ sk-ant-api03-abcdef0123456789", "echo ¦ [REDACTED]"),
    ("echo ¦ sk-proj-0123456789abcdefghij", "echo ¦ [REDACTED]"),
    ("echo ¦ AIzaSyA0123456789abcdefghijklmnopqrstuv", "echo ¦ [REDACTED]"),
    ("echo ¦ ya29.a0AfH6SMBx0123456789", "echo ¦ [REDACTED]"),
    ("echo ¦ dop_v1_0123456789abcdef ¦ hf_abcdefghijklmnop0123", "echo ¦ [REDACTED] ¦ [REDACTED]"),
    ("echo ¦ Bearer abc123def", "echo ¦ Bearer [REDACTED]"),
    ("echo ¦ Bearer ¦ abc123def", "echo ¦ Bearer ¦ [REDACTED]"),
];

#[test]
fn secrets_in_argv_are_replaced() {
    let mut wrong = Vec::new();
    for (before, after) in REDACTED {
        let found = show_all(&check_args(&argv(before)));
        if found != *after {
            wrong.push(format!("\n  in  {before}\n  out {found}\n  not {after}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn values_that_are_not_utf8_are_replaced() {
    let before = vec![b"app".to_vec(), b"--password".to_vec(), b"\xff\xfe\x00x".to_vec(), b"\x80token=\xc3".to_vec()];
    let after = check_args(&before);
    assert_eq!(after.get(2).map(Vec::as_slice), Some(&b"[REDACTED]"[..]));
    assert_eq!(after.get(3).map(Vec::as_slice), Some(&b"\x80token=[REDACTED]"[..]));
}

#[test]
fn an_empty_argv_is_nothing() {
    assert!(check_args(&[]).is_empty());
    assert_eq!(check_args(&[Vec::new()]), [Vec::<u8>::new()]);
}
