//! A database handle and the statements prepared on it.

use crate::value;
use rusqlite::ffi;
use rustler::{Env, Term};
use std::ffi::{CStr, CString, c_int};
use std::ptr;

pub(crate) struct Connection {
    database: *mut ffi::sqlite3,
    statements: Vec<*mut ffi::sqlite3_stmt>,
}

// SAFETY: SQLite's objects may move between threads as long as one thread uses them
// at a time, which the lock around every `Connection` sees to.
unsafe impl Send for Connection {}

impl Connection {
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_NOMUTEX;
        let mut database = ptr::null_mut();
        // SAFETY: the path is a C string and `database` a place for the result.
        let code =
            unsafe { ffi::sqlite3_open_v2(path.as_ptr(), &mut database, flags, ptr::null()) };
        let connection = Self { database, statements: Vec::new() };
        connection.check(code)?;
        Ok(connection)
    }

    pub(crate) fn execute(&mut self, sql: &str) -> Result<(), String> {
        let sql = CString::new(sql).map_err(|error| error.to_string())?;
        // SAFETY: the handle is open and the text a C string; no callback is given.
        let code = unsafe {
            ffi::sqlite3_exec(self.database, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut())
        };
        self.check(code)
    }

    pub(crate) fn query<'a>(&mut self, env: Env<'a>, sql: &str) -> Result<Vec<Term<'a>>, String> {
        let statement = self.compile(sql)?;
        self.statements.push(statement);
        let rows = self.fetch_all(env, self.statements.len() - 1, &[]);
        self.statements.pop();
        // SAFETY: the statement was compiled above and nobody else has it.
        unsafe { ffi::sqlite3_finalize(statement) };
        rows
    }

    pub(crate) fn prepare(&mut self, statements: &[String]) -> Result<(), String> {
        for sql in statements {
            let statement = self.compile(sql)?;
            self.statements.push(statement);
        }
        Ok(())
    }

    pub(crate) fn fetch_all<'a>(
        &mut self,
        env: Env<'a>,
        statement: usize,
        binds: &[Term<'a>],
    ) -> Result<Vec<Term<'a>>, String> {
        self.bind(statement, binds)?;
        let mut rows = Vec::new();
        while let Some(row) = self.step(env, statement)? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Resets the statement first, so one that was left half read starts afresh.
    pub(crate) fn bind(&mut self, statement: usize, binds: &[Term<'_>]) -> Result<(), String> {
        let statement = self.statement(statement)?;
        // SAFETY: the statement lives as long as this connection. What reset answers
        // is the outcome of the step before it, which was reported then.
        unsafe { ffi::sqlite3_reset(statement) };
        for (position, term) in (1..).zip(binds) {
            // SAFETY: the statement was reset above.
            let code = unsafe { value::bind(statement, position, *term)? };
            self.check(code)?;
        }
        Ok(())
    }

    /// The next row, or `None` at the end. At the end or at an error the statement is
    /// reset, so that its read transaction ends with it.
    pub(crate) fn step<'a>(
        &mut self,
        env: Env<'a>,
        statement: usize,
    ) -> Result<Option<Term<'a>>, String> {
        let statement = self.statement(statement)?;
        // SAFETY: the statement lives as long as this connection.
        match unsafe { ffi::sqlite3_step(statement) } {
            // SAFETY: there is a row.
            ffi::SQLITE_ROW => Ok(Some(unsafe { value::row(env, statement) })),
            code => {
                let outcome = if code == ffi::SQLITE_DONE { Ok(None) } else { Err(self.message()) };
                // SAFETY: as above.
                unsafe { ffi::sqlite3_reset(statement) };
                outcome
            }
        }
    }

    fn compile(&self, sql: &str) -> Result<*mut ffi::sqlite3_stmt, String> {
        let sql = CString::new(sql).map_err(|error| error.to_string())?;
        let mut statement = ptr::null_mut();
        // SAFETY: the handle is open, the text a C string (-1: up to its end).
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                self.database,
                sql.as_ptr(),
                -1,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &mut statement,
                ptr::null_mut(),
            )
        };
        self.check(code)?;
        Ok(statement)
    }

    fn statement(&self, statement: usize) -> Result<*mut ffi::sqlite3_stmt, String> {
        self.statements.get(statement).copied().ok_or_else(|| format!("no statement {statement}"))
    }

    fn check(&self, code: c_int) -> Result<(), String> {
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(self.message()) }
    }

    fn message(&self) -> String {
        // SAFETY: the handle is open (or null, for which SQLite has a message as well)
        // and the text is copied before any other call on it.
        unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.database)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: nobody else holds the statements or the handle; the statements go
        // first, because SQLite refuses to close a handle that still has some.
        unsafe {
            for statement in &self.statements {
                ffi::sqlite3_finalize(*statement);
            }
            ffi::sqlite3_close(self.database);
        }
    }
}
