//! `memory`.

use super::{Current, IfMissing, Limit, Table};
use crate::error::Error;
use oci_spec::runtime::LinuxMemory;

/// Adds the settings. What may be swapped comes first, so that a limit that
/// shrinks does not push into swap what must not go there.
pub fn fill(memory: &LinuxMemory, current: &Current, table: &mut Table) {
    let limit = Limit::of(memory.limit(), "memory/limit", table);
    let total = Limit::of(memory.swap(), "memory/swap", table);
    let field = if total.is_some() { "memory/swap" } else { "memory/limit" };
    match swap(limit, total, current) {
        Ok(None) => {}
        Ok(Some(swap)) => {
            let setting = table.set("memory.swap.max", swap, field);
            setting.is_default = swap == Limit::Max;
            // A kernel without swap swaps nothing.
            if matches!(swap, Limit::Max | Limit::Value(0)) {
                setting.if_missing = IfMissing::Skip;
            }
        }
        Err(error) => table.fault(field, error),
    }
    if let Some(limit) = limit {
        let setting = table.set("memory.max", limit, "memory/limit");
        setting.is_default = limit == Limit::Max;
        setting.check_usage = memory.check_before_update() == Some(true) && limit != Limit::Max;
    }
    if let Some(reservation) = Limit::of(memory.reservation(), "memory/reservation", table) {
        table.set("memory.low", reservation, "memory/reservation");
    }
    let unlimited = |value: Option<i64>| matches!(value, None | Some(0 | -1));
    if !unlimited(memory.kernel()) {
        table.ignore("memory/kernel");
    }
    if !unlimited(memory.kernel_tcp()) {
        table.ignore("memory/kernelTCP");
    }
    match memory.swappiness() {
        None => {}
        // What examples and tools write where they mean nothing by it.
        Some(0) => table.ignore("memory/swappiness"),
        Some(_) => table.refuse(
            "memory/swappiness",
            "leave it out: memory.swap, and memory.swap.max in unified, say how much is swapped",
        ),
    }
    if memory.use_hierarchy() == Some(false) {
        table.ignore("memory/useHierarchy");
    }
    if memory.disable_oom_killer() == Some(true) {
        table.refuse(
            "memory/disableOOMKiller",
            "memory.high throttles instead of killing: set it in unified",
        );
    }
}

/// The specification's `swap` is a total of memory and swap; the kernel's is
/// swap alone. A new memory limit leaves the total as it is.
fn swap(
    limit: Option<Limit>,
    total: Option<Limit>,
    current: &Current,
) -> Result<Option<Limit>, Error> {
    let known = current.memory.zip(current.swap).map(|(memory, swap)| memory.saturating_add(swap));
    let total = match (limit, total) {
        (_, Some(Limit::Max)) | (Some(Limit::Max), None) => return Ok(Some(Limit::Max)),
        (_, Some(Limit::Value(total))) => total,
        (Some(Limit::Value(_)), None) => match known {
            Some(total) => total,
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    let memory = match limit {
        Some(Limit::Value(limit)) => Some(limit),
        Some(Limit::Max) => None,
        None => current.memory,
    };
    let Some(memory) = memory else {
        return Err(Error::new("unable to set swap limit without memory limit")
            .hint("swap is the total of memory and swap: set memory.limit too"));
    };
    match total.checked_sub(memory) {
        Some(swap) => Ok(Some(Limit::Value(swap))),
        None => Err(Error::new(format!(
            "memory+swap limit should be >= memory limit: {total} is less than {memory}"
        ))
        .hint("swap is the total of memory and swap; -1 means unlimited")),
    }
}
