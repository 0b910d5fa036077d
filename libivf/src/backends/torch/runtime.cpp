#include "backends/torch/runtime.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <map>
#include <mutex>

#include <fmt/format.h>

#include "backends/torch/device_memory.h"

namespace ivf::detail::torch_backend {
namespace {

/// Devices of a type that LibTorch sees now; 0 when nothing drives that type.
int device_count(c10::DeviceType type) {
  if (!c10::impl::hasDeviceGuardImpl(type)) return 0;
  return static_cast<int>(c10::impl::getDeviceGuardImpl(type)->deviceCount());
}

std::string mebibytes(std::uint64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 0x1p20); }

std::string found_devices() {
  std::string list;
  for (const DeviceInfo& device : torch_devices()) list += (list.empty() ? "" : ", ") + device.name;
  const std::string runtime = build_info().describe();
  return fmt::format("{} (LibTorch {}, {})", list, TORCH_VERSION, runtime.empty() ? "CPU only" : runtime);
}

[[noreturn]] void not_there(const std::string& device, const std::string& remedy) {
  throw Error(ErrorKind::misuse, fmt::format("expected the device {}, found {}; {}", device, found_devices(), remedy));
}

/// LibTorch's device for a name, and the name with its number.
std::pair<at::Device, std::string> find_device(const std::string& text) {
  const DeviceName name = DeviceName::parse(text);
  if (name.kind == "cpu") return {at::Device(at::kCPU), "cpu"};
  const bool plugin = name.kind == "dml";
  if (!plugin && build_info().accelerator() != name.kind) {
    if (!build_info().accelerator().empty()) {
      not_there(text, fmt::format("this LibTorch's devices are called {}", build_info().accelerator()));
    }
    not_there(text, fmt::format("build the module with a LibTorch for {} (docs/devices.md)", name.kind));
  }
  const c10::DeviceType type = plugin ? at::kPrivateUse1 : at::kCUDA;
  const int count = device_count(type);
  if (count == 0) {
    not_there(text, plugin ? "load the library that brings it with --torch-plugin or IVF_TORCH_PLUGIN"
                           : "see that the driver is loaded and that the process may use the device");
  }
  if (name.all) {
    throw Error(ErrorKind::misuse,
                fmt::format("expected one device for LibTorch's operations, found {}; name one (--device {}:0), or "
                            "choose the native backend, which computes on all of them in float32",
                            text, name.kind));
  }
  const unsigned index = name.index.value_or(0);
  if (index >= static_cast<unsigned>(count)) not_there(text, "choose one of these");
  return {at::Device(type, static_cast<c10::DeviceIndex>(index)), fmt::format("{}:{}", name.kind, index)};
}

DeviceLedger& ledger_of(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, DeviceLedger> ledgers;
  const std::lock_guard lock(mutex);
  return ledgers[name];
}

}  // namespace

const BuildInfo& build_info() {
  static const BuildInfo info = BuildInfo::parse(at::show_config());
  return info;
}

std::vector<DeviceInfo> torch_devices() {
  std::vector<std::string> names{"cpu"};
  const std::string accelerator(build_info().accelerator());
  for (int i = 0; !accelerator.empty() && i < device_count(at::kCUDA); ++i) {
    names.push_back(fmt::format("{}:{}", accelerator, i));
  }
  for (int i = 0; i < device_count(at::kPrivateUse1); ++i) names.push_back(fmt::format("dml:{}", i));
  std::vector<DeviceInfo> devices;
  devices.reserve(names.size());
  for (const std::string& name : names) devices.push_back(Runtime::describe(name));
  return devices;
}

Runtime::Runtime(at::Device device, std::string name)
    : device_(device), name_(std::move(name)), ledger_(&ledger_of(name_)) {
  check_products();
  float64_ = probe_float64();
}

void Runtime::check_products() const {
  on_device(*this, 1, [this] {
    // TensorFloat-32 and bfloat16 round this value to 1, and lose 2^-5 in the sum.
    constexpr double value = 1 + 0x1p-12;
    constexpr std::int64_t n = 128;
    const at::Tensor left = at::full({n, n}, value, options(at::kFloat)), right = at::ones({n, n}, options(at::kFloat));
    const auto found = at::mm(left, right).select(0, 0).select(0, 0).to(at::kCPU).item<float>();
    if (static_cast<double>(found) == static_cast<double>(n) * value) return;
    throw Error(ErrorKind::failed,
                fmt::format("{}: expected products of full float32 precision, found {} in place of {}; "
                            "the results could not be proven: see what sets LibTorch to less",
                            name_, found, static_cast<double>(n) * value));
  });
}

