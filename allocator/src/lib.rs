//! The allocator of the programs, and the only `unsafe` code.

use mimalloc::MiMalloc;

/// Takes about half of the instructions of the allocator of glibc (`bench/README.md`, Instructions). Its feature
/// `no_thp` turns off transparent huge pages, with which an idle process would occupy 8 MB more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Returns to the operating system what the calling thread has allocated and any thread has freed. The
/// allocator does this by itself only while the thread allocates. The time grows with the memory of the thread.
pub fn collect() {
    // SAFETY: the function may be called at any time, by any thread.
    #[expect(unsafe_code, reason = "a C function without arguments that point to memory")]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
