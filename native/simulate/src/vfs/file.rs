//! What SQLite does with a file.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_char, c_int, c_void},
    ptr,
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::{
    Handle, SimulatedFile,
    memory::{leave, shm_barrier, shm_lock, shm_map, shm_unmap},
    on, path_of, process_of,
};
use crate::{
    disk::parent,
    platform::{Fault, Kind, Platform},
    world::DATABASE,
};

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

pub(super) unsafe extern "C" fn open(
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
                Ok(key) => {
                    if path == DATABASE {
                        platform.violate("SQLite makes the file, and not one beside it".into());
                    }
                    key
                }
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
        match platform.reads_memory() {
            None => handle.gate(platform, Kind::Read, ffi::SQLITE_IOERR_READ)?,
            Some(true) => handle.check(platform, ffi::SQLITE_IOERR_READ)?,
            Some(false) => return Err(ffi::SQLITE_IOERR_READ),
        }
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
