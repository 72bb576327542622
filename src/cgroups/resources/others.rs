//! `pids`, `hugepageLimits`, `rdma`, `network`, and `unified`.

use super::{IfMissing, Table, key};
use crate::error::Error;
use oci_spec::runtime::{LinuxNetwork, LinuxRdma, LinuxResources};
use std::collections::{BTreeMap, HashMap};

/// Adds the settings.
pub fn fill(resources: &LinuxResources, table: &mut Table) {
    if let Some(pids) = resources.pids() {
        let limit = u64::try_from(pids.limit()).ok();
        let shown = limit.map_or("max".to_owned(), |limit| limit.to_string());
        table.set("pids.max", shown, "pids/limit").is_default = limit.is_none();
    }
    for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
        fill_hugepages(huge.page_size(), huge.limit(), index, table);
    }
    if let Some(rdma) = resources.rdma() {
        fill_rdma(rdma, table);
    }
    if let Some(network) = resources.network() {
        refuse_network(network, table);
    }
}

/// A limit on reservations is met at mmap(2), one on use by SIGBUS only. The
/// file for reservations is newer.
fn fill_hugepages(size: &str, limit: i64, index: usize, table: &mut Table) {
    let field = format!("hugepageLimits/{index}");
    let number = size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    let is_size = number.len() + 2 == size.len()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0');
    if !is_size || number.is_empty() {
        let error = Error::new(format!("{size:?} is no size of huge pages"));
        table.fault(&field, error.hint("for example 64KB, 2MB or 1GB"));
        return;
    }
    let limit = u64::try_from(limit).map_or("max".to_owned(), |limit| limit.to_string());
    let is_default = limit == "max";
    table.set(&format!("hugetlb.{size}.max"), &limit, &field).is_default = is_default;
    let reserved = table.set(&format!("hugetlb.{size}.rsvd.max"), limit, &field);
    reserved.is_default = is_default;
    reserved.if_missing = IfMissing::Skip;
}

fn fill_rdma(rdma: &HashMap<String, LinuxRdma>, table: &mut Table) {
    for (device, limits) in rdma.iter().collect::<BTreeMap<_, _>>() {
        let field = format!("rdma/{}", key(device));
        if device.is_empty() || device.contains(|char: char| char.is_whitespace() || char == '\0') {
            table.fault(&field, Error::new(format!("{device:?} is no name of a device")));
            continue;
        }
        let mut value = device.clone();
        for (name, limit) in
            [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())]
        {
            if let Some(limit) = limit {
                value.push_str(&format!(" {name}={limit}"));
            }
        }
        if limits.hca_handles().is_none() && limits.hca_objects().is_none() {
            table.fault(&field, Error::new("hcaHandles or hcaObjects is missing"));
        } else {
            table.set("rdma.max", value, &field);
        }
    }
}

fn refuse_network(network: &LinuxNetwork, table: &mut Table) {
    let hint = "nftables matches packets by cgroup instead (socket cgroupv2)";
    if network.class_id().is_some_and(|id| id != 0) {
        table.refuse("network/classID", hint);
    }
    if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
        table.refuse("network/priorities", hint);
    }
}

/// Files that are no limits: they would move, end or stop processes.
const ACTIONS: &[&str] = &["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze"];

/// Adds what is to be written as it is. It comes last and replaces what the
/// other fields say of the same file.
pub fn fill_unified(unified: &HashMap<String, String>, table: &mut Table) {
    let unified: BTreeMap<_, _> = unified.iter().collect();
    table
        .settings
        .retain(|setting| !unified.contains_key(&setting.file) || setting.file == "io.max");
    for (file, value) in unified {
        let field = format!("unified/{}", key(file));
        if !is_file_of_cgroup(file) {
            let error = Error::new(format!("{file:?} is no file of a cgroup"));
            table.fault(&field, error.hint("a name such as memory.high, without a directory"));
        } else if ACTIONS.contains(&file.as_str()) {
            table.fault(&field, Error::new(format!("{file} is not for limits")));
        } else if value.contains('\0') {
            table.fault(&field, Error::new("contains a NUL byte"));
        } else {
            // The kernel takes one line at a time.
            for line in value.lines().filter(|line| !line.trim().is_empty()) {
                table.set(file, line, &field);
            }
        }
    }
}

fn is_file_of_cgroup(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.contains("..")
        && name.bytes().all(plain)
        && name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty())
}
