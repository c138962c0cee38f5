//! Before the recording: secrets that tool definitions name are removed, and what a deploy needs to be known of the host is read while its process is there.
//!
//! In: an exec, decoded. Out: the same without those secrets, and before it a fact (`What::Deploy`) with the project's configuration or a hook's safe variables. The middle recognises the deploy
//! again by the same definitions, so a recording replays without the host.

use std::path::Path;

use crate::{
    decode::redact,
    deploy::{self, FILE_MAX, Invocation, Tools},
    event::{
        deploy::{Facts, FileState, Kind, Project, ToolFile},
        stream::{self, Args, Event, Exec, What},
    },
    host::{
        config_files::Deploying,
        project::{Projects, Request},
    },
};

pub(super) struct Deploys {
    tools: Tools,
    own: Vec<ToolFile>,
    projects: Projects,
    /// Deploys whose configuration is to be hashed.
    started: Vec<Deploying>,
}

impl Deploys {
    pub(super) fn new(proc: &Path, tools: Tools, own: Vec<ToolFile>) -> Self {
        Self { tools, own, projects: Projects::new(proc), started: Vec::new() }
    }

    /// New definitions.
    pub(super) fn set_tools(&mut self, tools: Tools, own: Vec<ToolFile>) -> What {
        self.tools = tools;
        self.own.clone_from(&own);
        What::DeployTools(own)
    }

    /// Deploys that have started since the last call.
    pub(super) fn started(&mut self) -> impl Iterator<Item = Deploying> {
        self.started.drain(..)
    }

    /// The user's definitions, for the stream.
    pub(super) fn own_tools(&self) -> Option<What> {
        (!self.own.is_empty()).then(|| What::DeployTools(self.own.clone()))
    }

    /// Removes secrets, and pushes the facts that the event needs.
    pub(super) fn tell(&mut self, event: &mut Event, out: &mut Vec<Event>) {
        match &mut event.what {
            What::Exec(exec) if self.tools.concern(&exec.args, exec.executable.as_ref().map(|path| &*path.bytes)) => {
                self.redact(&mut exec.args, exec.executable.as_ref());
                let facts = self.facts(exec);
                out.extend(facts.map(|facts| Event { time: event.time, what: What::Deploy(Box::new(facts)) }));
            }
            What::Found(found)
                if self.tools.concern(&found.args, found.executable.as_ref().map(|path| &*path.bytes)) =>
            {
                self.redact(&mut found.args, found.executable.as_ref());
                let folder = self.projects.working_directory(found.task.id.tgid);
                let mut facts = self.facts(&found.as_exec(folder.clone()));
                if let Some(facts) = &mut facts {
                    facts.working_directory = folder;
                }
                out.extend(facts.map(|facts| Event { time: event.time, what: What::Deploy(Box::new(facts)) }));
            }
            _ => {}
        }
    }

    fn redact(&self, args: &mut Args, executable: Option<&stream::Path>) {
        let mut list: Vec<Vec<u8>> = args.list.iter().map(|arg| arg.to_vec()).collect();
        if self.tools.redact(&mut list, executable.map(|path| &*path.bytes), redact::MARK) {
            args.list = list.into_iter().map(Into::into).collect();
            args.redacted = true;
        }
    }

    fn facts(&mut self, exec: &Exec) -> Option<Facts> {
        let argv = deploy::texts(&exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let executable = exec.executable.as_ref().and_then(|path| std::str::from_utf8(&path.bytes).ok());
        let process = exec.task.id;
        let mut request = Request {
            tgid: process.tgid,
            working_directory: exec.working_directory.as_ref().filter(|path| !path.cut).map(|path| path.bytes.clone()),
            files: Vec::new(),
            file_max: FILE_MAX,
            variables: Vec::new(),
        };
        let Some(mut invocation) = self.tools.recognise(&argv, executable, &[]) else {
            let tool = self.tools.hook(&argv, executable)?;
            request.variables.clone_from(&tool.definition.environment.safe);
            let variables = safe(self.projects.look(request)?.variables);
            return Some(Facts { process, tool: tool.name.clone(), project: None, variables, working_directory: None });
        };
        let working_directory = request.working_directory.clone();
        if let Some(folder) = working_directory.as_deref().and_then(|folder| std::str::from_utf8(folder).ok()) {
            invocation.in_folder(folder);
        }
        let project = Some(self.project(&invocation, request)?);
        let tool = invocation.tool.name.clone();
        let facts = Facts { process, tool, project, variables: Vec::new(), working_directory: None };
        // What only looks changes nothing, and needs no account of what it read.
        if !matches!(invocation.kind, Kind::Inspect | Kind::None) {
            self.started.extend(deploying(&invocation, &facts, working_directory));
        }
        Some(facts)
    }

    fn project(&mut self, invocation: &Invocation, mut request: Request) -> Option<Box<Project>> {
        let wanted = deploy::wanted(invocation);
        // In a container the files are another root's: the tool's own process there has them.
        if wanted.is_empty() || invocation.container {
            return None;
        }
        request.files = wanted.iter().map(|file| (file.path.clone(), file.read)).collect();
        let found = match self.projects.look(request) {
            Some(answer) => answer.files,
            None => vec![Err(FileState::Skipped); wanted.len()],
        };
        Some(Box::new(deploy::read_project(invocation, wanted.into_iter().zip(found).collect())))
    }
}

/// What is to be hashed for this deploy: nothing, if it has no files here (a `docker login`, anywhere). Its files are those of tool, service and destination, wherever they are checked out.
fn deploying(invocation: &Invocation, facts: &Facts, working_directory: Option<Vec<u8>>) -> Option<Deploying> {
    let files = &facts.project.as_ref()?.files;
    if files.iter().all(|file| matches!(file.state, FileState::Missing | FileState::Unreadable | FileState::Skipped)) {
        return None;
    }
    let files = files.iter().map(|file| (file.path.clone(), file.secret)).collect();
    let service = invocation.service(Some(facts));
    let destination = invocation.destination(Some(facts));
    let project = service.map(|service| {
        [Some(facts.tool.to_string()), Some(service), destination].into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    Some(Deploying { process: facts.process, working_directory, project, files })
}

/// Values too go through the filter of command lines: a name is no proof.
fn safe(variables: Vec<(String, String)>) -> Vec<(String, String)> {
    let clean = |(name, value): (String, String)| match redact::redact_line(value.as_bytes()) {
        None => (name, value),
        Some(clean) => (name, String::from_utf8_lossy(&clean).into_owned()),
    };
    variables.into_iter().map(clean).collect()
}
