#pragma once
/// \file
/// What a process that works on a hostile file may ask of the kernel.

#include <string>

namespace ivf::datasets {

/// Opens a file, and gives up everything else for good: from now on this process has the files that are open, its
/// memory and its end. The kernel refuses it every other file, programs, sockets, other processes, and memory with code
/// in it. Opening `path` gives the file that was opened here, or the error that it had: a library that opens files by
/// name works as before.
///
/// Returns whether it does. Where the kernel has no such filters, and on processors other than x86-64 and 64-bit Arm,
/// nothing is refused. Nor under sanitizers and valgrind: they live in the same process, and read files and make code.
bool confine_to_file(const std::string& path, int flags) noexcept;

}  // namespace ivf::datasets
