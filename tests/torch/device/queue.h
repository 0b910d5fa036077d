#pragma once
/// \file
/// The device's queue of copies to the host. One that is not to block is carried out when the thread next waits for the
/// device, and until then its destination holds rubbish: whoever reads too early reads that, as on a device that works
/// beside the host. Waits are counted.

#include <ATen/ATen.h>

#include <cstdint>

namespace ivf::test_device {

/// Takes a copy of `values` (a host tensor) now, to be written to `to` when the calling thread waits.
void copy_later(const at::Tensor& values, const at::Tensor& to);
/// Carries out what the calling thread has queued. Not counted, and nothing is done, inside an operator of the device.
void wait_for_device();

/// The calling thread works as the device: its own copies are no waits of the host.
class InsideDevice {
 public:
  InsideDevice();
  InsideDevice(const InsideDevice&) = delete;
  InsideDevice& operator=(const InsideDevice&) = delete;
  ~InsideDevice();
};
bool inside_device() noexcept;

}  // namespace ivf::test_device
