//! What a new process is given beside its command line: the one attribute that its start names.
#![expect(unsafe_code, reason = "the system's calls about new processes")]

use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::System::Console::HPCON;
use windows_sys::Win32::System::Threading::{
    DeleteProcThreadAttributeList, InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, UpdateProcThreadAttribute,
};

/// A list with one attribute in it.
pub(in crate::os) struct Attribute<'a> {
    /// Aligned as the list in it has to be.
    list: Vec<usize>,
    value: PhantomData<&'a [HANDLE]>,
}

impl<'a> Attribute<'a> {
    /// The handles that the process inherits, and no others of this one's. Each of them is to be let go there
    /// ([`let_inherit`]).
    pub(in crate::os) fn handles(handles: &'a [HANDLE]) -> io::Result<Self> {
        let value = handles.as_ptr().cast();
        Self::new(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, value, size_of_val(handles))
    }

    /// The console that is the process's.
    pub(in crate::os) fn console(console: HPCON) -> io::Result<Self> {
        // The handle itself is the value.
        Self::new(PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, console as *const _, size_of::<HPCON>())
    }

    fn new(kind: u32, value: *const core::ffi::c_void, bytes: usize) -> io::Result<Self> {
        let mut size = 0;
        // SAFETY: asks for the size only.
        unsafe { InitializeProcThreadAttributeList(null_mut(), 1, 0, &mut size) };
        let mut list = vec![0usize; size.div_ceil(size_of::<usize>())];
        // SAFETY: the list is as large as was asked for.
        if unsafe { InitializeProcThreadAttributeList(list.as_mut_ptr().cast(), 1, 0, &mut size) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let attribute = Self { list, value: PhantomData };
        // SAFETY: the list was made ready; the value is as large as is said, and outlives it.
        let is_set = unsafe {
            UpdateProcThreadAttribute(attribute.list(), 0, kind as usize, value, bytes, null_mut(), null())
        };
        if is_set == 0 { Err(io::Error::last_os_error()) } else { Ok(attribute) }
    }

    /// As the system's calls take it.
    pub(in crate::os) fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.list.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attribute<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made ready, and is deleted once.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

/// New processes that are told of it inherit the handle from now on.
pub(in crate::os) fn let_inherit(handle: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open.
    let is_set =
        unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) };
    if is_set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
