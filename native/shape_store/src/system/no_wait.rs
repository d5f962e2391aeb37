//! Reads of SQLite's that do not wait for the disk.
//!
//! SQLite's own VFS lets each of its system calls be replaced
//! (<https://sqlite.org/c3ref/vfs.html>, `xSetSystemCall`). Ours of `pread` is the system's,
//! but for a thread that is not to wait: that one has what is in the page cache
//! (`RWF_NOWAIT`, <https://man7.org/linux/man-pages/man2/preadv2.2.html>), and otherwise an
//! error, of which SQLite makes `SQLITE_IOERR_READ`. The system may begin to read meanwhile
//! what it did not have.

use std::{
    cell::Cell,
    ffi::{c_int, c_long, c_void},
    ptr,
};

use errno::{Errno, errno, set_errno};
use libc::{EAGAIN, RWF_NOWAIT, iovec, off_t, size_t, ssize_t};
use once_cell::sync::Lazy;
use rusqlite::ffi;

#[derive(Clone, Copy)]
struct Reads {
    /// How many more there may be.
    left: u32,
    /// Whether the last one could tell what is in memory; none before the first.
    supported: Option<bool>,
}

thread_local! {
    /// Of a thread that is not to wait.
    static READS: Cell<Option<Reads>> = const { Cell::new(None) };
}

/// Has SQLite read by what is here; whether it does.
pub(super) fn prepare() -> bool {
    static PREPARED: Lazy<bool> = Lazy::new(|| {
        // SAFETY: any thread may call either at any time.
        let vfs = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(c"unix".as_ptr())
        };
        // SAFETY: it is null or a VFS of SQLite's, which is never removed.
        let set = unsafe { vfs.as_ref() }.and_then(|vfs| vfs.xSetSystemCall);
        // SAFETY: SQLite keeps calls of any type as functions without arguments, and makes the
        // one for `pread` what it was before it calls it.
        let ours = unsafe { std::mem::transmute::<Pread, unsafe extern "C" fn()>(pread) };
        // SAFETY: this is the VFS's method. Who reads meanwhile calls the one function or the
        // other, which do the same for a thread that may wait.
        let set = set.map(|set| unsafe { set(vfs, c"pread".as_ptr(), Some(ours)) });
        set == Some(ffi::SQLITE_OK)
    });
    *PREPARED
}

/// Runs `work`, which may read so many times and does not wait for that. Whether the files
/// that it read can be read in this way; none if it read none.
pub(super) fn without_waiting(reads: u32, work: &mut dyn FnMut()) -> Option<bool> {
    /// However the work ends, the thread may wait again.
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            READS.set(None);
        }
    }
    let _waits = Waits;
    READS.set(Some(Reads { left: reads, supported: None }));
    work();
    READS.get().and_then(|reads| reads.supported)
}

type Pread = unsafe extern "C" fn(c_int, *mut c_void, size_t, off_t) -> ssize_t;

/// # Safety
///
/// As for `pread`: there are `len` bytes to write to.
unsafe extern "C" fn pread(file: c_int, to: *mut c_void, len: size_t, offset: off_t) -> ssize_t {
    let Some(reads) = READS.get() else {
        // SAFETY: what is asked of this function.
        return unsafe { libc::pread(file, to, len, offset) };
    };
    if reads.left == 0 {
        set_errno(Errno(EAGAIN));
        return -1;
    }
    let to = iovec { iov_base: to, iov_len: len };
    // By its number, as the C library may be older than the call. It takes an offset in two
    // halves, of which the lower one is all of it where there are 64 bits.
    // SAFETY: one piece of memory, that of what is asked of this function.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            c_long::from(file),
            ptr::from_ref(&to),
            c_long::from(1),
            offset,
            c_long::from(0),
            RWF_NOWAIT,
        )
    } as ssize_t;
    let supported = read >= 0 || errno() == Errno(EAGAIN);
    READS.set(Some(Reads { left: reads.left - 1, supported: Some(supported) }));
    read
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use rusqlite::Connection;

    use super::*;

    const ROWS: i64 = 50;

    /// Rows of more than a page each, read by one that keeps none of them.
    fn database() -> rusqlite::Result<(tempfile::TempDir, Connection)> {
        let Ok(folder) = tempfile::tempdir() else { return Err(rusqlite::Error::InvalidQuery) };
        let conn = Connection::open(folder.path().join("rows.sqlite"))?;
        conn.execute_batch(
            "PRAGMA cache_size = 1; CREATE TABLE blobs (id INTEGER PRIMARY KEY, it)",
        )?;
        for id in 1..=ROWS {
            conn.execute("INSERT INTO blobs VALUES (?1, zeroblob(5000))", [id])?;
        }
        Ok((folder, conn))
    }

    fn length(conn: &Connection, id: i64) -> rusqlite::Result<i64> {
        let sql = "SELECT length(CAST(hex(it) AS BLOB)) FROM blobs WHERE id = ?1";
        conn.query_row(sql, [id], |row| row.get(0))
    }

    #[test]
    fn more_reads_than_there_may_be_fail_and_the_next_ones_do_not() -> rusqlite::Result<()> {
        assert!(prepare());
        let (_folder, conn) = database()?;
        for id in 1..=ROWS {
            let mut read = None;
            assert_ne!(without_waiting(1, &mut || read = Some(length(&conn, id))), None);
            let failed = read.and_then(Result::err);
            let code = failed.and_then(|error| Some(error.sqlite_error()?.extended_code));
            assert_eq!(code, Some(ffi::SQLITE_IOERR_READ));
            assert_eq!(length(&conn, id)?, 10_000);
        }
        // A page may be busy; where the file system cannot do it, none is read.
        let mut supported = None;
        let mut read = (1..=ROWS).filter(|id| {
            let mut read = None;
            supported = without_waiting(1000, &mut || read = Some(length(&conn, *id)));
            matches!(read, Some(Ok(10_000)))
        });
        assert_eq!(read.next().is_some(), supported == Some(true));
        Ok(())
    }

    #[test]
    fn after_a_panic_the_thread_may_wait() -> rusqlite::Result<()> {
        let (_folder, conn) = database()?;
        let panic = || without_waiting(0, &mut || resume_unwind(Box::new(())));
        assert!(catch_unwind(AssertUnwindSafe(panic)).is_err());
        assert_eq!(length(&conn, ROWS)?, 10_000);
        Ok(())
    }
}
