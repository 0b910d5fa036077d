#pragma once
/// \file
/// A GPU with the native engine on it, which takes its memory from LibTorch: tensors and the engine share one pool.

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "backends/gpu/engine.h"
#include "backends/torch/runtime.h"
#include "parallel.h"

namespace ivf::detail::torch_backend {

/// Tensors of bytes. What is freed goes back to LibTorch, which gives it out again on the same stream.
class TensorMemory final : public gpu::Allocator {
 public:
  explicit TensorMemory(std::shared_ptr<const Runtime> runtime) : runtime_(std::move(runtime)) {}
  void* allocate(std::size_t bytes, gpu::StreamHandle stream) override;
  void release(void* memory, gpu::StreamHandle stream) noexcept override;

 private:
  std::shared_ptr<const Runtime> runtime_;
  std::mutex mutex_;  ///< A corpus may be freed by another thread than the one that searches.
  std::unordered_map<void*, at::Tensor> held_;
};

/// "sm_90"
std::string isa_of(const gpu::DeviceInfo& info);

/// The engine works on LibTorch's default stream, which is the toolkit's.
inline constexpr gpu::StreamHandle default_stream = nullptr;

/// Waits until the device has done what is on its stream.
void wait_for(const Runtime& runtime);

/// What the backend and all that it keeps on the device share.
class GpuDevice {
 public:
  /// `number` is the engine's number of the runtime's device.
  GpuDevice(std::shared_ptr<const Runtime> runtime, int number);

  const std::shared_ptr<const Runtime>& runtime() const noexcept { return runtime_; }
  const std::string& isa() const noexcept { return isa_; }  ///< As isa_of() has it.

  /// Calls body(engine) as on_device() does; one thread at a time. Errors of the engine name the device.
  template <class Body>
  auto run(unsigned threads, Body&& body) {
    const std::lock_guard lock(mutex_);
    return on_device(*runtime_, threads, [&] {
      try {
        return body(engine_);
      } catch (const Error& error) {
        throw Error(error.kind(), runtime_->name() + ": " + error.what());
      }
    });
  }

 private:
  std::shared_ptr<const Runtime> runtime_;
  std::string isa_;
  std::mutex mutex_;
  TensorMemory memory_;
  gpu::Engine engine_;
};

/// Copies results to where the caller wants them.
template <class T>
void copy_out(const at::Tensor& from, T* to, unsigned threads) {
  const auto* values = from.data_ptr<T>();
  constexpr std::size_t grain = std::size_t{1} << 18;
  parallel_for(
      threads, static_cast<std::size_t>(from.numel()), grain,
      [&](std::size_t begin, std::size_t end, unsigned) { std::copy(values + begin, values + end, to + begin); });
}

}  // namespace ivf::detail::torch_backend
