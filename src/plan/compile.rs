//! Specification + host facts + options -> plan.

use super::{ChildOp, Identity, ParentOp, Plan, Step};
use crate::cgroups::{self, Driver, Placement};
use crate::config::Spec;
use crate::error::{Error, Result, name_of};
use crate::hooks::{self, Kind as HookKind};
use crate::host::{Host, Maker};
use crate::namespaces::{self, IdKind, Kind};
use crate::process;
use crate::protocol::Message;
use crate::resctrl;
use crate::rootfs;
use crate::seccomp;
use crate::terminal;
use oci_spec::runtime::Linux;
use std::path::PathBuf;

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// The program is executed at once (`run`) instead of by `start`.
    pub run: bool,
    /// Enter the rootfs without pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// A writable overlay over the rootfs.
    pub overlay: Option<rootfs::OverlayRequest>,
    /// Who places the container.
    pub cgroup_manager: cgroups::Manager,
    /// Whether to do without what only root of the machine can have; `None` unless
    /// that is who runs hako.
    pub rootless: Option<bool>,
    /// Directory of the notify socket, where a supervisor waits for the service.
    pub notify: Option<PathBuf>,
    /// Descriptors of the service manager's, from number 3 on.
    pub listen_fds: u32,
}

/// Collects steps, faults and warnings while the parts of a configuration are
/// gone through.
#[derive(Debug)]
pub struct Compiler<'a> {
    /// Facts about the host.
    pub host: &'a Host,
    /// What the command line says.
    pub options: &'a Options,
    /// Init gets full capabilities from a new user namespace.
    pub(super) user_namespace: bool,
    /// The maps of a new user namespace, as they are written.
    pub maps: namespaces::IdMaps,
    /// Nobody in the user namespace may change supplementary groups.
    pub denies_setgroups: bool,
    /// The runtime has privileges that init has lost.
    pub runtime_is_stronger: bool,
    /// What the process in between does.
    pub bridge: Vec<Step<ChildOp>>,
    pub(super) parent: Vec<Step<ParentOp>>,
    pub(super) child: Vec<Step<ChildOp>>,
    faults: Vec<Error>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Compiler<'a> {
    /// An empty plan in the making.
    pub fn new(host: &'a Host, options: &'a Options) -> Self {
        Self {
            host,
            options,
            user_namespace: false,
            maps: namespaces::IdMaps::default(),
            denies_setgroups: false,
            runtime_is_stronger: false,
            bridge: Vec::new(),
            parent: Vec::new(),
            child: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a fault and goes on, so that all are reported at once.
    pub fn fault(&mut self, error: Error) {
        self.faults.push(error);
    }

    /// Notes something worth telling.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Notes strings with a NUL byte, which no system call can take.
    pub fn refuse_nul<S: AsRef<str>>(
        &mut self,
        pointer: &str,
        strings: impl IntoIterator<Item = S>,
    ) {
        // A profile has hundreds of names: the place of a sound one is not written out.
        let strings = strings.into_iter().enumerate();
        for (index, string) in strings.filter(|(_, string)| string.as_ref().contains('\0')) {
            self.refuse_nul_at(&format!("{pointer}/{index}"), string.as_ref());
        }
    }

    /// The same for one string.
    pub fn refuse_nul_at(&mut self, pointer: &str, string: &str) {
        if string.contains('\0') {
            let name = name_of(pointer);
            self.fault(Error::new(format!("{name} contains a NUL byte")).at(pointer));
        }
    }

    /// Notes an id that the container's new user namespace does not map. What others
    /// map, the kernel tells when it refuses.
    pub fn refuse_unmapped(&mut self, kind: IdKind, id: u32, pointer: impl Into<String>) {
        let map = self.maps.of(kind);
        if map.is_empty() || namespaces::is_mapped(map, id) {
            return;
        }
        let what = format!("{} id {id} is not mapped in the user namespace", kind.word());
        let field = kind.field();
        let hint = format!("choose another id, leave it out, or extend linux.{field} to cover it");
        self.fault(Error::new(what).at(pointer).hint(hint));
    }

    /// Adds a step of init that every container gets.
    pub fn child(&mut self, op: ChildOp) {
        self.child.push(Step { pointer: None, op });
    }

    /// Adds a step of init.
    pub fn child_at(&mut self, pointer: impl Into<String>, op: ChildOp) {
        let pointer = Some(pointer.into()).filter(|pointer| !pointer.is_empty());
        self.child.push(Step { pointer, op });
    }

    /// Adds a step of the runtime process.
    pub fn parent(&mut self, op: ParentOp) {
        self.parent.push(Step { pointer: None, op });
    }

    /// Adds a step of the runtime process.
    pub fn parent_at(&mut self, pointer: impl Into<String>, op: ParentOp) {
        self.parent.push(Step { pointer: Some(pointer.into()), op });
    }

    /// Capabilities that the container's init will have to give.
    pub fn grantable_capabilities(&self) -> u64 {
        if self.user_namespace { u64::MAX } else { self.host.capabilities }
    }

    /// Whether to do without what only root of the machine can have.
    pub fn is_rootless(&self) -> bool {
        self.options.rootless.unwrap_or(self.host.maker() != Maker::Root)
    }

    /// Whether init is in another user namespace than the runtime.
    pub fn in_user_namespace(&self) -> bool {
        self.user_namespace
    }

    /// The plan, if nothing is wrong with the configuration.
    pub(super) fn finish(self, plan: impl FnOnce(Self) -> Plan) -> Result<Plan> {
        match Error::all(self.faults.clone()) {
            Some(faults) => Err(faults),
            None => Ok(plan(self)),
        }
    }

    /// Escapes a key for use in a JSON pointer (RFC 6901).
    pub fn escape(key: &str) -> String {
        key.replace('~', "~0").replace('/', "~1")
    }
}

/// Compiles a configuration.
///
/// # Errors
/// All faults of the configuration at once, each with its JSON pointer.
pub fn compile(spec: &Spec, host: &Host, options: &Options) -> Result<Plan> {
    refuse_without_privilege(spec, host, options)?;
    let mut compiler = Compiler::new(host, options);
    check_version(&spec.oci_version, &mut compiler);
    let identity = plan_identity(spec, &mut compiler);
    let Some(linux) = &spec.linux else {
        return Err(Error::new("linux is missing").at("/linux"));
    };
    process::plan_selinux(linux.mount_label().as_deref(), "/linux/mountLabel", &mut compiler);

    let clone = namespaces::plan_clone(linux, &mut compiler);
    compiler.user_namespace = clone.has_user_namespace();
    // What a namespace that is joined does, only the kernel knows.
    compiler.denies_setgroups = clone.joined(Kind::User).is_none() && host.denies_setgroups();
    compiler.runtime_is_stronger = compiler.user_namespace && host.maker() != Maker::User;
    let mapping = namespaces::plan_mapping(linux, &clone, &mut compiler);
    let maps = mapping.as_ref().map(|mapping| &mapping.maps);
    let cgroup = cgroups::plan(spec, linux, &clone, &mut compiler);
    let hooks = hooks::plan(spec.hooks.as_ref(), &mut compiler);
    let mut process = match &spec.process {
        Some(process) => process::plan_process(spec, process, &mut compiler),
        None => process::plan_no_process(&mut compiler),
    };
    let seccomp = linux.seccomp().as_ref().map(|profile| seccomp::plan(profile, &mut compiler));
    let (profile, setup) = seccomp.unzip();
    if let Some(profile) = &profile {
        seccomp::plan_strictness(spec, profile, &mut compiler);
    }
    process.seccomp = setup;
    namespaces::plan_groups(&mut process.user, &mut compiler);
    check_ids_are_mapped(&process.user, maps, false, &mut compiler);

    // Before anything that init waits for: it must not get past a limit it cannot live with.
    cgroups::plan_limits(linux, &cgroup, &mut compiler);
    plan_namespaces(&clone, mapping.as_ref(), &process, &mut compiler);
    // The file system, with a stop for what only the runtime can do.
    let root = rootfs::plan_tree(spec, linux, &clone, &cgroup, &mut compiler);
    namespaces::plan_shield(&clone, &mut compiler);
    cgroups::plan_devices(linux, &cgroup, &mut compiler);
    resctrl::plan(linux, &mut compiler);
    cgroups::plan_owner(spec, &clone, &cgroup, maps, process.user.uid, &mut compiler);
    namespaces::plan_names(spec, linux, &clone, &mut compiler);
    terminal::plan_open(&process, clone.is_new(Kind::Mount), &mut compiler);
    plan_runtime_work(linux, &clone, &hooks, &mut compiler);
    process::plan_labels(&process.labels, &mut compiler);
    rootfs::plan_entry(&root, &mut compiler);

    // The process.
    terminal::plan_attach(&process, &mut compiler);
    compiler.child(ChildOp::LetGo);
    process::plan_attributes(&process, &mut compiler);
    plan_start(&process, &hooks, &mut compiler);
    compiler.finish(|made| Plan {
        identity,
        maker: host.maker(),
        controllers: wanted_controllers(host, &cgroup),
        cgroup,
        entry: namespaces::Entry::into(&clone, maps, &process, &made),
        clone,
        bridge: made.bridge,
        parent: made.parent,
        child: made.child,
        process,
        seccomp: profile,
        hooks,
        warnings: made.warnings,
    })
}

/// A user without privilege and without a user namespace can make nothing. What
/// else is wrong is what root would be told.
fn refuse_without_privilege(spec: &Spec, host: &Host, options: &Options) -> Result<()> {
    let linux = spec.linux.as_ref();
    let Some(reason) = linux.and_then(|linux| namespaces::needs_root(linux, host)) else {
        return Ok(());
    };
    let more = compile(spec, &host.as_root(), options).err();
    let more = more.iter().flat_map(Error::apart);
    Error::all(std::iter::once(reason).chain(more).collect()).map_or(Ok(()), Err)
}

/// Accounting of all is wanted where there is a cgroup for it.
fn wanted_controllers(host: &Host, cgroup: &Placement) -> Vec<String> {
    match cgroup.driver {
        Driver::Disabled => Vec::new(),
        Driver::Cgroupfs | Driver::Systemd(_) => host.controllers_for(cgroup).to_vec(),
    }
}

/// Into the namespaces.
fn plan_namespaces(
    clone: &namespaces::CloneSet,
    mapping: Option<&namespaces::Mapping>,
    process: &process::Process,
    compiler: &mut Compiler,
) {
    if let Some(mapping) = mapping {
        compiler.parent_at("/linux", ParentOp::MapIds(mapping.clone()));
        compiler.parent(ParentOp::Send(Message::Mapped));
        compiler.child(ChildOp::Receive(Message::Mapped));
    }
    namespaces::plan_bridge(clone, process, compiler);
    let maps = mapping.map(|mapping| &mapping.maps);
    namespaces::plan_entry(clone, maps, &process.user, compiler);
    plan_note(compiler);
    process::plan_early(process, compiler);
}

/// Before anything that may take long: whoever wants to end init has to know it. Only the network
/// namespace comes first, for which init waits.
fn plan_note(compiler: &mut Compiler) {
    let first = compiler.parent.first();
    let position = usize::from(first.is_some_and(|step| step.op == ParentOp::SendNetwork));
    compiler.parent.insert(position, Step { pointer: None, op: ParentOp::NoteInit });
}

/// What only the runtime can do before init enters its root: init waits for it.
fn plan_runtime_work(
    linux: &Linux,
    clone: &namespaces::CloneSet,
    hooks: &hooks::Hooks,
    compiler: &mut Compiler,
) {
    let before = compiler.parent.len();
    namespaces::plan_interfaces(linux, clone, compiler);
    for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
        if hooks.has_any(&[kind]) {
            compiler.parent_at(format!("/hooks/{kind}"), ParentOp::Hooks(kind));
        }
    }
    // These see a finished network, too, and where the runtime makes it only that knows.
    let create_container = hooks.has_any(&[HookKind::CreateContainer]);
    if compiler.parent.len() > before || (create_container && clone.network_apart) {
        let receive = Step { pointer: None, op: ParentOp::Receive(Message::Mounted) };
        compiler.parent.insert(before, receive);
        compiler.parent(ParentOp::Send(Message::Continue));
        compiler.child(ChildOp::Send(Message::Mounted));
        compiler.child(ChildOp::Receive(Message::Continue));
    }
    if create_container {
        compiler.child_at("/hooks/createContainer", ChildOp::Hooks(HookKind::CreateContainer));
    }
}

