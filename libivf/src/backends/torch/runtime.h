#pragma once
/// \file
/// One device of LibTorch: guards, copies to and from it, and what it can do. Nothing here is particular to a vendor.

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backends/torch/build_info.h"
#include "ivf/device.hpp"
#include "ivf/error.hpp"
#include "ivf/search.hpp"

namespace ivf::detail::torch_backend {

/// Bytes on one device, over all that this module has put there.
struct DeviceLedger {
  std::atomic<std::uint64_t> held{0};  ///< By indexes now.
  std::atomic<std::uint64_t> most{0};  ///< The largest that `held` ever was: LibTorch keeps freed memory for itself.
};

class Runtime {
 public:
  /// Throws Error(misuse) when the device is not there.
  static std::shared_ptr<Runtime> open(const std::string& device);

  at::Device device() const noexcept { return device_; }
  const std::string& name() const noexcept { return name_; }
  bool on_host() const noexcept { return device_.is_cpu(); }
  bool float64() const noexcept { return float64_; }
  /// Name, description and memory as they are now.
  DeviceInfo describe() const;
  static DeviceInfo describe(const std::string& device);

  /// Throws Error(failed) when `bytes` more for `what` do not fit.
  void require_memory(std::uint64_t bytes, const std::string& what) const;
  DeviceLedger& ledger() const noexcept { return *ledger_; }

  at::TensorOptions options(at::ScalarType type) const { return at::TensorOptions().dtype(type).device(device_); }
  /// Host memory from which copies to the device need not wait: pinned where LibTorch can.
  at::Tensor staging(at::IntArrayRef sizes, at::ScalarType type) const;
  /// Starts a copy of a host tensor that came from staging().
  at::Tensor upload(const at::Tensor& host) const { return on_host() ? host : host.to(device_, /*non_blocking=*/true); }
  /// Copies small host data through staging memory.
  template <class T>
  at::Tensor upload(const T* values, std::size_t count, at::ScalarType type) const {
    at::Tensor host = staging({static_cast<std::int64_t>(count)}, type);
    static_assert(std::is_trivially_copyable_v<T>);
    std::copy_n(values, count, static_cast<T*>(host.data_ptr()));
    return upload(host);
  }

 private:
  Runtime(at::Device device, std::string name);
  /// Throws Error(failed) unless matrix products keep float32's precision, on which the bounds rely.
  void check_products() const;
  bool probe_float64() const;

  at::Device device_;
  std::string name_;
  bool float64_ = true;
  DeviceLedger* ledger_ = nullptr;
};

/// Bytes of what an index keeps on a device, in its ledger.
class Reservation {
 public:
  Reservation() = default;
  /// Throws Error(failed) when `bytes` for `what` do not fit.
  Reservation(std::shared_ptr<const Runtime> runtime, std::uint64_t bytes, const std::string& what);
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(runtime_, other.runtime_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

 private:
  std::shared_ptr<const Runtime> runtime_;
  std::uint64_t bytes_ = 0;
};

/// The LibTorch that is loaded.
const BuildInfo& build_info();
/// Every device that it can use, the CPU first, named as users name them.
std::vector<DeviceInfo> torch_devices();

/// Results that come back together: all but the last copy are only started, so that the host waits once.
class Download {
 public:
  explicit Download(const Runtime& runtime) : runtime_(runtime) {}
  /// Returns the place where the values will be after finish().
  at::Tensor add(const at::Tensor& values);
  void finish(SearchStats& stats);

 private:
  const Runtime& runtime_;
  std::vector<std::pair<at::Tensor, at::Tensor>> copies_;  ///< From, to.
};

/// The one value of a tensor; the host waits for the device.
std::int64_t item(const at::Tensor& value, SearchStats& stats);

/// Throws what LibTorch threw, with its first line, as Error(failed).
[[noreturn]] void rethrow(const Runtime& runtime, const c10::Error& error);

/// See on_device().
void prepare_call(const Runtime& runtime, unsigned threads);

/// Runs a call of the backend: on its device, without gradients, with `threads` threads where that is the CPU, with
/// full float32 products, and with LibTorch's errors turned into the library's.
template <class Body>
auto on_device(const Runtime& runtime, unsigned threads, Body&& body) {
  try {
    const c10::InferenceMode inference;
    c10::OptionalDeviceGuard guard;
    if (!runtime.on_host()) guard.reset_device(runtime.device());
    prepare_call(runtime, threads);
    return body();
  } catch (const c10::Error& error) {
    rethrow(runtime, error);
  }
}

}  // namespace ivf::detail::torch_backend
