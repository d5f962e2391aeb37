//! SQLite's way to the platform.
//!
//! Two facts every `SAFETY` comment below rests on:
//! - **A VFS** given to a callback is one built in [`name_of`]: it and its name live for ever,
//!   and its `pAppData` is the number of its slot.
//! - **A file** given to a callback, but for [`open`], is one that [`open`] completed: SQLite
//!   allocates `szOsFile` bytes, which hold a [`SimulatedFile`]; and SQLite makes one call at a
//!   time for one file.
//!
//! A panic in a callback aborts, as it may not unwind into C; those of the hook end at the gate.

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, CString, c_char, c_int},
    ptr,
    rc::Rc,
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_vfs};

use crate::{
    disk::{Holder, Key},
    platform::{Fault, Kind, Platform, ProcessId, SLOTS},
    shared_memory::Region,
};

mod file;
mod memory;
mod names;

use self::{
    file::open,
    names::{
        access, current_time, current_time_int64, delete, full_pathname, get_last_error,
        randomness, sleep,
    },
};

thread_local! {
    static NAMES: RefCell<[Option<String>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

/// The name of the VFS of a slot on this thread. Registered once, for SQLite has no way to
/// tell when the last connection through it is gone.
pub fn name_of(slot: usize) -> String {
    NAMES.with_borrow_mut(|names| names[slot].get_or_insert_with(|| register(slot)).clone())
}

/// The head of each file: SQLite sees only this.
#[repr(C)]
struct SimulatedFile {
    head: sqlite3_file,
    handle: *mut Handle,
}

/// An open file.
struct Handle {
    /// Of which platform it is.
    platform: u64,
    process: ProcessId,
    key: Key,
    holder: Holder,
    path: String,
    temporary: bool,
    delete_on_close: bool,
    /// Whether the next sync is one that syncs the folder too, as the unix VFS does at the
    /// first one of a journal or log it may have created.
    folder: Cell<bool>,
    memory: RefCell<Option<Memory>>,
}

/// A connection's use of a `-shm`.
struct Memory {
    key: Key,
    holder: Holder,
    /// So that SQLite's pointers stay good whatever becomes of the file.
    regions: Vec<Rc<Region>>,
}

fn register(slot: usize) -> String {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // Relaxed: only the number's uniqueness matters.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("simulate-{}-{slot}", NEXT.fetch_add(1, Relaxed));
    let c_name = CString::new(name.as_str()).unwrap_or_default();
    let vfs = Box::leak(Box::new(sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<SimulatedFile>() as c_int,
        mxPathname: 512,
        pNext: ptr::null_mut(),
        zName: c_name.into_raw(),
        pAppData: ptr::without_provenance_mut(slot),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the VFS is complete and never freed.
    let registered = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(registered, ffi::SQLITE_OK, "the VFS {name} cannot be registered");
    name
}

/// # Safety
/// `file` must be ours and open.
unsafe fn handle_of<'a>(file: *mut sqlite3_file) -> &'a Handle {
    // SAFETY: see the module: a file. The box is freed only by `close`.
    unsafe { &*(*file.cast::<SimulatedFile>()).handle }
}

/// Does something with a file, on the platform it is of.
///
/// # Safety
/// `file` must be ours and open.
unsafe fn on(
    file: *mut sqlite3_file,
    gone: c_int,
    call: impl FnOnce(&Platform, &Handle) -> Result<c_int, c_int>,
) -> c_int {
    // SAFETY: as the caller promises.
    let handle = unsafe { handle_of(file) };
    match Platform::current().filter(|platform| platform.id == handle.platform) {
        Some(platform) => call(&platform, handle).unwrap_or_else(|code| code),
        None => gone,
    }
}

/// The platform of this thread and the process of a VFS.
///
/// # Safety
/// `vfs` must be ours.
unsafe fn process_of(vfs: *mut sqlite3_vfs) -> Option<(Rc<Platform>, ProcessId)> {
    // SAFETY: see the module: a VFS.
    let slot = unsafe { (*vfs).pAppData }.addr();
    let platform = Platform::current()?;
    let process = platform.process_of(slot)?;
    Some((platform, process))
}

/// # Safety
/// `name` must be null or a C string.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a str> {
    // SAFETY: as the caller promises.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?.to_str().ok()
}

impl Handle {
    fn gate(&self, platform: &Platform, kind: Kind, code: c_int) -> Result<(), c_int> {
        platform.gate(self.process, kind, &self.path).map_err(|fault| match (fault, kind) {
            (Fault::Full, Kind::Write) => ffi::SQLITE_FULL,
            _ => code,
        })
    }

    fn check(&self, platform: &Platform, code: c_int) -> Result<(), c_int> {
        platform.check(self.process).map_err(|_| code)
    }
}
