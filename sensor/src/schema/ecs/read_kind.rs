//! What each kind of finding has of its own, from a line. Each part is taken out of the line, so nothing is copied
//! twice.

use super::{
    Line, fields,
    list::{Texts, WordList},
    value::Text,
};
use crate::{
    finding::{
        Action, ConnectionClosed, Exit, Failure, FindingKind,
        deploy::{
            ConfigChange, ConfigFiles, DeployFinished, DeployStarted, DeployStep, Description, Extent, FileHash, Image,
        },
        health::{Counted, Degraded, Drains, Lost, Probe, RecordCounts, SensorStopped, Suppressed},
        ssh::{
            Address, Auth, ByDirection, Certificate, Channel, Command, Disconnect, Forward, Handshake, HostKey, Key,
            SessionEnded,
        },
    },
    schema::Error,
};

/// A field that a finding cannot be without.
fn need<T>(value: Option<T>, field: &'static str) -> Result<T, Error> {
    value.ok_or(Error::Field(field))
}

fn string(text: Option<Text<'_>>) -> Option<String> {
    text.map(Text::string)
}

fn strings(texts: Option<Texts<'_>>) -> Vec<String> {
    texts.map(Texts::strings).unwrap_or_default()
}

fn words<T: super::Words>(words: Option<WordList<'_, T>>) -> Vec<T> {
    words.map(WordList::own).unwrap_or_default()
}