/// The end of both lists: started and executed. Where nothing is left to do for
/// the runtime, `run` gives the word to start before init is ready to hear it.
pub(super) fn plan_start(
    process: &process::Process,
    hooks: &hooks::Hooks,
    compiler: &mut Compiler,
) {
    plan_wait_for_limits(compiler);
    let before = compiler.parent.len();
    let by_parent = process::plan_by_parent(process, compiler);
    // Such a hook's container is being created until it has run, for whoever asks.
    let create_container = hooks.has_any(&[HookKind::CreateContainer]);
    if by_parent || create_container || !compiler.options.run {
        compiler.child(ChildOp::Send(Message::Created));
        let receive = Step { pointer: None, op: ParentOp::Receive(Message::Created) };
        compiler.parent.insert(before, receive);
    }
    compiler.parent(ParentOp::Announce);
    let agent = process.seccomp.as_ref().and_then(|setup| setup.agent.as_ref());
    if compiler.options.run {
        if let Some(agent) = agent {
            let connect = ParentOp::ConnectAgent(agent.clone());
            compiler.parent_at("/linux/seccomp/listenerPath", connect);
        }
        compiler.parent(ParentOp::Send(Message::Start));
        if agent.is_some() {
            compiler.parent_at("/linux/seccomp", ParentOp::PassListener);
        }
        compiler.child(ChildOp::Receive(Message::Start));
    } else {
        compiler.child(ChildOp::Gate);
    }
    if hooks.has_any(&[HookKind::StartContainer]) {
        compiler.child_at("/hooks/startContainer", ChildOp::Hooks(HookKind::StartContainer));
    }
    // Last: whatever comes after it has to be allowed by the profile.
    if let Some(setup) = &process.seccomp {
        compiler.child_at("/linux/seccomp", ChildOp::Seccomp(seccomp::Op::Load(setup.flags)));
        if agent.is_some() {
            compiler.child_at("/linux/seccomp", ChildOp::Seccomp(seccomp::Op::HandOver));
        }
    }
    compiler.child_at("/process/args", ChildOp::Process(process::Op::Execute));
}

