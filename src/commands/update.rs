//! `hako update`: other limits for a container.

use super::{Container, LOCK_TIMEOUT, Session};
use crate::cgroups::{
    CgroupDir, Devices, Driver, Need, Placement, Setting, Table, missing_controller,
};
use crate::cli;
use crate::config;
use crate::error::{Context, Error, Result};
use crate::host::{Host, Maker};
use crate::resctrl;
use crate::state::Status;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::io::Read;
use std::path::Path;

/// Changes the limits that are given, and no others. If one cannot be changed,
/// none is.
pub fn run(session: &Session, args: &cli::Update) -> Result<()> {
    let resources = match &args.resources {
        Some(file) => read_resources(session, file)?,
        None => resources_of(session, args),
    };
    let container = session.container(&args.id)?;
    let _lock = container.directory.lock(LOCK_TIMEOUT)?;
    if matches!(container.status(), Status::Stopped | Status::Creating) {
        return Err(Error::new("container not running"));
    }
    let host = Host::probe()?;
    let schema = plan_schema(args, &host)?;
    let cgroup = container.record.cgroup.open().map_err(|error| container.explain_cgroup(error))?;
    let table = Table::new(&resources, &cgroup.current(), "");
    let mut faults = table.faults;
    let devices = plan_devices(&resources, &host, &mut faults);
    let placement = &container.record.cgroup.placement;
    let settings = available(table.settings, placement, &host, &mut faults);
    if let Some(error) = Error::all(faults) {
        return Err(locate(error, args));
    }
    for warning in table.warnings {
        session.report.warning(warning.trim_start_matches('/').to_owned());
    }
    let before = enable_controllers(&container, &cgroup, &settings)
        .and_then(|()| apply(&cgroup, &settings))
        .map_err(|error| locate(error, args))?;
    update_unit(&container, &cgroup, &settings, devices.as_ref())
        .and_then(|()| devices.map_or(Ok(()), |devices| cgroup.set_devices(&devices, false)))
        .and_then(|()| {
            schema
                .map_or(Ok(()), |(lines, hierarchy)| update_resctrl(&container, &lines, hierarchy))
        })
        .inspect_err(|_| take_back(&cgroup, &before))
}

/// Lines for the container's group, and where groups are.
fn plan_schema<'a>(args: &cli::Update, host: &'a Host) -> Result<Option<(Vec<String>, &'a Path)>> {
    let (cache, bandwidth) = (args.l3_cache_schema.as_deref(), args.mem_bw_schema.as_deref());
    let lines = resctrl::schema_of_options(cache, bandwidth)?;
    if lines.is_empty() || args.resources.is_some() {
        return Ok(None);
    }
    let hierarchy = host.resctrl().ok_or_else(resctrl::not_mounted)?;
    Ok(Some((lines, hierarchy)))
}

fn update_resctrl(container: &Container, lines: &[String], hierarchy: &Path) -> Result<()> {
    let mut record = container.record.clone();
    let pid = record.init.map_or(0, |init| init.pid);
    let group =
        resctrl::Record::update(record.resctrl.as_ref(), lines, hierarchy, &container.id, pid)?;
    record.resctrl = Some(group);
    container.directory.save(&record)
}

