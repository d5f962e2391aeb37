//! The disk fills up, and later has room again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{DELETE, WAL, check, commit, last, open};
use fault_vfs::FaultVfs;
use rusqlite::ErrorCode;

#[test]
fn a_full_disk_refuses_and_room_heals() {
    for mode in [WAL, DELETE] {
        let vfs = FaultVfs::unique();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut db = open(&vfs, &path, mode).unwrap();
        commit(&mut db, 1).unwrap();

        let on_disk = || -> u64 {
            let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
            let files = files.filter(|file| !file.file_name().to_string_lossy().ends_with("-shm"));
            files.map(|file| file.metadata().unwrap().len()).sum()
        };
        assert_eq!(vfs.used(), on_disk());

        vfs.set_capacity(Some(vfs.used() + 30_000));
        let mut batch = 2;
        let error = loop {
            match commit(&mut db, batch) {
                Ok(()) => batch += 1,
                Err(error) => break error,
            }
            assert!(batch < 100, "{mode:?} never fills up");
        };
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{mode:?}");
        assert_eq!(vfs.used(), on_disk());
        assert_eq!(last(&db).unwrap(), batch - 1);

        vfs.set_capacity(None);
        for batch in batch..batch + 5 {
            commit(&mut db, batch).unwrap();
        }
        drop(db);
        assert_eq!(check(&path), Ok(Some(batch + 4)));
        assert_eq!(vfs.used(), on_disk());
    }
}
