#pragma once
/// \file
/// The memory of the test device: addresses that nothing but the device can use.
///
/// What the host is given is an address in pages that nobody may read or write (PROT_NONE); the bytes lie elsewhere, in
/// a host allocation that only shadow() finds. An operation of LibTorch that takes a device tensor for one of the CPU
/// therefore ends the program at once instead of giving the right result by accident: a suite that passes proves that
/// no kernel ran on device memory except through this device's operators and its fallback. Freed pages are unmapped, so
/// that a tensor used after its storage is caught as well, and an address sanitizer sees every byte past an end.

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>

namespace ivf::test_device {

/// Devices that there are.
inline constexpr c10::DeviceIndex device_count = 2;

/// The device that the calling thread uses.
c10::DeviceIndex current_device() noexcept;
void set_current_device(c10::DeviceIndex index);

/// Allocates on the current device. Each has as many bytes as the environment variable IVF_TEST_DEVICE_MEMORY says when
/// it is asked (without it: no limit); c10::Error when they do not suffice.
c10::Allocator& allocator();

/// Where the bytes behind an address of the device are. c10::Error when the address is not of this device.
void* shadow(const void* address);

}  // namespace ivf::test_device
