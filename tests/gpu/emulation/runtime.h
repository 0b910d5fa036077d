#pragma once
/// \file
/// A GPU of the tests: device code compiled for the CPU, under CUDA's names or, for functions of the host, CUDA's with
/// `emulated` in place of `cuda`. It holds what the engine uses of CUDA and nothing else, and computes every bit that a
/// device computes; of time, memory spaces and concurrency it shows little:
///
/// - work is done when it is put on a stream, block by block; the threads of a block are fibers, each of which runs
///   until it waits for others, in an order that can be changed (IVF_EMULATED_ORDER, grid.h);
/// - device memory is host memory that a device is known to own; it begins with a pattern that no test expects and is
///   filled with another one when it is given back (memory.h);
/// - what a device might tolerate is an error here: barriers that not all threads reach, writes past the shared memory
///   that was asked for, copies past the end of an allocation.

#include "emulation/host_api.h"
#include "emulation/kernel_language.h"