std::shared_ptr<Runtime> Runtime::open(const std::string& device) {
  auto [where, name] = find_device(device);
  return std::shared_ptr<Runtime>(new Runtime(where, std::move(name)));
}

bool Runtime::probe_float64() const {
  try {
    return on_device(*this, 1, [this] {
      const at::Tensor third = at::full({4}, 1.0, options(at::kDouble)) / 3;
      return (third * third).sum().to(at::kCPU).item<double>() == 4 * ((1.0 / 3) * (1.0 / 3));
    });
  } catch (const Error&) {
    return false;  // DirectML, for one, has no float64.
  }
}

DeviceInfo Runtime::describe(const std::string& device) { return open(device)->describe(); }

DeviceInfo Runtime::describe() const {
  DeviceInfo info;
  info.name = name_;
  info.backend = "torch";
  info.float64 = float64_;
  info.detail = fmt::format("LibTorch {}", TORCH_VERSION);
  if (device_.is_cuda()) {
    info.detail += ", " + build_info().describe();
    info.description = device_model(build_info().runtime, device_.index());
    c10::OptionalDeviceGuard guard;
    guard.reset_device(device_);
    if (const auto memory = device_memory(build_info().runtime)) {
      info.total_memory = memory->total;
      info.free_memory = memory->free;
    }
  } else if (!on_host()) {
    info.description = "a device that a plugin brings";
  }
  return info;
}

void Runtime::require_memory(std::uint64_t bytes, const std::string& what) const {
  if (!device_.is_cuda()) return;  // Other devices tell when an allocation fails.
  const DeviceInfo info = describe();
  if (info.total_memory == 0) return;
  // LibTorch keeps what was freed for its next allocation, and the driver counts that as used.
  const std::uint64_t kept = ledger_->most.load() - std::min(ledger_->most.load(), ledger_->held.load());
  const std::uint64_t free = std::min(info.total_memory, info.free_memory + kept);
  if (bytes <= free) return;
  throw Error(ErrorKind::failed,
              fmt::format("{}: expected room for {} of {}, found {} free of {}; free memory there, keep vectors in 16 "
                          "bits (--dtype), or use --device cpu",
                          name_, mebibytes(bytes), what, mebibytes(free), mebibytes(info.total_memory)));
}

Reservation::Reservation(std::shared_ptr<const Runtime> runtime, std::uint64_t bytes, const std::string& what)
    : runtime_(std::move(runtime)), bytes_(bytes) {
  DeviceLedger& ledger = runtime_->ledger();
  const std::uint64_t held = ledger.held += bytes;
  std::uint64_t most = ledger.most.load();
  while (held > most && !ledger.most.compare_exchange_weak(most, held)) {
  }
  try {
    runtime_->require_memory(bytes, what);
  } catch (...) {
    ledger.held -= bytes;
    throw;
  }
}

Reservation::~Reservation() {
  if (runtime_ != nullptr) runtime_->ledger().held -= bytes_;
}

at::Tensor Runtime::staging(at::IntArrayRef sizes, at::ScalarType type) const {
  return at::empty(sizes, at::TensorOptions().dtype(type).pinned_memory(device_.is_cuda()));
}

at::Tensor Download::add(const at::Tensor& values) {
  if (runtime_.on_host()) return values;
  at::Tensor host = runtime_.staging(values.sizes(), values.scalar_type());
  copies_.emplace_back(values, host);
  return host;
}

void Download::finish(SearchStats& stats) {
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    // The last copy waits for the device, and copies arrive in order.
    copies_[i].second.copy_(copies_[i].first, /*non_blocking=*/i + 1 < copies_.size());
  }
  if (!copies_.empty()) ++stats.host_syncs;
  copies_.clear();
}

std::int64_t item(const at::Tensor& value, SearchStats& stats) {
  if (!value.device().is_cpu()) ++stats.host_syncs;
  return value.to(at::kCPU).item<std::int64_t>();
}

void rethrow(const Runtime& runtime, const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  const std::string line = text.substr(0, text.find('\n'));
  const bool memory = line.find("out of memory") != std::string::npos;
  throw Error(
      ErrorKind::failed,
      fmt::format("{}: LibTorch {}: {}{}", runtime.name(), TORCH_VERSION, line,
                  memory ? "; give the search less with --max-memory, or keep vectors in 16 bits (--dtype)" : ""));
}

void prepare_call(const Runtime& runtime, unsigned threads) {
  // TensorFloat-32 rounds operands to 10 bits, which the bounds do not allow for.
  at::globalContext().setAllowTF32CuBLAS(false);
  if (runtime.on_host() && at::get_num_threads() != static_cast<int>(threads)) {
    at::set_num_threads(static_cast<int>(threads));
  }
}

}  // namespace ivf::detail::torch_backend
