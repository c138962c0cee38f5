//! What each kind of finding adds to the line of its subject.

use super::{
    Line,
    fields::{
        ActionCount, Auth, ByDirection, Certificate, Channel, Command, Connection, Degraded, Deploy, DeployConfig,
        DeployStep, Disconnect, Drain, File, FileHash, Forward, HostKey, Image, Key, KindCount, Lost, Probe, Process,
        Program, Range, Records, Sensor, Session, Software, Ssh, Suppressed,
    },
    list::{Texts, WordList},
    value::{Sha256, Text, Timestamp, Word},
    write::{address, error, strings},
};
use crate::finding::{
    Exit, Failure, Finding, FindingKind,
    deploy::{self, Description, Extent},
    health,
    ssh::{self, SessionEnded},
};

impl<'a> Line<'a> {
    pub(super) fn kind(&mut self, finding: &'a Finding) {
        match &finding.kind {
            FindingKind::SshConnection(handshake) => self.handshake(handshake),
            FindingKind::SshHostKey(shown) => self.ssh().host_key = Some(Box::new(host_key(shown))),
            FindingKind::SshKeyOffered(request) | FindingKind::SshAuthentication(request) => {
                self.ssh().auth = Some(Box::new(auth(request)));
            }
            FindingKind::SshChannelOpened(channel) | FindingKind::SshChannelClosed(channel) => self.channel(channel),
            FindingKind::SshForwardRequested(forward) => {
                self.ssh().forward = Some(Box::new(Forward {
                    kind: Some(Word(forward.kind)),
                    bind_address: forward.bind_address.as_ref().map(Text::from),
                    bind_port: forward.bind_port,
                    path: forward.path.as_ref().map(Text::from),
                }));
            }
            FindingKind::SshCommandStarted(command) | FindingKind::SshCommandEnded(command) => self.command(command),
            FindingKind::SshProtocolError(failure) | FindingKind::ConnectionFailed(failure) => {
                let said = *failure != Failure::default();
                self.error = said.then(|| error(failure));
            }
            FindingKind::SshSessionStarted(login) => {
                if let Some(login) = login {
                    self.ssh().auth = Some(Box::new(auth(login)));
                }
            }
            FindingKind::SshSessionEnded(ended) => self.session_ended(ended),
            FindingKind::ProcessEnded(exit) => {
                self.exited(Some(*exit));
                self.process.get_or_insert_default().end = Some(Timestamp(finding.time));
            }
            FindingKind::ConnectionClosed(closed) => {
                self.error = closed.failure.as_ref().map(error);
                if let Some(end) = &closed.disconnect {
                    self.ssh().disconnect = Some(Box::new(disconnect(end)));
                }
            }
            FindingKind::DeployConfigChanged(change) => self.config_changed(change),
            FindingKind::DeployStarted(started) => self.described(&started.description, Some(&started.extent)),
            FindingKind::DeployStep(step) => self.step(step),
            FindingKind::DeployFinished(finished) => self.deploy_finished(finished),
            FindingKind::ProcessStarted | FindingKind::ConnectionOpened | FindingKind::SensorConfigReloaded => {}
            FindingKind::SensorStarted(_)
            | FindingKind::SensorStopped(_)
            | FindingKind::SensorDegraded(_)
            | FindingKind::SensorEventsLost(_)
            | FindingKind::SensorSuppressed(_) => self.health(&finding.kind),
        }
    }

