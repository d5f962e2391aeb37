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
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    rc::Rc,
    time::Duration,
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::{
    disk::{Holder, Key, parent},
    platform::{Fault, Kind, Platform, ProcessId, SLOTS},
    shared_memory::{REGION, Region},
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

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
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
    xFetch: None,
    xUnfetch: None,
};

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
    // SAFETY: see the module: a VFS; and SQLite gives null or a C string.
    let (Some((platform, process)), path) = (unsafe { (process_of(vfs), path_of(name)) }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let has = |flag: c_int| flags & flag != 0;
    if platform.gate(process, Kind::Open, path.unwrap_or("")).is_err() {
        return ffi::SQLITE_CANTOPEN;
    }
    let key = {
        let mut disk = platform.disk.borrow_mut();
        let found = path.and_then(|path| disk.find(path));
        match (path, found) {
            (None, _) => disk.nameless(),
            (Some(_), Some(_)) if has(ffi::SQLITE_OPEN_EXCLUSIVE) => return ffi::SQLITE_CANTOPEN,
            (Some(_), Some(key)) if disk.inode(key).folder => return ffi::SQLITE_CANTOPEN,
            (Some(_), Some(key)) => key,
            (Some(path), None) if has(ffi::SQLITE_OPEN_CREATE) => match disk.create(path) {
                Ok(key) => key,
                Err(_) => return ffi::SQLITE_CANTOPEN,
            },
            (Some(_), None) => return ffi::SQLITE_CANTOPEN,
        }
    };
    let holder = platform.open(process, key);
    if path.is_none() {
        platform.disk.borrow_mut().let_go(key);
    }
    let log = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let handle = Box::new(Handle {
        platform: platform.id,
        process,
        key,
        holder,
        path: path.unwrap_or_default().into(),
        temporary: path.is_none(),
        delete_on_close: has(ffi::SQLITE_OPEN_DELETEONCLOSE),
        folder: Cell::new(has(ffi::SQLITE_OPEN_CREATE) && has(log)),
        memory: RefCell::new(None),
    });
    // SAFETY: SQLite gives memory of `szOsFile` for us to fill, and null or a place for the
    // flags; methods last, as they make it a file to close.
    unsafe {
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        (*file.cast::<SimulatedFile>()).handle = Box::into_raw(handle);
        (*file).pMethods = &raw const METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: see the module: a file; this is its last call.
    let handle = unsafe {
        (*file).pMethods = ptr::null();
        Box::from_raw((*file.cast::<SimulatedFile>()).handle)
    };
    if let Some(platform) = Platform::current().filter(|of| of.id == handle.platform) {
        if let Some(memory) = handle.memory.take() {
            leave(&platform, &handle, &memory);
        }
        if handle.delete_on_close && !handle.temporary && platform.check(handle.process).is_ok() {
            let _ = platform.disk.borrow_mut().remove(&handle.path);
        }
        platform.close(handle.process, handle.holder);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    place: *mut c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.gate(platform, Kind::Read, ffi::SQLITE_IOERR_READ)?;
        // SAFETY: SQLite gives `length` bytes to fill.
        let buffer = unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), length as usize) };
        let n = platform.disk.borrow().read(handle.key, offset as usize, buffer);
        buffer[n..].fill(0);
        Ok(if n < buffer.len() { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK })
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_READ, call) }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        // SAFETY: SQLite gives `length` bytes to write.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length as usize) };
        let passed = platform.gate(handle.process, Kind::Write, &handle.path);
        let wanted = match passed {
            Ok(()) => data,
            Err(Fault::Half) => &data[..data.len() / 2],
            Err(Fault::Full) => return Err(ffi::SQLITE_FULL),
            Err(_) => return Err(ffi::SQLITE_IOERR_WRITE),
        };
        let fits = platform.disk.borrow_mut().write(handle.key, offset as usize, wanted);
        match passed {
            _ if fits < wanted.len() => Err(ffi::SQLITE_FULL),
            Ok(()) => Ok(ffi::SQLITE_OK),
            Err(_) => Err(ffi::SQLITE_IOERR_WRITE),
        }
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_WRITE, call) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.gate(platform, Kind::Cut, ffi::SQLITE_IOERR_TRUNCATE)?;
        platform.disk.borrow_mut().cut(handle.key, size as usize);
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_TRUNCATE, call) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.gate(platform, Kind::Sync, ffi::SQLITE_IOERR_FSYNC)?;
        let mut disk = platform.disk.borrow_mut();
        disk.sync(handle.key, &handle.path);
        if handle.folder.take() {
            let _ = disk.sync_folder(parent(&handle.path));
        }
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_FSYNC, call) }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.check(platform, ffi::SQLITE_IOERR_FSTAT)?;
        let len = platform.disk.borrow().inode(handle.key).content.bytes().len();
        // SAFETY: SQLite gives a place for the answer.
        unsafe { *size = len as sqlite3_int64 };
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_FSTAT, call) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.gate(platform, Kind::Lock, ffi::SQLITE_IOERR_LOCK)?;
        let mut disk = platform.disk.borrow_mut();
        match disk.inode_mut(handle.key).locks.raise(handle.holder, level) {
            true => Ok(ffi::SQLITE_OK),
            false => Err(ffi::SQLITE_BUSY),
        }
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_LOCK, call) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        // The locks of a dead process are gone.
        handle.check(platform, ffi::SQLITE_OK)?;
        platform.disk.borrow_mut().inode_mut(handle.key).locks.lower(handle.holder, level);
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_OK, call) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, held: *mut c_int) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        handle.check(platform, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)?;
        let reserved = platform.disk.borrow().inode(handle.key).locks.reserved();
        // SAFETY: SQLite gives a place for the answer.
        unsafe { *held = c_int::from(reserved) };
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, call) }
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        let answer = match operation {
            ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE => {
                return Ok(ffi::SQLITE_OK);
            }
            // By number, as the unix VFS compares.
            ffi::SQLITE_FCNTL_HAS_MOVED => {
                let disk = platform.disk.borrow();
                let number = |key| disk.inode(key).number;
                let moved = disk.find(&handle.path).map(number) != Some(number(handle.key));
                c_int::from(moved && !handle.temporary)
            }
            ffi::SQLITE_FCNTL_LOCKSTATE => {
                platform.disk.borrow().inode(handle.key).locks.level(handle.holder)
            }
            ffi::SQLITE_FCNTL_PERSIST_WAL => 0,
            ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE => 1,
            _ => return Err(ffi::SQLITE_NOTFOUND),
        };
        // SAFETY: for these operations the argument is a place for an int.
        unsafe { *argument.cast::<c_int>() = answer };
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_NOTFOUND, call) }
}

unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// Joins the memory of a file, as `unixOpenSharedMemory` does.
fn join(platform: &Platform, handle: &Handle) -> Result<Memory, c_int> {
    let key = match platform.join_node(handle.process, handle.key) {
        Some(key) => key,
        None => {
            let path = format!("{}-shm", handle.path);
            let found = platform.disk.borrow_mut().open_or_create(&path);
            let key = found.map_err(|_| ffi::SQLITE_CANTOPEN)?;
            platform.add_node(handle.process, handle.key, key);
            key
        }
    };
    let holder = platform.open(handle.process, key);
    platform.disk.borrow_mut().inode_mut(key).memory.join(holder);
    Ok(Memory { key, holder, regions: Vec::new() })
}

fn leave(platform: &Platform, handle: &Handle, memory: &Memory) {
    platform.disk.borrow_mut().inode_mut(memory.key).memory.leave(memory.holder);
    platform.leave_node(handle.process, handle.key);
    platform.close(handle.process, memory.holder);
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        // SAFETY: SQLite gives a place for the answer.
        unsafe { *place = ptr::null_mut() };
        assert_eq!(size as usize, REGION, "a region of another size than SQLite's");
        handle.gate(platform, Kind::Map, ffi::SQLITE_IOERR_SHMMAP)?;
        let mut memory = handle.memory.borrow_mut();
        if memory.is_none() {
            *memory = Some(join(platform, handle)?);
        }
        let Some(memory) = memory.as_mut() else { return Err(ffi::SQLITE_IOERR_SHMMAP) };
        let found = {
            let mut disk = platform.disk.borrow_mut();
            disk.inode_mut(memory.key).memory.region(region as usize, extend != 0)
        };
        if let Some(found) = found {
            platform.mapped(handle.process, &found);
            // SAFETY: as above; the region lives as long as this handle has it.
            unsafe { *place = found.place().cast() };
            memory.regions.push(found);
        }
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_SHMMAP, call) }
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    slot: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let mask = ((1_u32 << count) - 1) << slot;
    let takes = flags & ffi::SQLITE_SHM_LOCK != 0;
    let call = |platform: &Platform, handle: &Handle| {
        if takes {
            handle.gate(platform, Kind::Lock, ffi::SQLITE_IOERR_SHMLOCK)?;
        } else {
            handle.check(platform, ffi::SQLITE_OK)?;
        }
        let memory = handle.memory.borrow();
        let Some(memory) = memory.as_ref() else { return Err(ffi::SQLITE_IOERR_SHMLOCK) };
        let mut disk = platform.disk.borrow_mut();
        let there = &mut disk.inode_mut(memory.key).memory;
        if !takes {
            there.unlock(memory.holder, mask);
            return Ok(ffi::SQLITE_OK);
        }
        match there.lock(memory.holder, mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0) {
            true => Ok(ffi::SQLITE_OK),
            false => Err(ffi::SQLITE_BUSY),
        }
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_IOERR_SHMLOCK, call) }
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite3_file) {}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    let call = |platform: &Platform, handle: &Handle| {
        if let Some(memory) = handle.memory.take() {
            leave(platform, handle, &memory);
        }
        // As the unix VFS does: only when nobody of this process uses it any more.
        if delete != 0
            && platform.check(handle.process).is_ok()
            && !platform.has_database(handle.process, handle.key)
        {
            let _ = platform.disk.borrow_mut().remove(&format!("{}-shm", handle.path));
        }
        Ok(ffi::SQLITE_OK)
    };
    // SAFETY: see the module: a file.
    unsafe { on(file, ffi::SQLITE_OK, call) }
}

