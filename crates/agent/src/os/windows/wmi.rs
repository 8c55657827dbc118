//! Questions to Windows Management Instrumentation. To be asked on a thread that may wait: the service behind it, and the
//! drivers behind that, take their time.
#![expect(unsafe_code, reason = "the system's calls")]

use std::io;
use std::marker::PhantomData;
use windows::Win32::Foundation::VARIANT_TRUE;
use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, COINIT_MULTITHREADED, CoCreateInstance, CoInitializeEx, CoSetProxyBlanket,
    CoUninitialize, EOAC_NONE, RPC_C_AUTHN_LEVEL_CALL, RPC_C_IMP_LEVEL_IMPERSONATE,
};
use windows::Win32::System::Rpc::{RPC_C_AUTHN_WINNT, RPC_C_AUTHZ_NONE};
use windows::Win32::System::Variant::{
    VARIANT, VT_BOOL, VT_BSTR, VT_I2, VT_I4, VT_R4, VT_R8, VT_UI1, VT_UI2, VT_UI4,
};
use windows::Win32::System::Wmi::{
    IWbemClassObject, IWbemLocator, IWbemServices, WBEM_E_INVALID_NAMESPACE, WBEM_FLAG_CONNECT_USE_MAX_WAIT,
    WBEM_FLAG_FORWARD_ONLY, WBEM_FLAG_RETURN_IMMEDIATELY, WbemLocator,
};
use windows::core::{BSTR, HSTRING, PCWSTR};

/// Objects of one answer that are looked at.
const MAX_OBJECTS: usize = 1_024;
/// How long one object is waited for.
const WAIT_MS: i32 = 5_000;

/// COM on this thread, as long as this lives.
struct Com(PhantomData<*const ()>);

impl Com {
    fn open() -> io::Result<Self> {
        // SAFETY: every call that succeeds is paired with the one in `drop`, on this thread: the type is not `Send`.
        unsafe { CoInitializeEx(None, COINIT_MULTITHREADED).ok() }.map_err(failed)?;
        Ok(Self(PhantomData))
    }
}

impl Drop for Com {
    fn drop(&mut self) {
        // SAFETY: paired with the call in `open`.
        unsafe { CoUninitialize() }
    }
}

/// A namespace that answers.
pub struct Namespace {
    // Before COM itself: fields are dropped in this order.
    services: IWbemServices,
    _com: Com,
}

impl Namespace {
    /// Opens `ROOT\…` of this machine; `None` where nothing of that name is installed.
    pub fn open(path: &str) -> io::Result<Option<Self>> {
        let com = Com::open()?;
        let none = BSTR::new();
        // SAFETY: the class is what the interface belongs to; all texts live until the calls return.
        let connected = unsafe {
            let locator: IWbemLocator =
                CoCreateInstance(&WbemLocator, None, CLSCTX_INPROC_SERVER).map_err(failed)?;
            let wait = WBEM_FLAG_CONNECT_USE_MAX_WAIT.0;
            locator.ConnectServer(&BSTR::from(path), &none, &none, &none, wait, &none, None)
        };
        let services = match connected {
            Err(error) if error.code().0 == WBEM_E_INVALID_NAMESPACE.0 => return Ok(None),
            connected => connected.map_err(failed)?,
        };
        // SAFETY: the proxy lives; nothing else is handed over.
        unsafe {
            CoSetProxyBlanket(
                &services,
                RPC_C_AUTHN_WINNT,
                RPC_C_AUTHZ_NONE,
                None,
                RPC_C_AUTHN_LEVEL_CALL,
                RPC_C_IMP_LEVEL_IMPERSONATE,
                None,
                EOAC_NONE,
            )
        }
        .map_err(failed)?;
        Ok(Some(Self { services, _com: com }))
    }

    /// The objects that a query finds, each handed to `take`. A class that is not there finds nothing.
    pub fn query<T>(&self, query: &str, take: impl Fn(&Object) -> Option<T>) -> Vec<T> {
        let flags = WBEM_FLAG_FORWARD_ONLY | WBEM_FLAG_RETURN_IMMEDIATELY;
        // SAFETY: the texts live until the call returns.
        let found = unsafe { self.services.ExecQuery(&BSTR::from("WQL"), &BSTR::from(query), flags, None) };
        let Ok(found) = found else { return Vec::new() };
        let mut taken = Vec::new();
        for _ in 0..MAX_OBJECTS {
            let (mut object, mut count) = ([None], 0);
            // SAFETY: there is room for the one object that is asked for.
            let result = unsafe { found.Next(WAIT_MS, &mut object, &mut count) };
            let [Some(object)] = object else {
                if result.is_err() {
                    tracing::debug!(query, %result, "WMI does not answer");
                }
                break;
            };
            taken.extend(take(&Object(object)));
        }
        taken
    }
}

/// One object of an answer.
pub struct Object(IWbemClassObject);

impl Object {
    fn get(&self, property: &str) -> Option<VARIANT> {
        let (name, mut value) = (HSTRING::from(property), VARIANT::default());
        // SAFETY: the name lives until the call returns, and the value is an empty one to be filled.
        unsafe { self.0.Get(PCWSTR(name.as_ptr()), 0, &mut value, None, None) }.ok()?;
        Some(value)
    }

    /// A property that is a text.
    pub fn text(&self, property: &str) -> Option<String> {
        let value = self.get(property)?;
        // SAFETY: the kind says which field holds the value.
        let text = unsafe {
            let inner = &value.Anonymous.Anonymous;
            (inner.vt == VT_BSTR).then(|| inner.Anonymous.bstrVal.to_string())
        };
        text.filter(|text| !text.is_empty())
    }

    /// A property that is a number. Those of 64 bits come as texts.
    pub fn number(&self, property: &str) -> Option<f64> {
        let value = self.get(property)?;
        // SAFETY: the kind says which field holds the value.
        unsafe {
            let inner = &value.Anonymous.Anonymous;
            let field = &inner.Anonymous;
            match inner.vt {
                VT_I4 => Some(f64::from(field.lVal)),
                VT_UI4 => Some(f64::from(field.ulVal)),
                VT_I2 => Some(f64::from(field.iVal)),
                VT_UI2 => Some(f64::from(field.uiVal)),
                VT_UI1 => Some(f64::from(field.bVal)),
                VT_R4 => Some(f64::from(field.fltVal)),
                VT_R8 => Some(field.dblVal),
                VT_BOOL => Some(if field.boolVal == VARIANT_TRUE { 1.0 } else { 0.0 }),
                VT_BSTR => field.bstrVal.to_string().trim().parse().ok(),
                _ => None,
            }
        }
    }
}

fn failed(error: windows::core::Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_itself_and_what_is_not_there_is_nothing() {
        let namespace = Namespace::open(r"ROOT\CIMV2").unwrap().unwrap();
        let systems = namespace.query("SELECT Caption, BuildNumber FROM Win32_OperatingSystem", |system| {
            Some((system.text("Caption")?, system.number("BuildNumber")?, system.text("NoSuchProperty")))
        });
        assert!(
            matches!(&systems[..], [(name, build, None)] if name.contains("Windows") && *build > 1_000.0)
        );
        assert!(namespace.query("SELECT * FROM NoSuchClass", |_| Some(())).is_empty());
        assert!(namespace.query("no query", |_| Some(())).is_empty());
        assert!(Namespace::open(r"ROOT\NoSuchNamespace").unwrap().is_none());
    }
}
