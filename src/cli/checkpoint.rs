//! `hako checkpoint` and `hako restore`

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Save the processes of a container, to restore them later (needs criu)
#[derive(Debug, Args)]
pub struct Checkpoint {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connections: Connections,
    /// Do not end the container
    #[arg(long)]
    pub leave_running: bool,
    /// Leave TCP connections out that are still being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Link files that were deleted but are open to names, to find them again
    #[arg(long)]
    pub link_remap: bool,
    /// Save memory only, and let the container go on: the next checkpoint is shorter
    #[arg(long)]
    pub pre_dump: bool,
    /// Images of the pre-dump before, relative to --image-path
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Serve memory to a later restore on demand, instead of writing it
    #[arg(long)]
    pub lazy_pages: bool,
    /// Descriptor that gets a zero byte once --lazy-pages is ready
    #[arg(long, value_name = "FD", requires = "lazy_pages")]
    pub status_fd: Option<u32>,
    /// Where memory is sent to, or is served with --lazy-pages
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_page_server)]
    pub page_server: Option<PageServer>,
    /// How connections are stopped meanwhile: iptables, nftables or skip (not at all)
    #[arg(long, value_name = "METHOD", hide_possible_values = true)]
    pub network_lock: Option<NetworkLock>,
}

/// Make a container from a checkpoint, and wait for it (needs criu)
#[derive(Debug, Args)]
pub struct Restore {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub bundle: super::Bundle,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connections: Connections,
    /// Close TCP connections instead of restoring them
    #[arg(long)]
    pub tcp_close: bool,
    /// Have memory served on demand by a criu lazy-pages that runs already
    #[arg(long)]
    pub lazy_pages: bool,
    /// AppArmor profile or SELinux label, instead of the checkpoint's
    #[arg(long, value_name = "TYPE:LABEL")]
    pub lsm_profile: Option<String>,
    /// SELinux context of mounts, instead of the checkpoint's
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// Do not wait for the container
    #[arg(short, long)]
    pub detach: bool,
    /// Unix socket that receives the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// File that receives the pid of the first process
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not adopt orphans of the container
    #[arg(long)]
    pub no_subreaper: bool,
}

/// What both need to know.
#[derive(Debug, Args)]
pub struct Connections {
    /// Directory of the images [default: ./checkpoint]
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Directory of criu's log and work files [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Allow TCP connections that are established
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow connections to unix sockets outside the container
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a session or a terminal of somebody's outside the container
    #[arg(long)]
    pub shell_job: bool,
    /// Allow file locks
    #[arg(long)]
    pub file_locks: bool,
    /// What to do about cgroups below the container's: soft, full, strict or ignore
    #[arg(long, value_name = "MODE", default_value = "soft", hide_possible_values = true)]
    pub manage_cgroups_mode: CgroupsMode,
    /// Namespace without what is in it; the network is always so
    #[arg(long, value_name = "NAMESPACE", hide_possible_values = true)]
    pub empty_ns: Vec<EmptyNamespace>,
    /// Free memory in the images that is not needed any more
    #[arg(long)]
    pub auto_dedup: bool,
}

/// `--manage-cgroups-mode`, with criu's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CgroupsMode {
    /// Make those that are missing, and set what is set in them
    Soft = 3,
    /// Also set what is in those that are there
    Full = 4,
    /// Allow none to be there
    Strict = 5,
    /// Leave everything as it is
    Ignore = 0,
}

/// `--network-lock`, with criu's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkLock {
    /// With iptables(8)
    Iptables = 1,
    /// With nft(8)
    Nftables = 2,
    /// Not at all
    Skip = 3,
}

/// `--empty-ns`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmptyNamespace {
    /// Engines set the network up again
    Network,
}

/// `--page-server`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// Name or address.
    pub address: String,
    /// TCP port.
    pub port: u16,
}

fn parse_page_server(text: &str) -> Result<PageServer, String> {
    let parts =
        text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
    match parts {
        Some((address, port)) if !address.is_empty() && port != 0 => {
            let address = address.trim_start_matches('[').trim_end_matches(']').to_owned();
            Ok(PageServer { address, port })
        }
        _ => Err("it is not ADDRESS:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        let server = |address: &str, port| Ok(PageServer { address: address.to_owned(), port });
        assert_eq!(parse_page_server("10.0.0.1:27"), server("10.0.0.1", 27));
        assert_eq!(parse_page_server("[::1]:65535"), server("::1", 65535));
        for text in ["", ":", "host", "host:", ":1", "host:0", "host:65536", "host:x"] {
            assert!(parse_page_server(text).is_err(), "{text:?}");
        }
    }
}
