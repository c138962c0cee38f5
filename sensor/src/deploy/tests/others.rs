//! The other tools: what is recognised, what is not, and where values come from.

use super::{brief, recognise};

#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    // Capistrano
    ("bundle exec cap production deploy", "capistrano | deploy | deploy"),
    ("cap staging deploy:rollback ROLLBACK_RELEASE=20240101", "capistrano | deploy:rollback | rollback"),
    ("cap production deploy:check", "capistrano | deploy:check | inspect"),
    ("cap production puma:restart", "capistrano | puma:restart | maintenance"),
    ("cap production deploy -n", "capistrano | deploy | inspect"),
    ("cap production own:task", "capistrano | own:task | unknown"),
    ("cap BRANCH=main production deploy", "capistrano | deploy | deploy"),
    ("cap -T", "-"),
    ("cap --version", "-"),
    // Ansible
    ("ansible-playbook -i inventory/production site.yml --limit web1,web2", "ansible |  | deploy"),
    ("/usr/bin/python3 /usr/bin/ansible-playbook site.yml", "ansible |  | deploy"),
    ("ansible-playbook site.yml --check --diff", "ansible |  | inspect"),
    ("ansible-playbook --list-hosts site.yml", "ansible |  | inspect"),
    ("ansible-playbook --version", "-"),
    ("ansible web -m shell -a uptime", "ansible-adhoc | web | exec"),
    ("ansible-vault view secrets.yml", "ansible-adhoc | view | secret"),
    ("ansible-galaxy install geerlingguy.docker", "-"),
    ("ansible-doc -l", "-"),
    // Fabric
    ("fab -H web1,web2 deploy --branch main", "fabric | deploy | deploy"),
    ("fab rollback", "fabric | rollback | rollback"),
    ("fab own", "fabric | own | unknown"),
    ("fab -l", "-"),
    ("fab", "-"),
    // Docker
    ("docker compose -f prod.yml -p shop up -d", "docker | compose up | deploy"),
    ("docker compose frobnicate", "docker | compose frobnicate | unknown"),
    ("docker compose ps", "-"),
    ("docker compose build", "-"),
    ("docker compose", "-"),
    ("docker compose up --help", "-"),
    ("docker stack deploy -c stack.yml shop", "docker | stack deploy | deploy"),
    ("docker service update --image app:2 web", "docker | service update | deploy"),
    ("docker service update --rollback web", "docker | service update | rollback"),
    ("docker service rollback web", "docker | service rollback | rollback"),
    ("docker --context production login -u u registry.example.test", "docker | login | secret"),
    ("docker push r/app:1", "docker | push | maintenance"),
    ("docker build -t x .", "-"),
    ("docker run --rm alpine true", "-"),
    ("docker ps -a", "-"),
    ("docker --help", "-"),
    ("docker-compose up -d", "docker-compose | up | deploy"),
    ("docker-compose frobnicate", "docker-compose | frobnicate | unknown"),
    ("docker-compose logs -f", "-"),
    // kubectl
    ("kubectl --context prod -n shop apply -f k8s/", "kubectl | apply | deploy"),
    ("kubectl rollout undo deployment/web --to-revision 3", "kubectl | rollout undo deployment/web | rollback"),
    ("kubectl set image deployment/web web=app:2", "kubectl | set image deployment/web | deploy"),
    ("kubectl apply -f x --dry-run=client", "kubectl | apply | inspect"),
    ("kubectl exec -it web-1 -- ls", "kubectl | exec | exec"),
    ("kubectl get secret db -o yaml", "kubectl | get secret | secret"),
    ("kubectl create secret generic db --from-literal=a=b", "kubectl | create secret generic | secret"),
    ("kubectl frobnicate", "kubectl | frobnicate | unknown"),
    ("kubectl config set-credentials me --token x", "kubectl | config set-credentials me | secret"),
    ("kubectl config use-context prod", "-"),
    ("kubectl get pods", "-"),
    ("kubectl -n x logs -f web", "-"),
    ("kubectl version", "-"),
    ("kubectl completion bash", "-"),
    // Helm
    ("helm upgrade web charts/web --install -n shop --version 1.2.3", "helm | upgrade | deploy"),
    ("helm rollback web 3", "helm | rollback | rollback"),
    ("helm secrets upgrade web c", "helm | secrets | unknown"),
    ("helm get values web", "helm | get values | secret"),
    ("helm get manifest web", "-"),
    ("helm list -A", "-"),
    ("helm repo add x https://192.0.2.1/", "-"),
    ("helm repo update", "-"),
    ("helm history web", "-"),
    ("helm template web c", "-"),
    ("helm --help", "-"),
    // Terraform
    ("terraform -chdir=prod apply -auto-approve", "terraform | apply | deploy"),
    ("tofu apply plan.out", "terraform | apply | deploy"),
    ("terraform apply -destroy", "terraform | apply | maintenance"),
    ("terraform destroy", "terraform | destroy | maintenance"),
    ("terraform plan -out plan.out", "terraform | plan | inspect"),
    ("terraform state rm x", "terraform | state rm | config-change"),
    ("terraform frobnicate", "terraform | frobnicate | unknown"),
    ("terraform state pull", "terraform | state pull | secret"),
    ("terraform state list", "-"),
    ("terraform workspace list", "-"),
    ("terraform show", "-"),
    ("terraform init -upgrade", "-"),
    ("terraform fmt", "-"),
    ("terraform -help", "-"),
    ("terraform apply -help", "-"),
    // rsync and scp
    ("rsync -az --delete -e ssh ./dist/ deploy@web1:/var/www/app/", "rsync |  | deploy"),
    ("rsync -azn ./dist/ web1:/srv/app", "rsync |  | inspect"),
    ("rsync -az -n ./dist/ web1:/srv/app/", "rsync |  | inspect"),
    ("rsync -az web1:/var/www/app/ ./backup", "-"),
    ("rsync -a a/ b/", "-"),
    ("rsync -a dist/ web1::www/app", "rsync |  | deploy"),
    ("rsync -a ~/ nas::home", "-"),
    ("rsync -a ~/ nas:/srv/backup/home", "-"),
    ("rsync -a Net::SSH.3pm man/Net::SSH.3pm", "-"),
    ("rsync -a a/ ./2024:/srv/a", "-"),
    ("rsync -a a/ nas:notes/current-status", "-"),
    ("rsync -a a/ web1:app/current/", "rsync |  | deploy"),
    ("rsync --server -logDtpre.iLsfxC . /var/www/app/", "-"),
    ("scp -r dist web1:/var/www/app", "scp |  | deploy"),
    ("scp notes.txt web1:", "-"),
    ("scp -t /var/www/app", "-"),
    // git push
    ("git push heroku main", "git | push heroku | deploy"),
    ("git -C app push -u dokku main:master", "git | push dokku | deploy"),
    ("git push dokku@host.example.test:app main", "git | push dokku@host.example.test:app | deploy"),
    ("git push -n production", "git | push production | inspect"),
    ("git push", "-"),
    ("git push origin main", "-"),
    ("git commit -m deploy", "-"),
    ("git status", "-"),
];

