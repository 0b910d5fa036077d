#pragma once
/// \file
/// What a test asks of the test device, by dlsym() from the plugin. No LibTorch header here: the tests have none.

#include <cstdint>

extern "C" {

/// Bytes that are allocated on device 0.
__attribute__((visibility("default"))) std::uint64_t ivf_test_device_bytes();
/// The most that were allocated there at a time since the last call.
__attribute__((visibility("default"))) std::uint64_t ivf_test_device_peak();
/// Times that the host waited for a device since the plugin was loaded: blocking copies to the host, scalars, and
/// operators whose result has a size that depends on values.
__attribute__((visibility("default"))) std::uint64_t ivf_test_device_waits();
}
