//! The one page that talks to `c10d.cpp`. Pointers to tensors are torch-sys' own: both sides mean `at::Tensor*`.

#![allow(unsafe_code, reason = "c10d is libtorch's, behind a C interface of ours")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    time::Duration,
};

use tch::Tensor;
use torch_sys::C_tensor;

use super::wire::{Operation, Place, Poll};

/// Room for what went wrong.
const ROOM: usize = 1024;

const DONE: c_int = 0;
const PENDING: c_int = 2;

unsafe extern "C" {
    fn soft_lmccl_store_open(
        host: *const c_char,
        port: c_int,
        serves: bool,
        timeout: i64,
        store: *mut *mut c_void,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_store_close(store: *mut c_void);
    fn soft_lmccl_store_add(
        store: *mut c_void,
        key: *const c_char,
        by: i64,
        value: *mut i64,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_store_set(
        store: *mut c_void,
        key: *const c_char,
        bytes: *const c_char,
        length: i64,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_store_get(
        store: *mut c_void,
        key: *const c_char,
        bytes: *mut c_char,
        length: *mut i64,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_group_open(
        store: *mut c_void,
        attempt: *const c_char,
        master: *const c_char,
        rank: c_int,
        size: c_int,
        timeout: i64,
        cuda: bool,
        group: *mut *mut c_void,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_group_close(group: *mut c_void);
    fn soft_lmccl_start(
        group: *mut c_void,
        operation: c_int,
        output: *mut C_tensor,
        input: *mut C_tensor,
        counts_out: *const i64,
        counts_in: *const i64,
        ranks: c_int,
        root: c_int,
        work: *mut *mut c_void,
        message: *mut c_char,
        room: c_int,
    ) -> c_int;
    fn soft_lmccl_wait(work: *mut c_void, timeout: i64, message: *mut c_char, room: c_int) -> c_int;
    fn soft_lmccl_work_close(work: *mut c_void);
}

/// Calls with room for a message; what went wrong is its first line.
fn call(function: impl FnOnce(*mut c_char, c_int) -> c_int) -> Result<Poll, String> {
    let mut message = [0; ROOM];
    match function(message.as_mut_ptr(), ROOM as c_int) {
        DONE => Ok(Poll::Done),
        PENDING => Ok(Poll::Pending),
        _ => {
            // SAFETY: `snprintf` ends what it writes with a zero, within the room.
            let text = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
            Err(text.lines().next().unwrap_or_default().to_owned())
        }
    }
}

fn text(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// A connection to the store of a group.
#[derive(Debug)]
pub(super) struct Store(*mut c_void);

// SAFETY: `TCPStore` takes a lock around each operation.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    pub(super) fn open(host: &str, port: u16, serves: bool, timeout: Duration) -> Result<Self, String> {
        let (host, mut store) = (text(host), ptr::null_mut());
        // SAFETY: the strings and the place for the result outlive the call.
        call(|message, room| unsafe {
            let timeout = milliseconds(timeout);
            soft_lmccl_store_open(host.as_ptr(), port.into(), serves, timeout, &mut store, message, room)
        })?;
        Ok(Self(store))
    }

    pub(super) fn add(&self, key: &str, by: i64) -> Result<i64, String> {
        let (key, mut value) = (text(key), 0);
        // SAFETY: `self` holds an open store; key and place outlive the call.
        call(|message, room| unsafe { soft_lmccl_store_add(self.0, key.as_ptr(), by, &mut value, message, room) })?;
        Ok(value)
    }

    pub(super) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let key = text(key);
        // SAFETY: `self` holds an open store; key and value outlive the call, which copies them.
        call(|message, room| unsafe {
            let length = value.len() as i64;
            soft_lmccl_store_set(self.0, key.as_ptr(), value.as_ptr().cast(), length, message, room)
        })
        .map(drop)
    }

    /// What a key was set to, up to 4,096 bytes; `None` if it was not.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, String> {
        let mut bytes = vec![0u8; 4096];
        let (key, mut length) = (text(key), bytes.len() as i64);
        // SAFETY: `self` holds an open store; `bytes` has room for `length` bytes.
        let poll = call(|message, room| unsafe {
            soft_lmccl_store_get(self.0, key.as_ptr(), bytes.as_mut_ptr().cast(), &mut length, message, room)
        })?;
        bytes.truncate(length as usize);
        Ok(match poll {
            Poll::Done => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Poll::Pending => None,
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: from `soft_lmccl_store_open`; closed once.
        unsafe { soft_lmccl_store_close(self.0) }
    }
}

/// The ranks, as one backend of c10d connects them.
#[derive(Debug)]
pub(super) struct Backend(*mut c_void);

// SAFETY: a backend of c10d may be called from any thread; the order of calls is kept by the lock of `Wire`.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    pub(super) fn open(store: &Store, place: &Place, timeout: Duration, cuda: bool) -> Result<Self, String> {
        let (attempt, master, mut group) = (text(&place.attempt), text(&place.master), ptr::null_mut());
        let (rank, size) = (place.rank as c_int, place.size as c_int);
        let timeout = milliseconds(timeout);
        // SAFETY: `store` is open, and the group holds a reference of its own to it; the strings outlive the call.
        call(|message, room| unsafe {
            let (attempt, master) = (attempt.as_ptr(), master.as_ptr());
            soft_lmccl_group_open(store.0, attempt, master, rank, size, timeout, cuda, &mut group, message, room)
        })?;
        Ok(Self(group))
    }

    /// Starts an operation on contiguous tensors, of which c10d holds references until it is done.
    pub(super) fn start(&self, operation: &Operation<'_>) -> Result<Work, String> {
        let none: &[i64] = &[];
        let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut();
        let (number, output, input, counts_out, counts_in, root) = match operation {
            Operation::Sum(tensor) => (0, pointer(tensor), pointer(tensor), none, none, 0),
            Operation::Max(tensor) => (1, pointer(tensor), pointer(tensor), none, none, 0),
            Operation::Gather { output, input } => (2, pointer(output), pointer(input), none, none, 0),
            Operation::Exchange { output, input, counts_out, counts_in } => {
                (3, pointer(output), pointer(input), *counts_out, *counts_in, 0)
            }
            Operation::Broadcast { tensor, root } => (4, pointer(tensor), pointer(tensor), none, none, *root as c_int),
        };
        assert_eq!(counts_out.len(), counts_in.len(), "rows of each rank on both sides");
        let ranks = counts_out.len() as c_int;
        let (counts_out, counts_in) = (counts_out.as_ptr(), counts_in.as_ptr());
        let mut work = ptr::null_mut();
        // SAFETY: the group is open, the tensors are borrowed, and the counts are `ranks` numbers each.
        call(|message, room| unsafe {
            let work = &mut work;
            soft_lmccl_start(self.0, number, output, input, counts_out, counts_in, ranks, root, work, message, room)
        })?;
        Ok(Work(work))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: from `soft_lmccl_group_open`; closed once.
        unsafe { soft_lmccl_group_close(self.0) }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Work(*mut c_void);

impl Work {
    pub(super) fn wait(&self, timeout: Duration) -> Result<Poll, String> {
        // SAFETY: from `soft_lmccl_start`, not closed yet.
        call(|message, room| unsafe { soft_lmccl_wait(self.0, milliseconds(timeout), message, room) })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: from `soft_lmccl_start`; closed once. The operation itself holds what it needs.
        unsafe { soft_lmccl_work_close(self.0) }
    }
}
