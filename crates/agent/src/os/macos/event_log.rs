//! macOS' unified log (`os_log`), through the call that Apple's compiler makes of its macro: there is no function for it.
//! Built here, not run.
#![expect(unsafe_code, reason = "the system's calls")]

use std::ffi::{CString, c_char, c_void};
use std::io;

/// What entries name as their subsystem: `log show --predicate 'subsystem == "com.gururmm.agent"'`.
const SUBSYSTEM: &std::ffi::CStr = c"com.gururmm.agent";
const CATEGORY: &std::ffi::CStr = c"agent";

/// The format of every entry: a text that anybody who may read the log may read. The log's readers look formats up in the
/// program, in this section of it.
#[unsafe(link_section = "__TEXT,__oslogstring")]
static FORMAT: [u8; 11] = *b"%{public}s\0";

unsafe extern "C" {
    /// Where this program begins; the linker's.
    static __dso_handle: u8;

    fn os_log_create(subsystem: *const c_char, category: *const c_char) -> *mut c_void;
    fn _os_log_impl(
        program: *const c_void,
        log: *mut c_void,
        kind: u8,
        format: *const c_char,
        arguments: *const u8,
        size: u32,
    );
}

/// How grave an entry is (`os/log.h`).
#[derive(Debug, Clone, Copy)]
pub enum Severity {
    /// Kept on the disk, as an error is: `info` would stay in memory for a while only.
    Information = 0x00,
    Warning = 0x10,
    Error = 0x11,
}

/// The agent's place in the log.
#[derive(Debug)]
pub struct EventLog(*mut c_void);

// SAFETY: logs are never released, and take entries from any thread.
unsafe impl Send for EventLog {}
// SAFETY: see above.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        // SAFETY: both texts end with a NUL and are copied.
        let log = unsafe { os_log_create(SUBSYSTEM.as_ptr(), CATEGORY.as_ptr()) };
        if log.is_null() { Err(io::ErrorKind::Unsupported.into()) } else { Ok(Self(log)) }
    }

    /// Writes an entry. The system cuts it at a kibibyte.
    pub fn write(&self, severity: Severity, text: &str) -> io::Result<()> {
        let text = CString::new(text.replace('\0', "")).map_err(io::Error::other)?;
        let arguments = arguments(&text);
        // SAFETY: format and text end with a NUL; the buffer describes one text, is as large as is said, and all of it is read
        // before the call returns.
        unsafe {
            _os_log_impl(
                (&raw const __dso_handle).cast(),
                self.0,
                severity as u8,
                FORMAT.as_ptr().cast(),
                arguments.as_ptr(),
                arguments.len() as u32,
            );
        }
        Ok(())
    }
}

/// One argument as `__builtin_os_log_format` lays it out: a byte that says that there are others than numbers, how many, then
/// of each its kind and whether it is public, its size, and the pointer itself.
fn arguments(text: &CString) -> [u8; 12] {
    const NOT_ONLY_NUMBERS: u8 = 0x02;
    const PUBLIC_TEXT: u8 = 0x22;
    let mut buffer = [NOT_ONLY_NUMBERS, 1, PUBLIC_TEXT, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in buffer.iter_mut().skip(4).zip((text.as_ptr() as usize).to_ne_bytes()) {
        *to = from;
    }
    buffer
}