/// A created init has got past its limits: if it hears of nothing else after
/// they are set, it waits for a word about that. (`run` has the word to start.)
fn plan_wait_for_limits(compiler: &mut Compiler) {
    let is_limit = |step: &Step<ParentOp>| matches!(step.op, ParentOp::Limit(_));
    let is_word =
        |step: &Step<ParentOp>| matches!(step.op, ParentOp::Send(_) | ParentOp::SendNetwork);
    let Some(last) = compiler.parent.iter().rposition(is_limit) else { return };
    if !compiler.options.run && !compiler.parent[last..].iter().any(is_word) {
        compiler.parent(ParentOp::Send(Message::Continue));
        compiler.child(ChildOp::Receive(Message::Continue));
    }
}

fn plan_identity(spec: &Spec, compiler: &mut Compiler) -> Identity {
    let annotations = spec.annotations.clone().unwrap_or_default();
    if annotations.contains_key("") {
        compiler.fault(Error::new("an annotation has an empty key").at("/annotations"));
    }
    Identity {
        id: compiler.options.id.clone(),
        bundle: compiler.options.bundle.clone(),
        oci_version: spec.oci_version.clone(),
        annotations: annotations.into_iter().collect(),
    }
}

/// Any 1.x is understood: minor versions only add (semver.org).
fn check_version(version: &str, compiler: &mut Compiler) {
    if version.is_empty() {
        compiler.fault(Error::new("ociVersion is missing").at("/ociVersion"));
        return;
    }
    let core = version.split(['-', '+']).next().unwrap_or(version);
    let numbers: Vec<Option<u64>> = core.split('.').map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => {}
        [Some(_), Some(_), Some(_)] => compiler.fault(
            Error::new(format!(
                "ociVersion {version} is not supported: hako implements 1.0 to 1.3"
            ))
            .at("/ociVersion"),
        ),
        _ => compiler.fault(
            Error::new(format!("ociVersion {version:?} is not a semantic version"))
                .at("/ociVersion"),
        ),
    }
}

