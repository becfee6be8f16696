//! The few calls of OpenSSL that its Rust crate does not wrap: the retransmission timer of DTLS and the record buffers.
//!
//! They are worth it: the timer because a flight lost on the way would be waited for a whole second, the buffers because
//! they are 33 of the 80 KiB that a connected peer would take.

#![expect(unsafe_code, reason = "functions of OpenSSL that its crate does not wrap")]

use foreign_types::ForeignTypeRef;
use openssl::ssl::{SslRef, SslStream};
use std::ffi::{c_int, c_long, c_uint};
use std::time::Duration;

/// `DTLSv1_get_timeout` and `DTLSv1_handle_timeout` are macros over these (`openssl/ssl.h`).
const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;

/// First wait for an answer. RFC 6347 4.2.4.1 suggests 1 s and allows less for media that waits for it: this is above most
/// round trips, and a needless repetition is 1.5 kB.
const FIRST_TIMEOUT_US: c_uint = 200_000;
/// The wait doubles up to here; OpenSSL gives up after twelve, which then is after 27 s.
const MAX_TIMEOUT_US: c_uint = 3_000_000;

type TimerCallback = extern "C" fn(*mut openssl_sys::SSL, c_uint) -> c_uint;

unsafe extern "C" {
    fn DTLS_set_timer_cb(ssl: *mut openssl_sys::SSL, callback: Option<TimerCallback>);
    fn SSL_free_buffers(ssl: *mut openssl_sys::SSL) -> c_int;
    fn SSL_alloc_buffers(ssl: *mut openssl_sys::SSL) -> c_int;
}

/// Called with the wait before, in µs; 0 for a new flight.
extern "C" fn next_timeout(_ssl: *mut openssl_sys::SSL, previous_us: c_uint) -> c_uint {
    if previous_us == 0 {
        FIRST_TIMEOUT_US
    } else {
        previous_us.saturating_mul(2).min(MAX_TIMEOUT_US)
    }
}

/// Use our own retransmission waits.
pub(super) fn set_timer(ssl: &mut SslRef) {
    // SAFETY: the pointer is that of a live object borrowed for the call; the callback is 'static, ignores the pointer it
    // is given and does not unwind.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(next_timeout)) }
}

/// Have the first repetition fall due at once, so that tests need not wait for it.
#[cfg(test)]
pub(super) fn set_hasty_timer(ssl: &SslRef) {
    extern "C" fn hasty(_ssl: *mut openssl_sys::SSL, previous_us: c_uint) -> c_uint {
        if previous_us == 0 { 1 } else { 60_000_000 }
    }
    // SAFETY: as above.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(hasty)) }
}

/// How long until a flight has to be sent again; `None`: nothing is waiting for an answer.
pub(super) fn timeout<S>(stream: &mut SslStream<S>) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: a live object; this control takes a `struct timeval *` to write to and keeps no copy of it.
    let running = unsafe {
        openssl_sys::SSL_ctrl(
            stream.ssl().as_ptr(),
            DTLS_CTRL_GET_TIMEOUT,
            c_long::from(0u8),
            (&raw mut left).cast(),
        )
    };
    let seconds = Duration::from_secs(u64::try_from(left.tv_sec).unwrap_or(0));
    (running == 1).then(|| seconds + Duration::from_micros(u64::try_from(left.tv_usec).unwrap_or(0)))
}

/// Send the last flight again if its time has come; `false` when OpenSSL gave up on the peer.
pub(super) fn handle_timeout<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: a live object; this control takes no argument.
    let done =
        unsafe { openssl_sys::SSL_ctrl(stream.ssl().as_ptr(), DTLS_CTRL_HANDLE_TIMEOUT, 0, std::ptr::null_mut()) };
    done >= 0
}

/// Give back the record buffers, 33 KiB, which OpenSSL would keep between datagrams. Refused while they hold something.
pub(super) fn free_buffers<S>(stream: &mut SslStream<S>) {
    // SAFETY: a live object that nobody else uses; OpenSSL checks itself that nothing is pending in the buffers.
    unsafe {
        SSL_free_buffers(stream.ssl().as_ptr());
    }
}

/// Take record buffers again before reading or writing; `false` without memory.
pub(super) fn alloc_buffers<S>(stream: &mut SslStream<S>) -> bool {
    // SAFETY: a live object that nobody else uses; buffers that are there are kept.
    unsafe { SSL_alloc_buffers(stream.ssl().as_ptr()) == 1 }
}
