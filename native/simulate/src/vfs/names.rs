//! What SQLite asks of the system besides files that are open: names, chance and time.

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    time::Duration,
};

use rusqlite::ffi::{self, sqlite3_int64, sqlite3_vfs};

use super::{path_of, process_of};
use crate::{
    disk::parent,
    platform::{Kind, Platform},
};

pub(super) unsafe extern "C" fn delete(
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

pub(super) unsafe extern "C" fn access(
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

pub(super) unsafe extern "C" fn full_pathname(
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
pub(super) unsafe extern "C" fn randomness(
    _: *mut sqlite3_vfs,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    let seed = Platform::current().map_or(1, |platform| platform.random());
    for i in 0..length as usize {
        // SAFETY: SQLite gives `length` bytes to fill.
        unsafe { *out.add(i) = crate::chance::mix(seed, i as u64) as c_char };
    }
    length
}

pub(super) unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
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

pub(super) unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, time: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *time = milliseconds() as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn current_time_int64(
    _: *mut sqlite3_vfs,
    time: *mut sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *time = milliseconds() };
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn get_last_error(
    _: *mut sqlite3_vfs,
    _: c_int,
    _: *mut c_char,
) -> c_int {
    0
}
