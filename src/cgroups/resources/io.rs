//! `blockIO`.

use super::{IfMissing, Table};
use crate::error::Error;
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

/// Adds the settings.
pub fn fill(io: &LinuxBlockIo, table: &mut Table) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        set_weight(None, weight, "blockIO/weight", table);
    }
    refuse_leaf_weight(io.leaf_weight(), "blockIO/leafWeight", table);
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        fill_weight_device(device, &format!("blockIO/weightDevice/{index}"), table);
    }
    let throttles: [(&str, &str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device()),
    ];
    for (field, key, list) in throttles {
        for (index, device) in list.iter().flatten().enumerate() {
            let field = format!("blockIO/{field}/{index}");
            let Some(name) = device_name(device.major(), device.minor(), &field, table) else {
                continue;
            };
            // No rate at all would stop everything; v1 took it for no limit.
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            table.set("io.max", format!("{name} {key}={rate}"), &field).is_default =
                device.rate() == 0;
        }
    }
}

fn fill_weight_device(device: &LinuxWeightDevice, field: &str, table: &mut Table) {
    refuse_leaf_weight(device.leaf_weight(), &format!("{field}/leafWeight"), table);
    let Some(name) = device_name(device.major(), device.minor(), field, table) else { return };
    match (device.weight(), device.leaf_weight()) {
        (Some(weight), _) if weight != 0 => set_weight(Some(&name), weight, field, table),
        (None, None) => table.fault(field, Error::new("weight is missing")),
        _ => {}
    }
}

fn refuse_leaf_weight(weight: Option<u16>, field: &str, table: &mut Table) {
    if weight.is_some_and(|weight| weight != 0) {
        table.refuse(field, "leave it out: a cgroup has either processes or children");
    }
}

/// The scheduler BFQ has a file of its own with the scale of v1.
fn set_weight(device: Option<&str>, weight: u16, field: &str, table: &mut Table) {
    if !(10..=1000).contains(&weight) {
        let error = Error::new(format!("weight {weight} is not between 10 and 1000"));
        table.fault(field, error);
        return;
    }
    let line = |weight: u64| match device {
        Some(device) => format!("{device} {weight}"),
        None => weight.to_string(),
    };
    let other = 1 + (u64::from(weight) - 10) * 9999 / 990;
    let setting = table.set("io.bfq.weight", line(u64::from(weight)), field);
    setting.if_missing = IfMissing::Write { file: "io.weight".to_owned(), value: line(other) };
}

/// `MAJOR:MINOR`.
fn device_name(major: i64, minor: i64, field: &str, table: &mut Table) -> Option<String> {
    let valid = |number: i64| u32::try_from(number).is_ok();
    if valid(major) && valid(minor) {
        return Some(format!("{major}:{minor}"));
    }
    table.fault(field, Error::new(format!("{major}:{minor} is no device number")));
    None
}