impl Line<'_> {
    pub(super) fn read_kind(&mut self, action: Action) -> Result<FindingKind, Error> {
        Ok(match action {
            Action::SshConnection => FindingKind::SshConnection(Box::new(self.read_handshake()?)),
            Action::SshHostKey => FindingKind::SshHostKey(Box::new(self.read_host_key()?)),
            Action::SshKeyOffered => FindingKind::SshKeyOffered(Box::new(self.need_auth()?)),
            Action::SshAuthentication => FindingKind::SshAuthentication(Box::new(self.need_auth()?)),
            Action::SshChannelOpened => FindingKind::SshChannelOpened(Box::new(self.read_channel()?)),
            Action::SshChannelClosed => FindingKind::SshChannelClosed(Box::new(self.read_channel()?)),
            Action::SshForwardRequested => FindingKind::SshForwardRequested(Box::new(self.read_forward()?)),
            Action::SshCommandStarted => FindingKind::SshCommandStarted(Box::new(self.read_command()?)),
            Action::SshCommandEnded => FindingKind::SshCommandEnded(Box::new(self.read_command()?)),
            Action::SshProtocolError => FindingKind::SshProtocolError(self.read_failure().unwrap_or_default()),
            Action::SshSessionStarted => FindingKind::SshSessionStarted(self.read_auth()?.map(Box::new)),
            Action::SshSessionEnded => FindingKind::SshSessionEnded(Box::new(self.read_session_ended()?)),
            Action::ProcessStarted => FindingKind::ProcessStarted,
            Action::ProcessEnded => FindingKind::ProcessEnded(need(self.read_exit(), "process.exit_code")?),
            Action::ConnectionOpened => FindingKind::ConnectionOpened,
            Action::ConnectionClosed => FindingKind::ConnectionClosed(self.read_closed()),
            Action::ConnectionFailed => FindingKind::ConnectionFailed(self.read_failure().unwrap_or_default()),
            Action::DeployConfigChanged => FindingKind::DeployConfigChanged(Box::new(self.read_config_change()?)),
            Action::DeployStarted => {
                let (description, extent) = (self.read_description(), self.read_extent());
                FindingKind::DeployStarted(Box::new(DeployStarted { description, extent }))
            }
            Action::DeployStep => FindingKind::DeployStep(Box::new(self.read_step()?)),
            Action::DeployFinished => FindingKind::DeployFinished(Box::new(self.read_deploy_finished())),
            Action::SensorConfigReloaded => FindingKind::SensorConfigReloaded,
            Action::SensorStarted
            | Action::SensorStopped
            | Action::SensorDegraded
            | Action::SensorEventsLost
            | Action::SensorSuppressed => return self.read_health(action),
        })
    }

    fn read_failure(&mut self) -> Option<Failure> {
        let error = self.error.take()?;
        Some(Failure { code: error.code.map(Text::own), message: error.message.map(Text::own) })
    }

    fn read_exit(&mut self) -> Option<Exit> {
        let process = self.process.as_ref()?;
        Some(Exit { code: process.exit_code?, signal: process.exit_signal })
    }

    fn read_closed(&mut self) -> ConnectionClosed {
        let login = self.destination.as_ref().and_then(|to| to.user.as_ref()).and_then(|user| user.name.as_ref());
        let related = self.related.as_mut().filter(|_| login.is_none()).and_then(|related| related.user.take());
        ConnectionClosed {
            failure: self.read_failure(),
            disconnect: self.read_disconnect().map(Box::new),
            tried_user: related.and_then(|users| users.texts().into_iter().next()).map(Text::arc),
        }
    }

    fn read_handshake(&mut self) -> Result<Handshake, Error> {
        let failure = self.read_failure();
        let Some(ssh) = &mut self.ssh else { return Ok(Handshake { failure, ..Handshake::default() }) };
        let software = |end: Option<fields::Software<'_>>| end.and_then(|end| end.software).map(Text::string);
        let host_key = ssh.host_key.take().map(|shown| {
            let kind = need(shown.kind, "ssh.host_key.type")?.string();
            Ok::<_, Error>(Key { kind, fingerprint: string(shown.fingerprint), owner: None })
        });
        Ok(Handshake {
            client: software(ssh.client.take()),
            server: software(ssh.server.take()),
            hassh: string(ssh.hassh.take()),
            hassh_server: string(ssh.hassh_server.take()),
            kex: string(ssh.kex.take()),
            cipher: ssh.cipher.take().map(|both| by_direction(*both)),
            mac: ssh.mac.take().map(|both| by_direction(*both)),
            compression: ssh.compression.take().map(|both| by_direction(*both)),
            host_key: host_key.transpose()?,
            changed: words(ssh.changed.take()),
            failure,
        })
    }

    fn read_host_key(&mut self) -> Result<HostKey, Error> {
        let shown = self.ssh.as_mut().and_then(|ssh| ssh.host_key.take()).unwrap_or_default();
        let kind = need(shown.kind, "ssh.host_key.type")?.string();
        Ok(HostKey {
            key: Key { kind, fingerprint: string(shown.fingerprint), owner: None },
            status: shown.status.map(|status| status.0),
            status_reason: shown.status_reason.map(|reason| reason.0),
            checking: shown.checking.map(|checking| checking.0),
            host_matched: shown.host_matched,
        })
    }

    fn need_auth(&mut self) -> Result<Auth, Error> {
        need(self.read_auth()?, "ssh.auth.method")
    }

    fn read_auth(&mut self) -> Result<Option<Auth>, Error> {
        let Some(auth) = self.ssh.as_mut().and_then(|ssh| ssh.auth.take()) else { return Ok(None) };
        let key = auth.key.map(|key| {
            let kind = need(key.kind, "ssh.auth.key.type")?.string();
            Ok::<_, Error>(Key { kind, fingerprint: string(key.fingerprint), owner: string(key.owner) })
        });
        let certificate = auth.certificate.map(|certificate| {
            Ok::<_, Error>(Certificate {
                key_id: need(certificate.key_id, "ssh.auth.certificate.key_id")?.string(),
                serial: need(certificate.serial, "ssh.auth.certificate.serial")?,
                principals: strings(certificate.principals),
                ca_fingerprint: string(certificate.ca_fingerprint),
            })
        });
        Ok(Some(Auth {
            method: need(auth.method, "ssh.auth.method")?.string(),
            partial: auth.partial == Some(true),
            key: key.transpose()?,
            certificate: certificate.transpose()?,
        }))
    }

    fn read_channel(&mut self) -> Result<Channel, Error> {
        let failure = self.read_failure();
        let channel = self.ssh.as_mut().and_then(|ssh| ssh.channel.take()).unwrap_or_default();
        let address = |end: fields::Address<'_>| {
            let address = need(end.address, "ssh.channel.*.address")?.string();
            Ok::<_, Error>(Address { address, port: need(end.port, "ssh.channel.*.port")? })
        };
        Ok(Channel {
            id: channel.id,
            kind: need(channel.kind, "ssh.channel.type")?.string(),
            destination: channel.destination.map(address).transpose()?,
            originator: channel.originator.map(address).transpose()?,
            path: string(channel.path),
            bytes_in: channel.bytes_in,
            bytes_out: channel.bytes_out,
            connection: channel.connection.and_then(|connection| connection.id).map(|id| id.arc().into()),
            reason: channel.reason.map(Text::own),
            failure,
        })
    }

    fn read_forward(&mut self) -> Result<Forward, Error> {
        let forward = self.ssh.as_mut().and_then(|ssh| ssh.forward.take()).unwrap_or_default();
        Ok(Forward {
            kind: need(forward.kind, "ssh.forward.type")?.0,
            bind_address: string(forward.bind_address),
            bind_port: forward.bind_port,
            path: string(forward.path),
        })
    }

    /// The command's id stays: it is the subject's.
    fn read_command(&mut self) -> Result<Command, Error> {
        let command = self.ssh.as_mut().and_then(|ssh| ssh.command.as_mut());
        let command = need(command, "ssh.command.kind")?;
        Ok(Command {
            kind: need(command.kind, "ssh.command.kind")?.0,
            line: string(command.line.take()),
            labels: command.labels.take().map(Texts::texts).unwrap_or_default().into_iter().map(Text::arc).collect(),
            pty: command.pty == Some(true),
            exit_status: command.exit_status,
            exit_signal: string(command.exit_signal.take()),
        })
    }

    fn read_disconnect(&mut self) -> Option<Disconnect> {
        let disconnect = self.ssh.as_mut()?.disconnect.take()?;
        Some(Disconnect {
            reason: disconnect.reason?.own(),
            description: string(disconnect.description),
            by: disconnect.by.map(|by| by.0),
        })
    }

    fn read_session_ended(&mut self) -> Result<SessionEnded, Error> {
        let login = self.read_auth()?;
        let disconnect = self.read_disconnect();
        let session = self.ssh.as_ref().and_then(|ssh| ssh.session.as_ref());
        let count = |of: fn(&fields::Session<'_>) -> Option<u64>| session.and_then(of);
        Ok(SessionEnded {
            login,
            commands: count(|session| session.commands),
            processes: count(|session| session.processes),
            processes_surviving: count(|session| session.processes_surviving),
            bytes_in: count(|session| session.bytes_in),
            bytes_out: count(|session| session.bytes_out),
            disconnect,
        })
    }

    fn read_config_change(&mut self) -> Result<ConfigChange, Error> {
        let file = self.file.take().unwrap_or_default();
        let path = need(file.path, "file.path")?.string();
        let config = self.deploy.as_mut().and_then(|deploy| deploy.config.take()).unwrap_or_default();
        let related = self.related.take().and_then(|related| related.hash);
        let now = file.hash.and_then(|hash| hash.sha256).map(|hash| hash.0);
        Ok(ConfigChange {
            path,
            now: now.map(|sha256| FileHash { sha256, secret: related.is_none() }),
            previous: config.previous_sha256.map(|hash| hash.0),
            keyed: config.keyed == Some(true),
        })
    }

    fn read_description(&mut self) -> Description {
        let Some(deploy) = &mut self.deploy else { return Description::default() };
        Description {
            tool: deploy.tool.take().map(Text::arc),
            tool_version: string(deploy.tool_version.take()),
            action: deploy.action.map(|action| action.0),
            verb: string(deploy.verb.take()),
            service: string(deploy.service.take()),
            destination: string(deploy.destination.take()),
            version: string(deploy.version.take()),
            previous_version: string(deploy.previous_version.take()),
            performer: string(deploy.performer.take()),
            claimed: words(deploy.claimed.take()),
        }
    }

    fn read_extent(&mut self) -> Extent {
        let Some(deploy) = &mut self.deploy else { return Extent::default() };
        let connections = deploy.connections.take().map(Texts::texts).unwrap_or_default();
        Extent {
            hosts: strings(deploy.hosts.take()),
            roles: strings(deploy.roles.take()),
            secrets: strings(deploy.secrets.take()),
            config: deploy
                .config
                .take()
                .map(|config| ConfigFiles { files: strings(config.files), unread: strings(config.unread) }),
            connections: connections.into_iter().map(|id| id.arc().into()).collect(),
        }
    }

    fn read_step(&mut self) -> Result<DeployStep, Error> {
        let (exit, description) = (self.read_exit(), self.read_description());
        let step = self.deploy.as_mut().and_then(|deploy| deploy.step.take()).unwrap_or_default();
        let container = self.container.as_mut();
        let (container, image) = container.map(|container| (container.name.take(), container.image.take())).unzip();
        Ok(DeployStep {
            description,
            kind: need(step.kind, "deploy.step.kind")?.string(),
            line: string(step.line),
            host: string(step.host),
            role: string(step.role),
            exit_status: step.exit_status,
            secrets: strings(step.secrets),
            registry: string(step.registry),
            container: string(container.flatten()),
            image: image.flatten().map(|image| Image { name: string(image.name), tag: string(image.tag) }),
            exit,
        })
    }

    fn read_deploy_finished(&mut self) -> DeployFinished {
        let message = self.read_failure().and_then(|failure| failure.message);
        let (exit, description, extent) = (self.read_exit(), self.read_description(), self.read_extent());
        let Some(deploy) = &mut self.deploy else {
            return DeployFinished { message, exit, ..DeployFinished::default() };
        };
        DeployFinished {
            description,
            extent,
            contacted: strings(deploy.contacted.take()),
            steps: deploy.steps,
            evidence: deploy.evidence.map(|evidence| evidence.0),
            reason: deploy.reason.take().map(Text::own),
            message,
            exit,
        }
    }

    fn read_health(&mut self, action: Action) -> Result<FindingKind, Error> {
        let sensor = need(self.sensor.as_mut(), "sensor")?;
        Ok(match action {
            Action::SensorStarted => {
                let probes = sensor.probes.take().unwrap_or_default();
                FindingKind::SensorStarted(probes.into_iter().map(probe).collect::<Result<_, _>>()?)
            }
            Action::SensorStopped => FindingKind::SensorStopped(Box::new(stopped(sensor)?)),
            Action::SensorDegraded => {
                let degraded = need(sensor.degraded.take(), "sensor.degraded")?;
                FindingKind::SensorDegraded(Box::new(Degraded {
                    what: need(degraded.what, "sensor.degraded.what")?.string(),
                    why: need(degraded.why, "sensor.degraded.why")?.string(),
                    effect: need(degraded.effect, "sensor.degraded.effect")?.string(),
                }))
            }
            Action::SensorEventsLost => {
                let lost = need(sensor.lost.take(), "sensor.lost")?;
                let ranges = lost.sequence.unwrap_or_default();
                FindingKind::SensorEventsLost(Box::new(Lost {
                    stage: need(lost.stage, "sensor.lost.stage")?.string(),
                    kind: need(lost.kind, "sensor.lost.kind")?.string(),
                    count: need(lost.count, "sensor.lost.count")?,
                    sequence: ranges.into_iter().filter_map(|range| range.first.zip(range.last)).collect(),
                }))
            }
            _ => FindingKind::SensorSuppressed(Box::new(suppressed(sensor)?)),
        })
    }
}

