//! The allocator of the programs.

use mimalloc::MiMalloc;

/// Takes about half of the instructions of the allocator of glibc (`bench/README.md`, Instructions). Its feature
/// `no_thp` turns off transparent huge pages, with which an idle process would occupy 8 MB more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
