#pragma once
/// \file
/// The arithmetic ceiling of an instruction-set level on this machine, measured on registers.

namespace ivf::bench {

/// FLOP/s of one thread; 0 for a level without a loop of its own (scalar).
double peak_flops(const char* level);

}  // namespace ivf::bench
