// The floor: what `run` of the default bundle costs when nothing is left to decide.
//
// Everything that the configuration of `spec` demands is done here, hard-coded: no JSON, no
// options, no checks that could be made once and for all. A real runtime has to read, validate and
// report as well, so it cannot be faster than this; the benchmark measures how near it comes.
//
// Built with -DBARE it does less than any runtime may: namespaces, cgroup, mounts, pivot, exec,
// wait. The difference between the two is the price of what a container needs beyond being
// isolated.
//
//     floor ROOTFS CGROUP STATE COMMAND
//
// CGROUP and STATE are directories that it makes and removes; COMMAND is in ROOTFS.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NO_SUID_EXEC_DEV (MS_NOSUID | MS_NOEXEC | MS_NODEV)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Any failure would make the measurement meaningless, so it ends the program and names the call.
static void die(const char *call) {
    dprintf(2, "floor: %s: %s\n", call, strerror(errno));
    _exit(125);
}
#define TRY(call) ((call) < 0 ? die(#call) : (void)0)

static char *const environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL};

#ifndef BARE
static int make_read_only(int dir, const char *path, int flags) {
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    return mount_setattr(dir, path, flags, &attributes, sizeof attributes);
}

// CVE-2019-5736: a container must not be able to write to the host's binary through /proc/PID/exe.
// Running from a detached read-only mount of it costs one more exec and no copy. The descriptor
// must be close-on-exec: a leaked one leads back to the writable mount.
static void seal(char **argv) {
    struct statvfs fs;
    TRY(statvfs("/proc/self/exe", &fs));
    if (fs.f_flag & ST_RDONLY)
        return;
    int tree;
    TRY(tree = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    TRY(make_read_only(tree, "", AT_EMPTY_PATH));
    TRY(execveat(tree, "", argv, environment, AT_EMPTY_PATH));
}

// The start time makes the pid unmistakable after a reuse; renaming makes the file complete or
// absent.
static void save_state(const char *dir, pid_t pid, const char *rootfs, const char *cgroup) {
    char path[64], stat[1024], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd;
    TRY(fd = open(path, O_RDONLY | O_CLOEXEC));
    ssize_t length = read(fd, stat, sizeof stat - 1);
    TRY(length);
    stat[length] = 0;
    close(fd);
    const char *start = strrchr(stat, ')'); // field 2; the start time is field 22
    for (int field = 2; start && field < 22; field++)
        start = strchr(start + 1, ' ');
    if (!start)
        die("start time");

    TRY(mkdir(dir, 0700));
    int at;
    TRY(at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
    TRY(fd = openat(at, ".state", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    int size = snprintf(text, sizeof text,
                        "{\"pid\":%d,\"start\":%llu,\"rootfs\":\"%s\",\"cgroup\":\"%s\"}\n",
                        pid, strtoull(start, NULL, 10), rootfs, cgroup);
    TRY(write(fd, text, size));
    close(fd);
    TRY(renameat(at, ".state", at, "state.json"));
    close(at);
}

static void remove_state(const char *dir) {
    int at;
    TRY(at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
    TRY(unlinkat(at, "state.json", 0));
    close(at);
    TRY(rmdir(dir));
}

static void loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;
    TRY(fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    TRY(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void devices(void) {
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
        {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
    };
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},           {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},     {"/proc/self/fd/2", "/dev/stderr"},
        {"/proc/kcore", "/dev/core"},           {"pts/ptmx", "/dev/ptmx"},
    };
    umask(0); // so that mknod gives the mode, without a chmod for each
    for (size_t i = 0; i < COUNT(nodes); i++)
        TRY(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (size_t i = 0; i < COUNT(links); i++)
        TRY(symlink(links[i][0], links[i][1]));
    umask(022);
}

// A file is masked with /dev/null and a directory with an empty one. Making a file system is dear,
// binding it is not: the first directory gets a read-only tmpfs, all others are binds of it and
// inherit that it is read-only.
static void masked_paths(void) {
    static const char *const paths[] = {
        "/proc/acpi",       "/proc/asound",      "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
    };
    const char *empty = NULL;
    for (size_t i = 0; i < COUNT(paths); i++) {
        if (mount("/dev/null", paths[i], NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
            continue;
        if (errno != ENOTDIR)
            die(paths[i]);
        if (empty)
            TRY(mount(empty, paths[i], NULL, MS_BIND, NULL));
        else
            TRY(mount("tmpfs", empty = paths[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"));
    }
}

static void readonly_paths(void) {
    static const char *const paths[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
    };
    for (size_t i = 0; i < COUNT(paths); i++) {
        if (mount(paths[i], paths[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            TRY(make_read_only(AT_FDCWD, paths[i], AT_RECURSIVE));
        else if (errno != ENOENT)
            die(paths[i]);
    }
}

static void user_and_capabilities(void) {
    static const int kept[] = {CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct set[2] = {0};
    uint64_t mask = 0;
    for (size_t i = 0; i < COUNT(kept); i++)
        mask |= 1ull << kept[i];
    for (int half = 0; half < 2; half++)
        set[half].permitted = set[half].effective = set[half].inheritable = mask >> (32 * half);

    // The bounding set first: shrinking it needs a capability that is about to go. The kernel says
    // where the list ends.
    for (int capability = 0; capability < 64; capability++)
        if (!(mask >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            break;
    TRY(setgroups(0, NULL));
    TRY(setresgid(0, 0, 0));
    TRY(setresuid(0, 0, 0));
    TRY(syscall(SYS_capset, &header, set));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    for (size_t i = 0; i < COUNT(kept); i++)
        TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0));
}
#endif

// mount(2) and not fsopen to move_mount: one call instead of four to eight. It resolves the path
// itself, which is safe here only because the root has been changed already, so that no link in the
// rootfs can lead out of it.
static void mounts(void) {
    TRY(mount("proc", "/proc", "proc", 0, NULL));
    TRY(mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    TRY(mkdir("/dev/pts", 0755));
    TRY(mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    TRY(mkdir("/dev/shm", 0755));
    TRY(mount("shm", "/dev/shm", "tmpfs", NO_SUID_EXEC_DEV, "mode=1777,size=65536k"));
    TRY(mkdir("/dev/mqueue", 0755));
    TRY(mount("mqueue", "/dev/mqueue", "mqueue", NO_SUID_EXEC_DEV, NULL));
    TRY(mount("sysfs", "/sys", "sysfs", NO_SUID_EXEC_DEV | MS_RDONLY, NULL));
    // The cgroup file system has one superblock: MS_RDONLY here would reach the host's mount, the
    // flag on the mount does not.
    int fs, tree;
    TRY(fs = fsopen("cgroup2", FSOPEN_CLOEXEC));
    TRY(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY;
    TRY(tree = fsmount(fs, FSMOUNT_CLOEXEC, attributes));
    TRY(move_mount(tree, "", AT_FDCWD, "/sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH));
    close(fs);
    close(tree);
}

static void pivot(const char *rootfs) {
    // Nothing that is mounted from here on may show up on the host.
    TRY(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
    TRY(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
    TRY(chdir(rootfs));
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
}

static void child(int parent, const char *rootfs, char *command) {
    TRY(setsid());
    // Here and not at clone: the root of the new namespace is the cgroup that the process is in.
    TRY(unshare(CLONE_NEWCGROUP));
    pivot(rootfs);
    mounts();
#ifndef BARE
    TRY(sethostname("floor", 5));
    loopback_up();
    devices();
    masked_paths();
    readonly_paths();
    TRY(make_read_only(AT_FDCWD, "/", 0));
    TRY(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}));
    TRY(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "_ses.floor", 0, 0, 0));
    user_and_capabilities();
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    TRY(syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
    char cwd[4096];
    TRY(syscall(SYS_getcwd, cwd, sizeof cwd)); // "(unreachable)…" would be outside of the root
    if (cwd[0] != '/')
        die("cwd");

    // Up to here the child ran beside its parent. The container's own code must not, before its
    // state is saved.
    char go;
    if (read(parent, &go, 1) != 1)
        _exit(125);
#endif
    (void)parent;
    TRY(execve(command, (char *[]){command, NULL}, environment));
}

int main(int argc, char **argv) {
    if (argc != 5) {
        dprintf(2, "usage: floor ROOTFS CGROUP STATE COMMAND\n");
        return 125;
    }
    const char *rootfs = argv[1], *cgroup = argv[2];
    int cgroup_fd, pidfd = -1, sync[2] = {-1, -1};
#ifndef BARE
    seal(argv);
    TRY(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync));
#endif
    TRY(mkdir(cgroup, 0755));
    TRY(cgroup_fd = open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC));

    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS |
                 CLONE_INTO_CGROUP | CLONE_PIDFD,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup_fd,
        .pidfd = (uintptr_t)&pidfd,
    };
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    TRY(pid);
    if (pid == 0)
        child(sync[0], rootfs, argv[4]);

#ifndef BARE
    close(sync[0]);
    save_state(argv[3], pid, rootfs, cgroup);
    TRY(write(sync[1], "g", 1));
    char failed;
    if (read(sync[1], &failed, 1) != 0) // the end of the stream: execve has closed the child's end
        die("child");
#endif
    siginfo_t info;
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED));
    TRY(rmdir(cgroup));
#ifndef BARE
    remove_state(argv[3]);
#endif
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}
