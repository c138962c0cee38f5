//! Field offsets of the running kernel, read from its BTF by the loader and patched into the object's `.rodata` before
//! loading.
//!
//! rustc emits no CO-RE relocations, so offsets are data. The verifier sees a frozen, read-only map and treats each as
//! a constant. A field that this kernel lacks is `ABSENT`: the programs then leave the value out and clear its validity
//! bit.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pin::pod;

/// Offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident = $structure:literal . $member:literal),+ $(,)?) => {
        /// Byte offsets of kernel structure members; `ABSENT` where the kernel has none.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
        pub struct Layout {
            $($(#[$doc])* pub $field: u32,)+
        }

        // One word after the other, in the order of their declaration.
        const _: () = {
            const NAMES: &[&str] = &[$(stringify!($field)),+];
            assert!(size_of::<Layout>() == 4 * NAMES.len());
        };

        impl Layout {
            /// Every offset `ABSENT`: what the object holds until it is patched.
            pub const EMPTY: Self = Self { $($field: ABSENT,)+ };

            /// Fills every field from `find(structure, member)`; `None` becomes `ABSENT`. A member path may go through
            /// nested structures: `__sk_common.skc_family`. Where kernels differ, `|` parts its names.
            pub fn resolve(mut find: impl FnMut(&'static str, &'static str) -> Option<u32>) -> Self {
                Self { $($field: find($structure, $member).unwrap_or(ABSENT),)+ }
            }

            /// (name, structure, member, offset) of every field, for reports.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u32)> {
                [$((stringify!($field), $structure, $member, self.$field)),+].into_iter()
            }
        }
    };
}

layout! {
    task_tgid = "task_struct"."tgid",
    task_pid = "task_struct"."pid",
    task_start_boottime = "task_struct"."start_boottime",
    task_group_leader = "task_struct"."group_leader",
    task_real_parent = "task_struct"."real_parent",
    task_cred = "task_struct"."cred",
    /// Only with CONFIG_AUDIT.
    task_loginuid = "task_struct"."loginuid",
    /// Only with CONFIG_AUDIT.
    task_sessionid = "task_struct"."sessionid",
    task_nsproxy = "task_struct"."nsproxy",
    task_thread_pid = "task_struct"."thread_pid",
    task_mm = "task_struct"."mm",
    task_fs = "task_struct"."fs",
    task_files = "task_struct"."files",
    task_signal = "task_struct"."signal",
    task_exit_code = "task_struct"."exit_code",
    task_comm = "task_struct"."comm",
    cred_uid = "cred"."uid",
    cred_gid = "cred"."gid",
    cred_euid = "cred"."euid",
    cred_egid = "cred"."egid",
    nsproxy_mnt_ns = "nsproxy"."mnt_ns",
    mnt_namespace_ns_inum = "mnt_namespace"."ns.inum",
    pid_level = "pid"."level",
    pid_numbers = "pid"."numbers",
    upid_nr = "upid"."nr",
    upid_ns = "upid"."ns",
    pid_namespace_ns_inum = "pid_namespace"."ns.inum",
    signal_live = "signal_struct"."live",
    signal_flags = "signal_struct"."flags",
    signal_group_exit_code = "signal_struct"."group_exit_code",
    signal_pids = "signal_struct"."pids",
    mm_arg_start = "mm_struct"."arg_start",
    mm_arg_end = "mm_struct"."arg_end",
    mm_exe_file = "mm_struct"."exe_file",
    bprm_argc = "linux_binprm"."argc",
    file_path = "file"."f_path",
    file_inode = "file"."f_inode",
    file_private_data = "file"."private_data",
    path_mnt = "path"."mnt",
    path_dentry = "path"."dentry",
    dentry_parent = "dentry"."d_parent",
    dentry_name = "dentry"."d_name.name",
    mount_mnt = "mount"."mnt",
    mount_parent = "mount"."mnt_parent",
    mount_mountpoint = "mount"."mnt_mountpoint",
    vfsmount_root = "vfsmount"."mnt_root",
    fs_pwd = "fs_struct"."pwd",
    fs_root = "fs_struct"."root",
    inode_ino = "inode"."i_ino",
    inode_mode = "inode"."i_mode",
    inode_sb = "inode"."i_sb",
    inode_uid = "inode"."i_uid",
    inode_nlink = "inode"."i_nlink",
    inode_size = "inode"."i_size",
    inode_generation = "inode"."i_generation",
    /// Renamed by 6.6 and by 6.11.
    inode_ctime_sec = "inode"."i_ctime_sec|__i_ctime.tv_sec|i_ctime.tv_sec",
    inode_ctime_nsec = "inode"."i_ctime_nsec|__i_ctime.tv_nsec|i_ctime.tv_nsec",
    super_magic = "super_block"."s_magic",
    super_dev = "super_block"."s_dev",
    files_fdt = "files_struct"."fdt",
    fdtable_max_fds = "fdtable"."max_fds",
    fdtable_fd = "fdtable"."fd",
    socket_sk = "socket"."sk",
    socket_file = "socket"."file",
    sock_socket = "sock"."sk_socket",
    sock_protocol = "sock"."sk_protocol",
    sock_err = "sock"."sk_err",
    /// 0 until somebody asks for it.
    sock_cookie = "sock"."__sk_common.skc_cookie",
    sock_family = "sock"."__sk_common.skc_family",
    sock_state = "sock"."__sk_common.skc_state",
    sock_local_port = "sock"."__sk_common.skc_num",
    sock_remote_port = "sock"."__sk_common.skc_dport",
    sock_local_v4 = "sock"."__sk_common.skc_rcv_saddr",
    sock_remote_v4 = "sock"."__sk_common.skc_daddr",
    sock_local_v6 = "sock"."__sk_common.skc_v6_rcv_saddr",
    sock_remote_v6 = "sock"."__sk_common.skc_v6_daddr",
    tcp_bytes_received = "tcp_sock"."bytes_received",
    tcp_bytes_sent = "tcp_sock"."bytes_sent",
    tcp_bytes_retrans = "tcp_sock"."bytes_retrans",
    sock_flags = "sock"."__sk_common.skc_flags",
}

pod!(Layout);
