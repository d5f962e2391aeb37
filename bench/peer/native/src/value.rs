//! SQLite values to terms and back: integers, blobs and `nil` are all the peer needs.

use rusqlite::ffi;
use rustler::{Binary, Encoder, Env, NewBinary, Term};
use std::ffi::c_int;

/// Binds `term` to the parameter at `position` (from 1), copying a binary's bytes.
///
/// # Safety
/// `statement` must be a live statement that is not being stepped.
pub(crate) unsafe fn bind(
    statement: *mut ffi::sqlite3_stmt,
    position: c_int,
    term: Term<'_>,
) -> Result<c_int, String> {
    if let Ok(integer) = term.decode::<i64>() {
        // SAFETY: the caller vouches for the statement.
        return Ok(unsafe { ffi::sqlite3_bind_int64(statement, position, integer) });
    }
    if let Ok(binary) = term.decode::<Binary>() {
        // SAFETY: as above; SQLITE_TRANSIENT has SQLite copy the bytes before it returns.
        return Ok(unsafe {
            ffi::sqlite3_bind_blob64(
                statement,
                position,
                binary.as_ptr().cast(),
                binary.len() as u64,
                ffi::SQLITE_TRANSIENT(),
            )
        });
    }
    if term.is_atom() {
        // SAFETY: as above.
        return Ok(unsafe { ffi::sqlite3_bind_null(statement, position) });
    }
    Err(format!("parameter {position} is neither integer, binary nor nil"))
}

/// The current row of `statement` as a list.
///
/// # Safety
/// The last step of `statement` must have answered `SQLITE_ROW`.
pub(crate) unsafe fn row<'a>(env: Env<'a>, statement: *mut ffi::sqlite3_stmt) -> Term<'a> {
    // SAFETY: the caller vouches that there is a row to read.
    let columns = unsafe { ffi::sqlite3_column_count(statement) };
    let values: Vec<Term<'a>> =
        // SAFETY: as above, and the position is below the number of columns.
        (0..columns).map(|column| unsafe { value(env, statement, column) }).collect();
    values.encode(env)
}

/// # Safety
/// As for [`row`], with `column` below the number of columns.
unsafe fn value<'a>(env: Env<'a>, statement: *mut ffi::sqlite3_stmt, column: c_int) -> Term<'a> {
    // SAFETY: the caller vouches for statement and column. The pointer is asked for
    // before the length, as SQLite requires, and the bytes are copied out at once.
    unsafe {
        match ffi::sqlite3_column_type(statement, column) {
            ffi::SQLITE_INTEGER => ffi::sqlite3_column_int64(statement, column).encode(env),
            ffi::SQLITE_NULL => rustler::types::atom::nil().to_term(env),
            _ => {
                let bytes = ffi::sqlite3_column_blob(statement, column).cast::<u8>();
                let length = ffi::sqlite3_column_bytes(statement, column) as usize;
                if length == 0 {
                    NewBinary::new(env, 0).into()
                } else {
                    NewBinary::from_slice(env, std::slice::from_raw_parts(bytes, length)).into()
                }
            }
        }
    }
}