    fn ssh(&mut self) -> &mut Ssh<'a> {
        self.ssh.get_or_insert_default()
    }

    fn handshake(&mut self, handshake: &'a ssh::Handshake) {
        let fields = self.ssh();
        let software = |text: &'a Option<String>| text.as_ref().map(|text| Software { software: Some(text.into()) });
        (fields.client, fields.server) = (software(&handshake.client), software(&handshake.server));
        fields.hassh = handshake.hassh.as_ref().map(Text::from);
        fields.hassh_server = handshake.hassh_server.as_ref().map(Text::from);
        fields.kex = handshake.kex.as_ref().map(Text::from);
        fields.cipher = handshake.cipher.as_ref().map(by_direction).map(Box::new);
        fields.mac = handshake.mac.as_ref().map(by_direction).map(Box::new);
        fields.compression = handshake.compression.as_ref().map(by_direction).map(Box::new);
        fields.host_key = handshake.host_key.as_ref().map(|key| {
            Box::new(HostKey {
                kind: Some((&key.kind).into()),
                fingerprint: key.fingerprint.as_ref().map(Text::from),
                ..HostKey::default()
            })
        });
        let changed = handshake.changed.as_slice();
        fields.changed = (!changed.is_empty()).then_some(WordList::Lent(changed));
        self.error = handshake.failure.as_ref().map(error);
    }

    fn channel(&mut self, channel: &'a ssh::Channel) {
        self.ssh().channel = Some(Box::new(Channel {
            id: channel.id,
            kind: Some((&channel.kind).into()),
            destination: channel.destination.as_ref().map(address),
            originator: channel.originator.as_ref().map(address),
            path: channel.path.as_ref().map(Text::from),
            bytes_in: channel.bytes_in,
            bytes_out: channel.bytes_out,
            reason: channel.reason.as_ref().map(Text::from),
            connection: channel.connection.as_ref().map(|id| Connection { id: Some(id.as_str().into()) }),
        }));
        self.error = channel.failure.as_ref().map(error);
    }

    fn command(&mut self, command: &'a ssh::Command) {
        let fields = self.ssh().command.get_or_insert_default();
        let id = fields.id.take();
        *fields = Command {
            id,
            kind: Some(Word(command.kind)),
            line: command.line.as_ref().map(Text::from),
            labels: (!command.labels.is_empty()).then_some(Texts::Shared(&command.labels)),
            pty: Some(command.pty),
            exit_status: command.exit_status,
            exit_signal: command.exit_signal.as_ref().map(Text::from),
        };
    }

    fn session_ended(&mut self, ended: &'a SessionEnded) {
        let counts = [ended.commands, ended.processes, ended.processes_surviving, ended.bytes_in, ended.bytes_out];
        let fields = self.ssh();
        if counts.iter().any(Option::is_some) {
            let Session { id, parent, adopted, .. } = fields.session.take().unwrap_or_default();
            let [commands, processes, processes_surviving, bytes_in, bytes_out] = counts;
            fields.session =
                Some(Session { id, parent, adopted, commands, processes, processes_surviving, bytes_in, bytes_out });
        }
        fields.auth = ended.login.as_ref().map(auth).map(Box::new);
        fields.disconnect = ended.disconnect.as_ref().map(disconnect).map(Box::new);
    }

    fn exited(&mut self, exit: Option<Exit>) {
        if let Some(exit) = exit {
            let process: &mut Process<'a> = self.process.get_or_insert_default();
            (process.exit_code, process.exit_signal) = (Some(exit.code), exit.signal);
        }
    }

    fn config_changed(&mut self, change: &'a deploy::ConfigChange) {
        let hash = change.now.map(|now| FileHash { sha256: Some(Sha256(now.sha256)) });
        self.file = Some(Box::new(File { path: Some((&change.path).into()), hash }));
        self.deploy.get_or_insert_default().config = Some(DeployConfig {
            previous_sha256: change.previous.map(Sha256),
            keyed: change.keyed.then_some(true),
            removed: change.now.is_none().then_some(true),
            ..DeployConfig::default()
        });
    }

    /// Writes what a finding of a deploy has; one without any of it leaves no object behind.
    fn described(&mut self, description: &'a Description, extent: Option<&'a Extent>) {
        if *description == Description::default() && extent.is_none_or(|extent| *extent == Extent::default()) {
            return;
        }
        let fields: &mut Deploy<'a> = self.deploy.get_or_insert_default();
        fields.tool = description.tool.as_ref().map(Text::from);
        fields.tool_version = description.tool_version.as_ref().map(Text::from);
        fields.action = description.action.map(Word);
        fields.verb = description.verb.as_ref().map(Text::from);
        fields.service = description.service.as_ref().map(Text::from);
        fields.destination = description.destination.as_ref().map(Text::from);
        fields.version = description.version.as_ref().map(Text::from);
        fields.previous_version = description.previous_version.as_ref().map(Text::from);
        fields.performer = description.performer.as_ref().map(Text::from);
        let claimed = description.claimed.as_slice();
        fields.claimed = (!claimed.is_empty()).then_some(WordList::Lent(claimed));
        if let Some(extent) = extent {
            (fields.hosts, fields.roles) = (strings(&extent.hosts), strings(&extent.roles));
            let connections = extent.connections.as_slice();
            fields.connections = (!connections.is_empty()).then_some(Texts::Connections(connections));
            fields.secrets = strings(&extent.secrets);
            fields.config = extent.config.as_ref().map(|config| DeployConfig {
                files: strings(&config.files),
                unread: strings(&config.unread),
                ..DeployConfig::default()
            });
        }
    }

    fn step(&mut self, step: &'a deploy::DeployStep) {
        self.exited(step.exit);
        if step.container.is_some() || step.image.is_some() {
            let container = self.container.get_or_insert_default();
            container.name = step.container.as_ref().map(Text::from);
            container.image = step.image.as_ref().map(|image| {
                Box::new(Image { name: image.name.as_ref().map(Text::from), tag: image.tag.as_ref().map(Text::from) })
            });
        }
        self.described(&step.description, None);
        self.deploy.get_or_insert_default().step = Some(DeployStep {
            kind: Some((&step.kind).into()),
            line: step.line.as_ref().map(Text::from),
            host: step.host.as_ref().map(Text::from),
            role: step.role.as_ref().map(Text::from),
            exit_status: step.exit_status,
            secrets: strings(&step.secrets),
            registry: step.registry.as_ref().map(Text::from),
        });
    }

    fn deploy_finished(&mut self, finished: &'a deploy::DeployFinished) {
        self.exited(finished.exit);
        self.described(&finished.description, Some(&finished.extent));
        let contacted = strings(&finished.contacted);
        if contacted.is_some() || finished.steps.is_some() || finished.evidence.is_some() || finished.reason.is_some() {
            let fields = self.deploy.get_or_insert_default();
            (fields.contacted, fields.steps) = (contacted, finished.steps);
            fields.evidence = finished.evidence.map(Word);
            fields.reason = finished.reason.as_ref().map(Text::from);
        }
        self.error =
            finished.message.as_ref().map(|message| super::fields::Error { code: None, message: Some(message.into()) });
    }

    fn health(&mut self, kind: &'a FindingKind) {
        let fields: &mut Sensor<'a> = self.sensor.get_or_insert_default();
        match kind {
            FindingKind::SensorStarted(probes) => fields.probes = Some(probes.iter().map(probe).collect()),
            FindingKind::SensorStopped(stopped) => {
                fields.programs = Some(stopped.programs.iter().map(program).collect());
                fields.drain = stopped.drain.map(|drain| {
                    Box::new(Drain {
                        drains: Some(drain.drains),
                        late: Some(drain.late),
                        latency_max_ns: Some(drain.latency_max_ns),
                    })
                });
                fields.records = stopped.records.as_ref().map(records).map(Box::new);
            }
            FindingKind::SensorDegraded(degraded) => {
                fields.degraded = Some(Box::new(Degraded {
                    what: Some((&degraded.what).into()),
                    why: Some((&degraded.why).into()),
                    effect: Some((&degraded.effect).into()),
                }));
            }
            FindingKind::SensorEventsLost(lost) => {
                let range = |(first, last): &(u64, u64)| Range { first: Some(*first), last: Some(*last) };
                fields.lost = Some(Box::new(Lost {
                    stage: Some((&lost.stage).into()),
                    kind: Some((&lost.kind).into()),
                    count: Some(lost.count),
                    sequence: (!lost.sequence.is_empty()).then(|| lost.sequence.iter().map(range).collect()),
                }));
            }
            FindingKind::SensorSuppressed(suppressed) => {
                let executables = suppressed.executables.as_slice();
                let count =
                    |(action, count): &(_, u64)| ActionCount { action: Some(Word(*action)), count: Some(*count) };
                fields.suppressed = Some(Box::new(Suppressed {
                    count: Some(suppressed.count),
                    limit: Some(Word(suppressed.limit)),
                    actions: Some(suppressed.actions.iter().map(count).collect()),
                    executables: (!executables.is_empty()).then_some(Texts::Shared(executables)),
                }));
            }
            _ => {}
        }
    }
}