/// A process cannot have an id that its user namespace does not map. What one that
/// is joined maps, only the kernel knows: there are no `maps` then.
pub(super) fn check_ids_are_mapped(
    user: &process::User,
    maps: Option<&namespaces::IdMaps>,
    is_running: bool,
    compiler: &mut Compiler,
) {
    let host = compiler.host;
    let is_inherited = !compiler.in_user_namespace();
    let mut check = |kind: IdKind, id: u32, pointer: String| {
        let map = match is_inherited {
            true => host.own_map(kind).unwrap_or_default(),
            false => maps.map_or(&[][..], |maps| maps.of(kind)),
        };
        if map.is_empty() || namespaces::is_mapped(map, id) {
            return;
        }
        let what = format!("{} id {id} is not mapped in the user namespace", kind.word());
        let fault = match host.maker() {
            _ if is_inherited => Error::new(format!("{what} that hako is in"))
                .hint(namespaces::own_map_remedy(kind, map)),
            _ if is_running => Error::new(what).hint(format!(
                "the container has the {} ids {}: only one made anew can have others",
                kind.word(),
                namespaces::list(map)
            )),
            Maker::User => Error::new(what).hint(host.account().remedy_for(kind, id)),
            _ => Error::new(what).hint(format!("extend linux.{} to cover it", kind.field())),
        };
        compiler.fault(fault.at(pointer));
    };
    check(IdKind::User, user.uid, "/process/user/uid".into());
    check(IdKind::Group, user.gid, "/process/user/gid".into());
    for (index, gid) in user.additional_gids.iter().flatten().enumerate() {
        check(IdKind::Group, *gid, format!("/process/user/additionalGids/{index}"));
    }
}

/// A hint for people: which kind of namespace a setting needs.
pub fn needs_namespace(kind: Kind) -> String {
    format!("add {{\"type\": \"{kind}\"}} to linux.namespaces")
}
