//! How the writer thread shares the processors with the schedulers.

/// The nice value of a writer: about a third of the weight of a scheduler, and so it
/// does not push one aside when it wakes. The queue takes what comes meanwhile.
#[cfg(target_os = "linux")]
const NICE: libc::c_int = 5;

/// Gives way to the schedulers where there are not processors enough for all.
pub(crate) fn give_way() {
    #[cfg(target_os = "linux")]
    // SAFETY: takes three numbers; 0 is the calling thread on Linux. When it is
    // refused the thread stays as it is.
    let _refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
