//! systemd's manager: the few of its methods that containers need
//! (org.freedesktop.systemd1(5)).

use super::address::Instance;
use super::bus::{Bus, CallError};
use super::value::{Property, Value};
use super::wire::{Call, Message, Writer};
use crate::error::{Error, Result};
use std::time::Duration;

/// How long one exchange may take, jobs included. A machine under load needs
/// seconds at times.
const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const JOB_REMOVED: &str = "JobRemoved";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A connection to the manager.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    /// Where signals come from, on a bus on which anybody may send some.
    sender: Option<String>,
}

impl Manager {
    /// Connects in the first of the ways that works.
    pub fn connect(instance: Instance) -> Result<Self> {
        let mut reasons = Vec::new();
        for address in instance.addresses() {
            let connected = Bus::connect(&address, PATIENCE).and_then(Self::listen);
            match connected {
                Ok(manager) => return Ok(manager),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let error = match reasons.is_empty() {
            true => Error::new(format!("cannot reach the {instance} instance of systemd")),
            false => Error::new(format!(
                "cannot reach the {instance} instance of systemd: {}",
                reasons.join("; ")
            )),
        };
        Err(error.hint(match instance {
            Instance::System => "is systemd running? Without it, leave out --systemd-cgroup",
            Instance::User => "it needs XDG_RUNTIME_DIR and a session of the user (loginctl enable-linger); without one, leave out --systemd-cgroup",
        }))
    }

    /// A broker passes on only the signals that were asked for.
    fn listen(mut bus: Bus) -> Result<Self> {
        let mut sender = None;
        if bus.has_broker() {
            let mut name = Writer::default();
            name.text(NAME);
            sender = bus.call_broker("GetNameOwner", "s", name)?.body().text();
            let mut rule = Writer::default();
            rule.text(&format!(
                "type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER}',member='{JOB_REMOVED}'"
            ));
            bus.call_broker("AddMatch", "s", rule)?;
        }
        let mut manager = Self { bus, sender };
        if manager.sender.is_some() {
            manager.call("Subscribe", "", Writer::default())?;
        }
        Ok(manager)
    }

    /// Starts a transient scope, and waits until its processes are in it.
    ///
    /// # Errors
    /// With `EEXIST` if there is such a unit already: it is somebody else's.
    pub fn start_scope(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        self.bus.start_exchange();
        let properties = &self.known(properties)?;
        let started = match self.start_transient(unit, properties) {
            Err(CallError::Refused { name, .. }) if name == UNIT_EXISTS => {
                // A failed unit stays until somebody takes note of it.
                let _ = self.reset_failed(unit);
                self.start_transient(unit, properties)
            }
            started => started,
        };
        let job = match started {
            Err(CallError::Refused { name, .. }) if name == UNIT_EXISTS => {
                return Err(Error::os(format!("there is a unit {unit} already"), libc::EEXIST)
                    .hint(format!("see systemctl status {unit}; choose another cgroupsPath")));
            }
            started => started?,
        };
        match self.wait_for_job(&job)?.as_str() {
            "done" => Ok(()),
            result => Err(self.explain(unit, result)),
        }
    }

    /// Without properties that an older systemd does not have: the limits are
    /// in the cgroup's files all the same.
    fn known(&mut self, list: &[Property]) -> Result<Vec<Property>> {
        let newest = list.iter().filter_map(since).max();
        let version = match newest {
            Some(_) => self.version()?,
            None => 0,
        };
        let is_known = |property: &&Property| since(property).is_none_or(|since| since <= version);
        Ok(list.iter().filter(is_known).cloned().collect())
    }

    /// `257.9-1` is 257.
    fn version(&mut self) -> Result<u32> {
        let text = self.property(PATH, MANAGER, "Version")?;
        let digits = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next();
        digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| Error::new(format!("systemd has no version in {text:?}")))
    }

    fn start_transient(&mut self, unit: &str, list: &[Property]) -> Result<String, CallError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("fail");
        properties(&mut body, list);
        // Further units: none.
        body.array(8, |_| {});
        self.call_for_job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
    }

    /// Moves a process into the cgroup `below` that of a unit, an absolute path.
    /// systemd may do so where the process's owner may not.
    pub fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<()> {
        self.bus.start_exchange();
        let mut body = Writer::default();
        body.text(unit);
        body.text(below);
        body.array(4, |body| body.uint32(pid));
        self.call("AttachProcessesToUnit", "ssau", body)?;
        Ok(())
    }

