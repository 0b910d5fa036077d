// What makes LibTorch see the device: its guard, and in newer versions its name and its hooks.

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "memory.h"
#include "queue.h"
#include "version.h"

#if IVF_TEST_DEVICE_SINCE(2, 3)
#include <ATen/detail/PrivateUse1HooksInterface.h>
#endif

namespace ivf::test_device {
namespace {

constexpr c10::DeviceType type_here = c10::DeviceType::PrivateUse1;

/// Devices have one stream each.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return type_here; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {type_here, current_device()}; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.type() == type_here, "test device: expected a device of its own, found ", device);
    if (device.has_index()) set_current_device(device.index());
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0 && device.index() < device_count) set_current_device(device.index());
  }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return getStream(stream.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { wait_for_device(); }
#if IVF_TEST_DEVICE_SINCE(2, 3)
  void synchronizeDevice(const c10::DeviceIndex) const override { wait_for_device(); }
#endif
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

#if IVF_TEST_DEVICE_SINCE(2, 3)
/// LibTorch asks these of any accelerator that is there, for instance whether host memory is pinned.
struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void*) const override { return false; }
};
#endif

/// Runs when the plugin is opened.
struct Registration {
  Registration() {
    c10::SetAllocator(type_here, &allocator());
#if IVF_TEST_DEVICE_SINCE(2, 3)
    c10::register_privateuse1_backend("testdev");
    at::RegisterPrivateUse1HooksInterface(new Hooks);  // LibTorch keeps it until the process ends.
#endif
  }
} const registration;

}  // namespace
}  // namespace ivf::test_device
