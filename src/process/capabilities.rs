//! capabilities(7) of the container process.

use crate::error::{Context, Error, Result};
use crate::plan::Compiler;
use crate::weaken::{Defence, lacks};
use caps::Capability;
use oci_spec::runtime as oci;
use rustix::thread::{CapabilitySet, CapabilitySets as ThreadSets};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The five sets, each a bit mask by capability number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// Upper limit of what execve can give.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept over execve together with a file's inheritable set.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// Given over execve to programs without file capabilities.
    pub ambient: u64,
}

/// Resolves `process.capabilities`. Absent means none at all. What the host
/// cannot grant is dropped with a warning, as the specification demands.
pub fn plan(
    capabilities: Option<&oci::LinuxCapabilities>,
    compiler: &mut Compiler,
) -> CapabilitySets {
    let Some(capabilities) = capabilities else {
        return CapabilitySets::default();
    };
    let grantable = compiler.grantable_capabilities();
    let mut missing = 0;
    let mut set = |names: &Option<oci::Capabilities>| {
        let wanted = names.iter().flatten().fold(0, |mask, name| mask | bit(*name));
        missing |= wanted & !grantable;
        wanted & grantable
    };
    let mut sets = CapabilitySets {
        bounding: set(capabilities.bounding()),
        effective: set(capabilities.effective()),
        inheritable: set(capabilities.inheritable()),
        permitted: set(capabilities.permitted()),
        ambient: set(capabilities.ambient()),
    };
    if missing != 0 {
        compiler
            .warn(format!("ignoring unknown or unavailable capabilities: [{}]", names(missing)));
    }
    let possible = sets.permitted & sets.inheritable;
    if sets.ambient & !possible != 0 {
        compiler.warn(format!(
            "ignoring ambient capabilities that are not permitted and inheritable: [{}]",
            names(sets.ambient & !possible)
        ));
        sets.ambient &= possible;
    }
    check(&sets, compiler);
    sets
}

/// Capabilities that `exec` adds, by names with or without `CAP_`.
pub fn plan_added(wanted: &[String], compiler: &mut Compiler) -> u64 {
    let grantable = compiler.grantable_capabilities();
    let mut added = 0;
    for name in wanted {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let mask = format!("CAP_{short}").parse::<Capability>().map_or(0, |known| known.bitmask());
        if mask & grantable == 0 {
            compiler.warn(format!("ignoring unknown or unavailable capabilities: [{name}]"));
        }
        added |= mask & grantable;
    }
    added
}

impl CapabilitySets {
    /// Adds capabilities. Inheritable ones are passed to programs that expect
    /// none: those sets stay as they are.
    pub fn add(&mut self, mask: u64) {
        self.bounding |= mask;
        self.permitted |= mask;
        self.effective |= mask;
    }
}

/// Combinations that capset(2) and prctl(2) would refuse.
fn check(sets: &CapabilitySets, compiler: &mut Compiler) {
    let mut refuse = |excess: u64, what: &str, set: &str| {
        if excess != 0 {
            compiler.fault(
                Error::new(format!("{} cannot be {what}", names(excess)))
                    .at(format!("/process/capabilities/{set}")),
            );
        }
    };
    refuse(sets.effective & !sets.permitted, "effective without being permitted", "effective");
}

fn bit(capability: oci::Capability) -> u64 {
    format!("CAP_{capability}").parse::<Capability>().map_or(0, |capability| capability.bitmask())
}

/// Every capability that has a name, in the order of their numbers.
pub fn capability_names() -> Vec<String> {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.iter().map(Capability::to_string).collect()
}

/// `CAP_CHOWN CAP_KILL`, in the order of their numbers.
pub fn names(mask: u64) -> String {
    let names: Vec<String> = (0..u64::BITS as u8)
        .filter(|number| mask & (1 << number) != 0)
        .map(|number| {
            caps::all()
                .into_iter()
                .find(|capability| capability.index() == number)
                .map_or_else(|| format!("CAP_{number}"), |capability| capability.to_string())
        })
        .collect();
    names.join(" ")
}

impl fmt::Display for CapabilitySets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.permitted == self.effective {
            write!(f, "permitted = effective [{}]", names(self.permitted))?;
        } else {
            write!(
                f,
                "permitted [{}] effective [{}]",
                names(self.permitted),
                names(self.effective)
            )?;
        }
        if self.inheritable != 0 {
            write!(f, " inheritable [{}]", names(self.inheritable))?;
        }
        if self.ambient != 0 {
            write!(f, " ambient [{}]", names(self.ambient))?;
        }
        Ok(())
    }
}

/// Drops everything else from the bounding set (`PR_CAPBSET_DROP`). Must come
/// while `CAP_SETPCAP` is effective.
pub fn limit_bounding_set(bounding: u64) -> Result<()> {
    for number in 0..u64::BITS {
        if bounding & (1 << number) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => {
                return Err(Error::os(
                    format!("cannot drop {} from the bounding set", names(1 << number)),
                    errno,
                ));
            }
        }
    }
    Ok(())
}

/// Sets permitted, effective, inheritable and ambient sets of this thread.
/// `more` is permitted and effective, too.
pub fn apply(sets: &CapabilitySets, more: u64) -> Result<()> {
    if lacks(Defence::Capabilities) {
        return Ok(());
    }
    rustix::thread::set_capabilities(
        None,
        ThreadSets {
            effective: CapabilitySet::from_bits_retain(sets.effective | more),
            permitted: CapabilitySet::from_bits_retain(sets.permitted | more),
            inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
        },
    )
    .os(|| format!("cannot set capabilities {sets}"))?;
    rustix::thread::clear_ambient_capability_set()
        .os(|| "cannot clear the ambient capability set")?;
    for number in (0..u64::BITS).filter(|number| sets.ambient & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(
            CapabilitySet::from_bits_retain(1 << number),
            true,
        )
        .os(|| format!("cannot make {} ambient", names(1 << number)))?;
    }
    Ok(())
}

/// What this process may give to others.
pub fn own_permitted() -> Result<u64> {
    let sets = rustix::thread::capabilities(None).os(|| "cannot read own capabilities")?;
    Ok(sets.permitted.bits())
}