fn by_direction(both: &ssh::ByDirection) -> ByDirection<'_> {
    ByDirection {
        client_to_server: both.client_to_server.as_ref().map(Text::from),
        server_to_client: both.server_to_client.as_ref().map(Text::from),
    }
}

fn key(key: &ssh::Key) -> Key<'_> {
    Key {
        kind: Some((&key.kind).into()),
        fingerprint: key.fingerprint.as_ref().map(Text::from),
        owner: key.owner.as_ref().map(Text::from),
    }
}

fn host_key(shown: &ssh::HostKey) -> HostKey<'_> {
    HostKey {
        kind: Some((&shown.key.kind).into()),
        fingerprint: shown.key.fingerprint.as_ref().map(Text::from),
        status: shown.status.map(Word),
        status_reason: shown.status_reason.map(Word),
        checking: shown.checking.map(Word),
        host_matched: shown.host_matched,
    }
}

fn auth(auth: &ssh::Auth) -> Auth<'_> {
    Auth {
        method: Some((&auth.method).into()),
        partial: auth.partial.then_some(true),
        key: auth.key.as_ref().map(key),
        certificate: auth.certificate.as_ref().map(|certificate| Certificate {
            key_id: Some((&certificate.key_id).into()),
            serial: Some(certificate.serial),
            principals: Some(Texts::Strings(&certificate.principals)),
            ca_fingerprint: certificate.ca_fingerprint.as_ref().map(Text::from),
        }),
    }
}

fn disconnect(disconnect: &ssh::Disconnect) -> Disconnect<'_> {
    Disconnect {
        reason: Some((&disconnect.reason).into()),
        description: disconnect.description.as_ref().map(Text::from),
        by: disconnect.by.map(Word),
    }
}

fn probe(probe: &health::Probe) -> Probe<'_> {
    Probe {
        name: Some((&probe.name).into()),
        target: Some((&probe.target).into()),
        state: Some((&probe.state).into()),
        why: probe.why.as_ref().map(Text::from),
    }
}

fn program(counted: &health::Counted) -> Program<'_> {
    Program {
        name: Some((&counted.name).into()),
        seen: Some(counted.seen),
        sent: Some(counted.sent),
        lost: Some(counted.lost),
        fallback_handled: Some(counted.fallback_handled),
        skipped: counted.skipped,
    }
}

fn records(records: &health::RecordCounts) -> Records<'_> {
    let lost: Vec<KindCount<'_>> =
        records.lost.iter().map(|(kind, count)| KindCount { kind: Some(kind.into()), count: Some(*count) }).collect();
    Records {
        written: Some(records.written),
        suppressed: Some(records.suppressed),
        lost: (!lost.is_empty()).then_some(lost),
    }
}
