//! The memory that the connections of a database share.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use rusqlite::ffi::{self, sqlite3_file};

use super::{Handle, Memory, on};
use crate::{
    platform::{Kind, Platform},
    shared_memory::REGION,
};

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

pub(super) fn leave(platform: &Platform, handle: &Handle, memory: &Memory) {
    platform.disk.borrow_mut().inode_mut(memory.key).memory.leave(memory.holder);
    platform.leave_node(handle.process, handle.key);
    platform.close(handle.process, memory.holder);
}

pub(super) unsafe extern "C" fn shm_map(
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

pub(super) unsafe extern "C" fn shm_lock(
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

pub(super) unsafe extern "C" fn shm_barrier(_: *mut sqlite3_file) {}

pub(super) unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
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