    /// Stops a unit, and waits until it has. One that is gone is fine.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        self.bus.start_exchange();
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        match self.call_for_job("StopUnit", "ss", body) {
            // Why it ended is of no interest any more.
            Ok(job) => self.wait_for_job(&job).map(drop)?,
            Err(CallError::Refused { name, .. }) if name == NO_SUCH_UNIT => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Else the unit would be kept if it has failed, by an OOM kill for one.
        let _ = self.reset_failed(unit);
        Ok(())
    }

    /// Forgets that a unit has failed, so that it can go.
    fn reset_failed(&mut self, unit: &str) -> Result<Message, CallError> {
        let mut body = Writer::default();
        body.text(unit);
        self.call("ResetFailedUnit", "s", body)
    }

    /// Changes properties of a unit, until it ends, and waits until they hold:
    /// systemd writes them to the cgroup before it looks at another message.
    pub fn set_properties(&mut self, unit: &str, list: &[Property]) -> Result<()> {
        self.bus.start_exchange();
        let mut body = Writer::default();
        body.text(unit);
        body.boolean(true);
        properties(&mut body, &self.known(list)?);
        self.call("SetUnitProperties", "sba(sv)", body)?;
        self.version().map(drop)
    }

    /// The cgroup below which the manager keeps all its units.
    pub fn control_group(&mut self) -> Result<String> {
        Ok(self.property(PATH, MANAGER, "ControlGroup")?)
    }

    fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<String, CallError> {
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        let answer = self.bus.call(&Call {
            destination: self.destination(),
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
            body,
        })?;
        let value = answer.body().variant_text();
        value.ok_or_else(|| Error::new(format!("systemd has no text for {name}")).into())
    }

    fn call(&mut self, member: &str, signature: &str, body: Writer) -> Result<Message, CallError> {
        self.bus.call(&Call {
            destination: self.destination(),
            path: PATH,
            interface: MANAGER,
            member,
            signature,
            body,
        })
    }

    fn destination(&self) -> Option<&'static str> {
        self.bus.has_broker().then_some(NAME)
    }

    fn call_for_job(
        &mut self,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<String, CallError> {
        let job = self.call(member, signature, body)?.body().text();
        job.ok_or_else(|| Error::new(format!("systemd names no job for {member}")).into())
    }

    /// `done`, or why not: `failed`, `canceled`, `timeout`, `dependency` …
    fn wait_for_job(&mut self, job: &str) -> Result<String> {
        let sender = self.sender.clone();
        self.bus.wait_for(|signal| {
            let ours = signal.member.as_deref() == Some(JOB_REMOVED)
                && signal.interface.as_deref() == Some(MANAGER)
                && (sender.is_none() || signal.sender == sender);
            let mut body = signal.body();
            let (_id, path) = (body.uint32()?, body.text()?);
            let (_unit, result) = (body.text()?, body.text()?);
            (ours && path == job).then_some(result)
        })
    }

    /// A job has failed: the unit knows more. It is forgotten then.
    fn explain(&mut self, unit: &str, job_result: &str) -> Error {
        let result = self.property(&object_path(unit), SCOPE, "Result");
        let _ = self.reset_failed(unit);
        let result = match result {
            Ok(result) if result != "success" => format!(", unit {result}"),
            _ => String::new(),
        };
        Error::new(format!("systemd cannot start {unit}: job {job_result}{result}"))
            .hint(format!("systemd says why: journalctl -u {unit}"))
    }
}

/// The version of systemd that a property came with, where that is younger
/// than the oldest kernel hako runs on.
fn since(property: &Property) -> Option<u32> {
    match (property.name.as_str(), &property.value) {
        ("CPUWeight", Value::Uint64(0)) => Some(252),
        ("MemoryZSwapMax", _) => Some(253),
        _ => None,
    }
}

fn properties(body: &mut Writer, list: &[Property]) {
    body.array(8, |body| {
        for property in list {
            body.structure();
            body.text(&property.name);
            body.variant(&property.value);
        }
    });
}

/// The object of a unit: letters and digits stay, all else becomes `_2e`.
fn object_path(unit: &str) -> String {
    let escaped = unit.bytes().enumerate().map(|(index, byte)| {
        match byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            true => char::from(byte).to_string(),
            false => format!("_{byte:02x}"),
        }
    });
    format!("{PATH}/unit/{}", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_object_paths() {
        assert_eq!(
            object_path("hako-web.scope"),
            "/org/freedesktop/systemd1/unit/hako_2dweb_2escope"
        );
        assert_eq!(object_path("1.scope"), "/org/freedesktop/systemd1/unit/_31_2escope");
    }
}
