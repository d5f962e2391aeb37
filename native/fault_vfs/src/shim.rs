//! The C side: SQLite's calls, passed through gate, room and log to the platform's VFS.
//!
//! Two facts every `SAFETY` comment below rests on:
//! - **A VFS** given to a callback is the one built in [`register`]: its `pAppData` is a
//!   [`Shim`], and both live for ever.
//! - **A file** given to a callback, but for [`open`], is one that [`open`] completed: SQLite
//!   allocates `szOsFile` bytes, which hold a [`ShimFile`] and behind it the platform's own file
//!   with its methods set; and SQLite calls for one file from one thread at a time.
//!
//! A panic in a callback aborts, as it may not unwind into C.

use crate::{
    log::{Inode, Log},
    operation::{Kind, Role},
    plan::Fault,
    vfs::FaultVfs,
};
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    fs,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What a VFS's `pAppData` points to.
struct Shim {
    faults: Arc<FaultVfs>,
    base: *mut sqlite3_vfs,
}

/// The head of each file; the platform's file follows it.
#[repr(C)]
struct ShimFile {
    /// First, since SQLite sees only this.
    head: sqlite3_file,
    open: *mut Open,
}

// The platform's file starts where this one ends, so the end must be aligned for it.
const _: () = assert!(size_of::<ShimFile>().is_multiple_of(8));

struct Open {
    faults: Arc<FaultVfs>,
    role: Role,
    lasting: Option<Lasting>,
}

/// What only files that outlive the connection have.
struct Lasting {
    path: PathBuf,
    inode: Option<Inode>,
    /// Whether the next sync is one that syncs the directory too, as the unix VFS does at the
    /// first one of a journal or log it may have created. Relaxed: one thread at a time.
    directory: AtomicBool,
}

