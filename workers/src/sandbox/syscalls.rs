//! System calls, by seccomp: what leads out of the process.
//!
//! A list of what is forbidden, not of what is allowed: ONNX Runtime's providers and the drivers of cards use what their next version
//! pleases, and a list of that would break on a Tuesday. What is forbidden fails with EPERM, as for a user who may not.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// Always forbidden.
const FORBIDDEN: &[i64] = &[
    // network; the one connection there is has been opened
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // programs
    libc::SYS_execve,
    libc::SYS_execveat,
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    libc::SYS_setpriority,
    // the system
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    // parts of the kernel that faults are found in, and that nothing here needs
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
];

/// Filters this thread and those it will start. `false`: the kernel or the architecture knows nothing of it.
pub(super) fn filter() -> bool {
    let done = install(rules(), SeccompAction::Errno(libc::EPERM as u32))
        // A thread that is asked for by clone3 cannot be told from a process; the C library then asks by clone.
        .and_then(|()| {
            install(
                BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
                SeccompAction::Errno(libc::ENOSYS as u32),
            )
        });
    if let Err(error) = &done {
        // The subscriber comes later: it is for the log of the edge.
        eprintln!("acuity worker: seccomp: {error}");
    }
    done.is_ok()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn install(rules: Rules, action: SeccompAction) -> Result<(), String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error:?}"))?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, action, arch).map_err(|error| error.to_string())?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(|error| format!("{error:?}"))?;
    // Sets no-new-privileges too, without which the kernel takes no filter.
    apply_filter(&program).map_err(|error| error.to_string())
}

fn rules() -> Rules {
    let mut rules: Rules = FORBIDDEN.iter().map(|number| (*number, Vec::new())).collect();
    let own = u64::from(std::process::id());
    let threads_only = u64::from(libc::CLONE_THREAD.unsigned_abs());
    // Signals to others, processes instead of threads, limits of others. Conditions that cannot be said forbid the call as a whole.
    for (number, comparison, value) in [
        (libc::SYS_kill, SeccompCmpOp::Ne, own),
        (libc::SYS_tgkill, SeccompCmpOp::Ne, own),
        (libc::SYS_prlimit64, SeccompCmpOp::Ne, 0),
        (libc::SYS_clone, SeccompCmpOp::MaskedEq(threads_only), 0),
    ] {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, comparison, value);
        let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
        rules.insert(number, rule.into_iter().collect());
    }
    #[cfg(target_arch = "x86_64")]
    for number in [libc::SYS_fork, libc::SYS_vfork] {
        rules.insert(number, Vec::new());
    }
    rules
}