fn by_direction(both: fields::ByDirection<'_>) -> ByDirection {
    ByDirection { client_to_server: string(both.client_to_server), server_to_client: string(both.server_to_client) }
}

fn probe(probe: fields::Probe<'_>) -> Result<Probe, Error> {
    Ok(Probe {
        name: need(probe.name, "sensor.probes.name")?.string(),
        target: need(probe.target, "sensor.probes.target")?.string(),
        state: need(probe.state, "sensor.probes.state")?.string(),
        why: string(probe.why),
    })
}

fn stopped(sensor: &mut fields::Sensor<'_>) -> Result<SensorStopped, Error> {
    let program = |program: fields::Program<'_>| {
        Ok::<_, Error>(Counted {
            name: need(program.name, "sensor.programs.name")?.string(),
            seen: need(program.seen, "sensor.programs.seen")?,
            sent: need(program.sent, "sensor.programs.sent")?,
            lost: need(program.lost, "sensor.programs.lost")?,
            fallback_handled: need(program.fallback_handled, "sensor.programs.fallback_handled")?,
            skipped: program.skipped,
        })
    };
    let drain = sensor.drain.take().map(|drain| {
        Ok::<_, Error>(Drains {
            drains: need(drain.drains, "sensor.drain.drains")?,
            late: need(drain.late, "sensor.drain.late")?,
            latency_max_ns: need(drain.latency_max_ns, "sensor.drain.latency_max_ns")?,
        })
    });
    let records = sensor.records.take().map(|records| {
        let lost = records.lost.unwrap_or_default();
        Ok::<_, Error>(RecordCounts {
            written: need(records.written, "sensor.records.written")?,
            suppressed: need(records.suppressed, "sensor.records.suppressed")?,
            lost: lost.into_iter().filter_map(|lost| string(lost.kind).zip(lost.count)).collect(),
        })
    });
    Ok(SensorStopped {
        programs: sensor.programs.take().unwrap_or_default().into_iter().map(program).collect::<Result<_, _>>()?,
        drain: drain.transpose()?,
        records: records.transpose()?,
    })
}

fn suppressed(sensor: &mut fields::Sensor<'_>) -> Result<Suppressed, Error> {
    let suppressed = need(sensor.suppressed.take(), "sensor.suppressed")?;
    let actions = suppressed.actions.unwrap_or_default();
    let executables = suppressed.executables.map(Texts::texts).unwrap_or_default();
    Ok(Suppressed {
        count: need(suppressed.count, "sensor.suppressed.count")?,
        limit: need(suppressed.limit, "sensor.suppressed.limit")?.0,
        actions: actions.into_iter().filter_map(|of| Some((of.action?.0, of.count?))).collect(),
        executables: executables.into_iter().map(Text::arc).collect(),
    })
}