pub(crate) fn register(faults: &Arc<FaultVfs>) -> bool {
    let Ok(name) = CString::new(faults.name()) else { return false };
    // SAFETY: the name is a C string; finding initialises SQLite if need be.
    let (base, taken) = unsafe {
        (ffi::sqlite3_vfs_find(ptr::null()), !ffi::sqlite3_vfs_find(name.as_ptr()).is_null())
    };
    if base.is_null() || taken {
        return false;
    }
    let shim = Box::leak(Box::new(Shim { faults: Arc::clone(faults), base }));
    // SAFETY: a registered VFS stays valid; these two fields never change.
    let (file_size, path_size) = unsafe { ((*base).szOsFile, (*base).mxPathname) };
    let vfs = Box::leak(Box::new(sqlite3_vfs {
        // Version 2: without the replaceable system calls, which belong to the platform's.
        iVersion: 2,
        szOsFile: size_of::<ShimFile>() as c_int + file_size,
        mxPathname: path_size,
        pNext: ptr::null_mut(),
        zName: name.into_raw(),
        pAppData: ptr::from_mut(shim).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: Some(dl_sym),
        xDlClose: Some(dl_close),
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
    unsafe { ffi::sqlite3_vfs_register(vfs, 0) == ffi::SQLITE_OK }
}

pub(crate) fn unregister(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // SAFETY: the name is a C string; unregistering what is not found is harmless.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(name.as_ptr());
        if !vfs.is_null() {
            ffi::sqlite3_vfs_unregister(vfs);
        }
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// # Safety
/// `vfs` must be ours.
unsafe fn shim_of<'a>(vfs: *mut sqlite3_vfs) -> &'a Shim {
    // SAFETY: see the module: a VFS.
    unsafe { &*(*vfs).pAppData.cast::<Shim>() }
}

/// # Safety
/// `file` must be ours and open.
unsafe fn open_of<'a>(file: *mut sqlite3_file) -> &'a Open {
    // SAFETY: see the module: a file. The box is freed only by `close`.
    unsafe { &*(*file.cast::<ShimFile>()).open }
}

/// # Safety
/// `file` must be memory of our VFS's `szOsFile`.
unsafe fn base_of(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: the platform's file is in the same allocation, behind the head.
    unsafe { file.cast::<ShimFile>().add(1).cast() }
}

/// Calls a method of the platform's file.
macro_rules! base_file {
    ($file:ident.$method:ident($($arg:expr),*) or $missing:expr) => {{
        // SAFETY: see the module: a file. The arguments are SQLite's own, or valid alike.
        unsafe {
            let base = base_of($file);
            match (*(*base).pMethods).$method {
                Some(call) => call(base $(, $arg)*),
                None => $missing,
            }
        }
    }};
}

/// Calls a method of the platform's VFS.
macro_rules! base_vfs {
    ($vfs:ident.$method:ident($($arg:expr),*) or $missing:expr) => {{
        // SAFETY: see the module: a VFS. The arguments are SQLite's own.
        unsafe {
            let base = shim_of($vfs).base;
            match (*base).$method {
                Some(call) => call(base $(, $arg)*),
                None => $missing,
            }
        }
    }};
}

/// # Safety
/// `name` must be null or a C string.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: as the caller promises.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
    Some(PathBuf::from(name.to_string_lossy().into_owned()))
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // Null methods tell SQLite that there is nothing to close.
    // SAFETY: SQLite gives memory of `szOsFile` for us to fill.
    unsafe { (*file).pMethods = ptr::null() };
    // SAFETY: see the module: a VFS.
    let faults = unsafe { &shim_of(vfs).faults };
    let role = Role::of_open(flags);
    if let Some(fault) = faults.gate.enter(Kind::Open, role) {
        return fault.code(Kind::Open, role);
    }
    // SAFETY: SQLite gives null or a C string.
    let path = unsafe { path_of(name) }.filter(|_| role.lasts());

    // From here to the log's entry nobody else may create or delete files, or a name that was
    // new when asked might not be when opened.
    let mut recorder = faults.recorder.lock();
    let existed = path.as_ref().is_some_and(|path| path.symlink_metadata().is_ok());
    // SAFETY: the memory behind the head is the platform's to fill.
    let base = unsafe { base_of(file) };
    // SAFETY: as above; a file that fails to open may be left unset.
    unsafe { (*base).pMethods = ptr::null() };
    // The name goes on as it is: SQLite keeps parameters behind its end.
    let opened = base_vfs!(vfs.xOpen(name, base, flags, out_flags) or ffi::SQLITE_CANTOPEN);
    if opened != ffi::SQLITE_OK {
        // SAFETY: the platform set methods if, and only if, it wants to be closed.
        if unsafe { !(*base).pMethods.is_null() } {
            base_file!(file.xClose() or ffi::SQLITE_OK);
        }
        return opened;
    }

    let lasting = path.map(|path| {
        let mut size = 0;
        base_file!(file.xFileSize(&mut size) or ffi::SQLITE_OK);
        faults.room.resize(&path, size as u64);
        let handles = recorder.open.entry(path.clone()).or_default();
        *handles += 1;
        let alone = *handles == 1;
        let inode = recorder.log.as_mut().and_then(|log| {
            if alone {
                // Read through this handle: another descriptor's close would drop the locks
                // that this process has on the file.
                Some(log.opened(&path, existed.then(|| read_all(file, size))))
            } else {
                log.inode(&path)
            }
        });
        let directory = flags & ffi::SQLITE_OPEN_CREATE != 0 && role != Role::Main;
        Lasting { path, inode, directory: AtomicBool::new(directory) }
    });
    drop(recorder);
    let open = Box::new(Open { faults: Arc::clone(faults), role, lasting });
    // SAFETY: SQLite gives memory of `szOsFile` for us to fill; methods last, as they make it
    // a file to close.
    unsafe {
        (*file.cast::<ShimFile>()).open = Box::into_raw(open);
        (*file).pMethods = &raw const METHODS;
    }
    ffi::SQLITE_OK
}

/// The whole content of an open file, as far as it can be read.
fn read_all(file: *mut sqlite3_file, size: sqlite3_int64) -> Vec<u8> {
    const CHUNK: usize = 1 << 20;
    let mut content = vec![0_u8; size as usize];
    for (i, chunk) in content.chunks_mut(CHUNK).enumerate() {
        let (place, length) = (chunk.as_mut_ptr(), chunk.len());
        let offset = (i * CHUNK) as sqlite3_int64;
        base_file!(file.xRead(place.cast(), length as c_int, offset) or ffi::SQLITE_IOERR_READ);
    }
    content
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let closed = base_file!(file.xClose() or ffi::SQLITE_OK);
    // SAFETY: see the module: a file; this is its last call, whatever the platform answered.
    let open = unsafe {
        (*file).pMethods = ptr::null();
        Box::from_raw((*file.cast::<ShimFile>()).open)
    };
    if let Some(lasting) = &open.lasting {
        let mut recorder = open.faults.recorder.lock();
        if let Some(handles) = recorder.open.get_mut(&lasting.path) {
            *handles -= 1;
            if *handles == 0 {
                recorder.open.remove(&lasting.path);
            }
        }
    }
    closed
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    place: *mut c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: see the module: a file.
    let open = unsafe { open_of(file) };
    match open.enter(Kind::Read) {
        Some(fault) => fault.code(Kind::Read, open.role),
        None => base_file!(file.xRead(place, length, offset) or ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: see the module: a file.
    let open = unsafe { open_of(file) };
    let fault = open.enter(Kind::Write);
    let wanted = match fault {
        None => length,
        Some(Fault::ShortWrite) => length / 2,
        Some(fault) => return fault.code(Kind::Write, open.role),
    };
    let fits = match &open.lasting {
        Some(lasting) => {
            open.faults.room.reserve(&lasting.path, offset as u64, wanted as u64) as c_int
        }
        None => wanted,
    };
    if fits > 0 {
        let written = base_file!(file.xWrite(data, fits, offset) or ffi::SQLITE_IOERR_WRITE);
        if written != ffi::SQLITE_OK {
            return written;
        }
        // SAFETY: SQLite gives `length` bytes to write, and `fits` is no more.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), fits as usize) };
        open.log(|log, _, inode| log.wrote(inode, offset as u64, data));
    }
    match fault {
        _ if fits < wanted => ffi::SQLITE_FULL,
        Some(fault) => fault.code(Kind::Write, open.role),
        None => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: see the module: a file.
    let open = unsafe { open_of(file) };
    if let Some(fault) = open.enter(Kind::Truncate) {
        return fault.code(Kind::Truncate, open.role);
    }
    let cut = base_file!(file.xTruncate(size) or ffi::SQLITE_IOERR_TRUNCATE);
    if let (ffi::SQLITE_OK, Some(lasting)) = (cut, &open.lasting) {
        open.faults.room.resize(&lasting.path, size as u64);
        open.log(|log, _, inode| log.truncated(inode, size as u64));
    }
    cut
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: see the module: a file.
    let open = unsafe { open_of(file) };
    if let Some(fault) = open.enter(Kind::Sync) {
        return fault.code(Kind::Sync, open.role);
    }
    // The point comes before the sync: what others write meanwhile is not covered by it.
    let start = open.faults.point();
    if !open.faults.skip_syncs.load(Ordering::Relaxed) {
        let synced = base_file!(file.xSync(flags) or ffi::SQLITE_OK);
        if synced != ffi::SQLITE_OK {
            return synced;
        }
    }
    open.log(|log, lasting, inode| {
        let directory = lasting.directory.swap(false, Ordering::Relaxed);
        log.synced(&lasting.path, inode, start, directory);
    });
    ffi::SQLITE_OK
}

impl Open {
    fn enter(&self, kind: Kind) -> Option<Fault> {
        self.faults.gate.enter(kind, self.role)
    }

    /// Adds to the log, if this file is recorded.
    fn log(&self, add: impl FnOnce(&mut Log, &Lasting, Inode)) {
        let Some(lasting) = &self.lasting else { return };
        let Some(inode) = lasting.inode else { return };
        if let Some(log) = &mut self.faults.recorder.lock().log {
            add(log, lasting, inode);
        }
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    base_file!(file.xFileSize(size) or ffi::SQLITE_IOERR)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see the module: a file.
    let open = unsafe { open_of(file) };
    match open.enter(Kind::Lock) {
        Some(fault) => fault.code(Kind::Lock, open.role),
        None => base_file!(file.xLock(level) or ffi::SQLITE_OK),
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    base_file!(file.xUnlock(level) or ffi::SQLITE_OK)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, held: *mut c_int) -> c_int {
    base_file!(file.xCheckReservedLock(held) or ffi::SQLITE_IOERR)
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    match operation {
        // Space is to be taken by writes alone, where gate, room and log see it.
        ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE => ffi::SQLITE_OK,
        ffi::SQLITE_FCNTL_MMAP_SIZE => {
            // SAFETY: for this operation the argument is a size, which is answered in place.
            unsafe { *argument.cast::<sqlite3_int64>() = 0 };
            ffi::SQLITE_OK
        }
        _ => base_file!(file.xFileControl(operation, argument) or ffi::SQLITE_NOTFOUND),
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    base_file!(file.xSectorSize() or 4096)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // Nothing that promises order or atomicity, which a torn image would break.
    const KEPT: c_int = ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
        | ffi::SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN
        | ffi::SQLITE_IOCAP_IMMUTABLE
        | ffi::SQLITE_IOCAP_SUBPAGE_READ;
    base_file!(file.xDeviceCharacteristics() or 0) & KEPT
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: see the module: a file.
    match unsafe { open_of(file) }.faults.gate.enter(Kind::Map, Role::Shm) {
        Some(fault) => fault.code(Kind::Map, Role::Shm),
        None => {
            base_file!(file.xShmMap(region, size, extend, place) or ffi::SQLITE_IOERR_SHMMAP)
        }
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    slot: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    if flags & ffi::SQLITE_SHM_LOCK != 0 {
        // SAFETY: see the module: a file.
        let open = unsafe { open_of(file) };
        if let Some(fault) = open.faults.gate.enter(Kind::Lock, Role::Shm) {
            return fault.code(Kind::Lock, Role::Shm);
        }
    }
    base_file!(file.xShmLock(slot, count, flags) or ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    base_file!(file.xShmBarrier() or ())
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    base_file!(file.xShmUnmap(delete) or ffi::SQLITE_OK)
}

/// No mapping: SQLite then reads and writes by the ordinary calls.
unsafe extern "C" fn fetch(
    _: *mut sqlite3_file,
    _: sqlite3_int64,
    _: c_int,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *place = ptr::null_mut() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn unfetch(_: *mut sqlite3_file, _: sqlite3_int64, _: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: see the module: a VFS.
    let faults = unsafe { &shim_of(vfs).faults };
    // SAFETY: SQLite gives a C string.
    let path = unsafe { path_of(name) }.unwrap_or_default();
    let role = Role::of_name(&path.to_string_lossy());
    if let Some(fault) = faults.gate.enter(Kind::Delete, role) {
        return fault.code(Kind::Delete, role);
    }
    let mut recorder = faults.recorder.lock();
    if let Some(log) = &mut recorder.log {
        know(log, &path);
    }
    let deleted = base_vfs!(vfs.xDelete(name, sync_directory) or ffi::SQLITE_IOERR_DELETE);
    if deleted == ffi::SQLITE_OK {
        faults.room.forget(&path);
        if let Some(log) = &mut recorder.log {
            log.deleted(&path, sync_directory != 0);
        }
    }
    deleted
}

/// Notes a file that is about to be deleted without having been opened while recording, since
/// the deletion may be lost. Nobody has it open, so its locks are not at stake.
fn know(log: &mut Log, path: &Path) {
    if !log.knows(path)
        && let Ok(content) = fs::read(path)
    {
        log.opened(path, Some(content));
    }
}

unsafe extern "C" fn access(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    base_vfs!(vfs.xAccess(name, flags, answer) or ffi::SQLITE_IOERR_ACCESS)
}

unsafe extern "C" fn full_pathname(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    full: *mut c_char,
) -> c_int {
    base_vfs!(vfs.xFullPathname(name, length, full) or ffi::SQLITE_CANTOPEN)
}

unsafe extern "C" fn dl_open(vfs: *mut sqlite3_vfs, name: *const c_char) -> *mut c_void {
    base_vfs!(vfs.xDlOpen(name) or ptr::null_mut())
}

unsafe extern "C" fn dl_error(vfs: *mut sqlite3_vfs, length: c_int, text: *mut c_char) {
    base_vfs!(vfs.xDlError(length, text) or ())
}

unsafe extern "C" fn dl_sym(
    vfs: *mut sqlite3_vfs,
    library: *mut c_void,
    symbol: *const c_char,
) -> Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)> {
    base_vfs!(vfs.xDlSym(library, symbol) or None)
}

unsafe extern "C" fn dl_close(vfs: *mut sqlite3_vfs, library: *mut c_void) {
    base_vfs!(vfs.xDlClose(library) or ())
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    base_vfs!(vfs.xRandomness(length, out) or 0)
}

unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    base_vfs!(vfs.xSleep(microseconds) or 0)
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, time: *mut f64) -> c_int {
    base_vfs!(vfs.xCurrentTime(time) or ffi::SQLITE_ERROR)
}

unsafe extern "C" fn get_last_error(
    vfs: *mut sqlite3_vfs,
    length: c_int,
    text: *mut c_char,
) -> c_int {
    base_vfs!(vfs.xGetLastError(length, text) or 0)
}

unsafe extern "C" fn current_time_int64(vfs: *mut sqlite3_vfs, time: *mut sqlite3_int64) -> c_int {
    base_vfs!(vfs.xCurrentTimeInt64(time) or ffi::SQLITE_ERROR)
}