#[test]
fn the_other_tools_are_recognised_by_what_they_do() {
    let wrong: Vec<String> = TABLE
        .iter()
        .filter(|(line, expected)| brief(line) != *expected)
        .map(|(line, expected)| format!("{line}\n  is       {}\n  expected {expected}", brief(line)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn service_destination_version_and_hosts_come_from_where_the_definition_says() {
    type Expected = (Option<&'static str>, Option<&'static str>, Option<&'static str>, &'static [&'static str]);
    #[rustfmt::skip]
    let table: &[(&str, Expected)] = &[
        ("cap production deploy", (None, Some("production"), None, &[])),
        ("ansible-playbook -i inventory/production site.yml --limit web1,web2", (Some("site.yml"), Some("inventory/production"), None, &["web1", "web2"])),
        ("ansible-playbook --limit=web1 -iprod site.yml", (Some("site.yml"), Some("prod"), None, &["web1"])),
        ("fab -H a,b deploy", (None, None, None, &["a", "b"])),
        ("docker compose -p shop up -d", (Some("shop"), None, None, &[])),
        ("docker login -u me -p [REDACTED] r.example.test", (None, None, None, &[])),
        ("docker --context prod stack deploy -c s.yml shop", (Some("shop"), Some("prod"), None, &[])),
        ("docker service update --image app:2 web", (Some("web"), None, Some("app:2"), &[])),
        ("kubectl --context prod apply -f k8s/", (Some("k8s/"), Some("prod"), None, &[])),
        ("helm upgrade web charts/web -n shop --version 1.2.3", (Some("web"), Some("shop"), Some("1.2.3"), &[])),
        ("helm rollback web 3", (Some("web"), None, Some("3"), &[])),
        ("terraform -chdir=prod apply plan.out", (Some("prod"), None, Some("plan.out"), &[])),
        ("rsync -az dist/ deploy@web1:/var/www/app/", (None, Some("deploy@web1:/var/www/app/"), None, &["web1"])),
        ("git push heroku main", (None, Some("heroku"), Some("main"), &[])),
    ];
    for (line, (service, destination, version, hosts)) in table {
        let found = recognise(line).unwrap();
        assert_eq!(found.service(None).as_deref(), *service, "service of {line}");
        assert_eq!(found.destination(None).as_deref(), *destination, "destination of {line}");
        assert_eq!(found.version(None).as_deref(), *version, "version of {line}");
        assert_eq!(found.hosts(None), *hosts, "hosts of {line}");
    }
}

/// What a day at a shell is made of.
#[rustfmt::skip]
const ORDINARY: &[&str] = &[
    "git status", "git log --oneline", "git pull --rebase", "git push origin HEAD", "git fetch production", "git checkout deploy", "git branch -D production", "git remote add heroku x",
    "docker --help", "docker", "docker version", "docker info", "docker images", "docker ps", "docker build -t kamal .", "docker run -it ubuntu bash", "docker compose --help", "docker buildx build .",
    "ruby script.rb deploy", "ruby deploy.rb", "ruby -rbundler/setup -e 1", "bundle install", "bundle exec rspec", "bundle exec rake deploy", "rake -T", "gem list kamal", "irb",
    "make deploy", "make", "cargo build --release", "cargo test deploy", "rustc x.rs", "apt-get install ansible", "apt install kamal", "dpkg -l", "pip install ansible fabric", "npm run deploy",
    "python3 manage.py migrate", "python3 -m pytest", "python3 fabfile.py", "bash deploy.sh", "sh -c 'kamal deploy'", "cat config/deploy.yml", "vi kamal", "less kamal.rb", "cd kamal", "man kamal",
    "ssh web1 kamal deploy", "ssh web1 docker ps", "scp a b", "scp web1:x .", "rsync -a a b", "rsync -av web1:/var/www/ backup", "kubectl get pods", "kubectl config view", "terraform fmt", "terraform validate",
    "helm lint", "helm search repo x", "systemctl restart app", "sudo systemctl status docker", "curl https://kamal-deploy.org", "which kamal", "type kamal", "rbenv which kamal", "rbenv rehash", "asdf list",
    "mise ls", "find . -name kamal", "grep -rn deploy kamal", "kill 1", "top", "ls kamal", "tar xf kamal.tar", "nohup ./server", "env", "sudo -i", "time make", "xargs kamal", "echo kamal deploy", "cap", "setcap x y",
];

#[test]
fn ordinary_work_is_no_deploy() {
    let wrong: Vec<String> = ORDINARY
        .iter()
        .filter_map(|line| Some((line, recognise(line)?)))
        .map(|(line, found)| format!("{line}: {} {}", found.tool.name, found.verb))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