/// Rules are replaced only if there are any in the update: what others have
/// allowed meanwhile would be lost.
fn plan_devices(
    resources: &LinuxResources,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Option<Devices> {
    let rules = resources.devices().as_deref().filter(|rules| !rules.is_empty())?;
    let (devices, wrong) = Devices::new(rules);
    faults
        .extend(wrong.into_iter().map(|(index, fault)| fault.below(&format!("/devices/{index}"))));
    (host.maker() == Maker::Root).then_some(devices)
}

/// What the hierarchy has controllers for; where it has none, only what a
/// cgroup has anyway may be asked for.
fn available(
    settings: Vec<Setting>,
    placement: &Placement,
    host: &Host,
    faults: &mut Vec<Error>,
) -> Vec<Setting> {
    let mut kept = Vec::new();
    for setting in settings {
        match missing_controller(&setting, placement, host) {
            None => kept.push(setting),
            Some(_) if setting.is_default => {}
            Some(fault) => faults.push(fault),
        }
    }
    kept
}

fn enable_controllers(
    container: &Container,
    cgroup: &CgroupDir,
    settings: &[Setting],
) -> Result<()> {
    let needs: Vec<Need> = settings.iter().filter_map(Need::of).collect();
    let wanted: Vec<String> = needs.iter().map(|need| need.controller.clone()).collect();
    cgroup.enable(&container.record.cgroup.placement, None, &wanted, &needs)
}

/// Makes the settings, and returns what they were before. On a failure those
/// already made are taken back.
fn apply(cgroup: &CgroupDir, settings: &[Setting]) -> Result<Vec<Setting>> {
    let mut made: Vec<Setting> = Vec::new();
    for setting in settings {
        let before = cgroup.present(setting);
        if let Err(error) = cgroup.set(setting) {
            take_back(cgroup, &made);
            return Err(error.at(setting.pointer.clone()));
        }
        made.extend(before);
    }
    Ok(made)
}

fn take_back(cgroup: &CgroupDir, before: &[Setting]) {
    for old in before.iter().rev() {
        let _ = cgroup.set(old);
    }
}

/// systemd sets again what it knows at every reload, and rounds some of it: it
/// is told, and what was asked for written once more.
fn update_unit(
    container: &Container,
    cgroup: &CgroupDir,
    settings: &[Setting],
    devices: Option<&Devices>,
) -> Result<()> {
    let Driver::Systemd(unit) = &container.record.cgroup.placement.driver else { return Ok(()) };
    let mut properties: Vec<_> = settings.iter().flat_map(Setting::properties).collect();
    properties.extend(devices.into_iter().flat_map(Devices::properties));
    if properties.is_empty() {
        return Ok(());
    }
    unit.set_properties(&properties)?;
    apply(cgroup, settings).map(drop)
}

/// There is no config.json to point into, but a file or options.
fn locate(error: Error, args: &cli::Update) -> Error {
    match &args.resources {
        Some(file) => error.in_document(&document_name(file), ""),
        None => name_option(error),
    }
}

fn document_name(file: &Path) -> String {
    match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

/// The options, and what they are called in `linux.resources`.
const OPTIONS: [(&str, &str); 14] = [
    ("--blkio-weight", "/blockIO/weight"),
    ("--cpu-burst", "/cpu/burst"),
    ("--cpu-idle", "/cpu/idle"),
    ("--cpu-period", "/cpu/period"),
    ("--cpu-quota", "/cpu/quota"),
    ("--cpu-rt-period", "/cpu/realtimePeriod"),
    ("--cpu-rt-runtime", "/cpu/realtimeRuntime"),
    ("--cpu-share", "/cpu/shares"),
    ("--cpuset-cpus", "/cpu/cpus"),
    ("--cpuset-mems", "/cpu/mems"),
    ("--memory", "/memory/limit"),
    ("--memory-reservation", "/memory/reservation"),
    ("--memory-swap", "/memory/swap"),
    ("--pids-limit", "/pids/limit"),
];

fn name_option(mut error: Error) -> Error {
    error.others = error.others.into_iter().map(name_option).collect();
    let pointer = error.pointer.take().unwrap_or_default();
    match OPTIONS.iter().find(|(_, field)| *field == pointer) {
        Some((option, _)) => error.within(*option),
        None => error,
    }
}

fn read_resources(session: &Session, file: &Path) -> Result<LinuxResources> {
    let name = document_name(file);
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let input = std::io::stdin().take(config::LARGEST);
        { input }.read_to_end(&mut bytes).os(|| "cannot read standard input")?;
        bytes
    } else {
        config::read_given(file)?
    };
    let parsed =
        config::parse_resources(&bytes, &name).map_err(|error| error.in_document(&name, ""))?;
    for warning in parsed.warnings {
        session.report.warning(warning);
    }
    Ok(parsed.resources)
}

/// What the options say.
fn resources_of(session: &Session, args: &cli::Update) -> LinuxResources {
    let mut memory = LinuxMemory::default();
    memory.set_limit(args.memory);
    memory.set_swap(args.memory_swap);
    memory.set_reservation(args.memory_reservation);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share);
    cpu.set_quota(args.cpu_quota);
    cpu.set_period(args.cpu_period);
    cpu.set_burst(args.cpu_burst);
    cpu.set_idle(args.cpu_idle);
    cpu.set_realtime_period(args.cpu_rt_period);
    cpu.set_realtime_runtime(args.cpu_rt_runtime);
    cpu.set_cpus(args.cpuset_cpus.clone());
    cpu.set_mems(args.cpuset_mems.clone());
    let mut io = LinuxBlockIo::default();
    io.set_weight(args.blkio_weight);
    let mut resources = LinuxResources::default();
    resources.set_memory(Some(memory)).set_cpu(Some(cpu)).set_block_io(Some(io));
    resources.set_devices(None);
    resources.set_pids(args.pids_limit.map(|limit| {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        pids
    }));
    let obsolete =
        [("kernel-memory", &args.kernel_memory), ("kernel-memory-tcp", &args.kernel_memory_tcp)];
    for (name, _) in obsolete.iter().filter(|(_, value)| value.is_some()) {
        session.report.warning(format!("--{name} is ignored: the kernel has no such limit"));
    }
    resources
}