unsafe extern "C" fn delete(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: see the module: a VFS; and SQLite gives a C string.
    let (Some((platform, process)), Some(path)) = (unsafe { (process_of(vfs), path_of(name)) })
    else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    if platform.gate(process, Kind::Delete, path).is_err() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    let mut disk = platform.disk.borrow_mut();
    if disk.find(path).is_none() {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    if disk.remove(path).is_err() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    if sync_folder != 0 {
        let _ = disk.sync_folder(parent(path));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    answer: *mut c_int,
) -> c_int {
    // SAFETY: see the module: a VFS; and SQLite gives a C string.
    let (Some((platform, process)), Some(path)) = (unsafe { (process_of(vfs), path_of(name)) })
    else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    if platform.gate(process, Kind::Look, path).is_err() {
        return ffi::SQLITE_IOERR_ACCESS;
    }
    let disk = platform.disk.borrow();
    let there = disk.find(path).is_some_and(|key| {
        let inode = disk.inode(key);
        // An empty file is none, as the unix VFS has it.
        flags != ffi::SQLITE_ACCESS_EXISTS || inode.folder || !inode.content.bytes().is_empty()
    });
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *answer = c_int::from(there) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a C string, and `length` bytes for the answer.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > length as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr(), full.cast(), name.len());
    }
    ffi::SQLITE_OK
}

/// SQLite holds a lock of the whole program meanwhile: no gate.
unsafe extern "C" fn randomness(_: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    let seed = Platform::current().map_or(1, |platform| platform.random());
    for i in 0..length as usize {
        // SAFETY: SQLite gives `length` bytes to fill.
        unsafe { *out.add(i) = crate::chance::mix(seed, i as u64) as c_char };
    }
    length
}

unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: see the module: a VFS.
    if let Some((platform, process)) = unsafe { process_of(vfs) } {
        platform.advance(Duration::from_micros(microseconds.unsigned_abs().into()));
        let _ = platform.gate(process, Kind::Sleep, "");
    }
    microseconds
}

/// Milliseconds of the Julian calendar.
fn milliseconds() -> i64 {
    const YEAR_2020: i64 = 212_444_683_200_000;
    let elapsed = Platform::current().map_or(Duration::ZERO, |platform| platform.elapsed());
    YEAR_2020 + elapsed.as_millis() as i64
}

unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, time: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *time = milliseconds() as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut sqlite3_vfs, time: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *time = milliseconds() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_: *mut sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
