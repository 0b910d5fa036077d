// A module without native kernels.

#include "backends/torch/native.h"

namespace ivf::detail::torch_backend {

std::unique_ptr<Backend> open_native(const std::string&) { return nullptr; }

std::string native_isa(const std::string&) { return {}; }

}  // namespace ivf::detail::torch_backend
