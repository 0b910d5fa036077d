// The operators of the test device. Those here know where its bytes are: allocation, views, copies and scalars. All
// others go through LibTorch's fallback, which copies the arguments to the host, calls the operator of the CPU, and
// copies the results back.
//
// With IVF_TEST_DEVICE_FLOAT64=0 in the environment it has no float64, as DirectML has none: such a tensor cannot be
// made on it.

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "memory.h"
#include "queue.h"
#include "version.h"

namespace ivf::test_device {
namespace {

constexpr c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

at::ScalarType checked_type(optional<at::ScalarType> asked) {
  const at::ScalarType type = c10::dtype_or_default(asked);
  const char* float64 = std::getenv("IVF_TEST_DEVICE_FLOAT64");
  const bool refused = float64 != nullptr && std::strcmp(float64, "0") == 0;
  TORCH_CHECK(!refused || type != at::kDouble, "test device: float64 is not supported");
  return type;
}

at::Tensor empty(at::IntArrayRef size, optional<at::ScalarType> type, optional<at::Layout>, optional<at::Device> device,
                 optional<bool>, optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_generic(size, &allocator(), keys, checked_type(type), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, optional<at::ScalarType> type,
                         optional<at::Layout>, optional<at::Device> device, optional<bool>) {
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_strided_generic(size, stride, &allocator(), keys, checked_type(type));
}

/// A host tensor over the bytes of a device tensor; any other tensor as it is.
at::Tensor on_host(const at::Tensor& tensor) {
  if (tensor.device().type() != at::kPrivateUse1) return tensor;
  return at::from_blob(shadow(tensor.data_ptr()), tensor.sizes(), tensor.strides(),
                       at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  const bool to_host = to.is_cpu();
  if (to_host && non_blocking && !inside_device()) {
    copy_later(on_host(from), to);
    return to;
  }
  if (to_host) wait_for_device();
  on_host(to).copy_(on_host(from));
  return to;
}

const at::Tensor& resize(const at::Tensor& self, at::IntArrayRef size, optional<at::MemoryFormat>) {
  c10::StorageImpl* storage = self.storage().unsafeGetStorageImpl();
  const std::size_t bytes = at::detail::computeStorageNbytesContiguous(size, self.dtype().itemsize(),
                                                                       static_cast<std::size_t>(self.storage_offset()));
  if (bytes > storage->nbytes()) {
    const c10::DeviceGuard guard(self.device());
    at::DataPtr data = allocator().allocate(bytes);
    if (storage->nbytes() != 0) std::memcpy(shadow(data.get()), shadow(storage->data()), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(bytes);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Tensor& set_storage(at::Tensor& self, at::Storage storage, int64_t offset, at::IntArrayRef size,
                        at::IntArrayRef stride) {
  const std::size_t bytes =
      at::detail::computeStorageNbytes(size, stride, self.dtype().itemsize(), static_cast<std::size_t>(offset));
  TORCH_CHECK(bytes <= storage.nbytes(), "test device: a storage of ", storage.nbytes(), " bytes is too small for ",
              bytes);
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return self;
}

at::Scalar local_scalar(const at::Tensor& self) {
  wait_for_device();
  return on_host(self).item();
}

/// Operators whose results have a size that depends on values, or are values of the host: it must wait for them.
bool makes_host_wait(const std::string& name) {
  static const std::set<std::string> names{"aten::nonzero",  "aten::masked_select",      "aten::_unique2",
                                           "aten::equal",    "aten::unique_consecutive", "aten::repeat_interleave",
                                           "aten::bincount", "aten::unique_dim"};
  return names.count(name) != 0;
}

/// Indices of index() and its like: the fallback of LibTorch 1.13 leaves such lists where they are.
void bring_optional_lists(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::size_t first = stack->size() - op.schema().arguments().size();
  for (std::size_t i = first; i < stack->size(); ++i) {
    if (!(*stack)[i].isOptionalTensorList()) continue;
    c10::List<optional<at::Tensor>> list;
    for (const optional<at::Tensor>& tensor : (*stack)[i].toOptionalTensorVector()) {
      list.push_back(tensor.has_value() && tensor->defined() ? optional<at::Tensor>(tensor->cpu()) : tensor);
    }
    (*stack)[i] = std::move(list);
  }
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  for (const auto& result : op.schema().returns()) {
    // The fallback would return a copy where a view of the same memory is asked for.
    TORCH_CHECK(result.alias_info() == nullptr || result.alias_info()->isWrite(),
                "the test device has no view operator ", op.schema().operator_name(),
                "; it has as_strided, view, _reshape_alias and unfold");
  }
  if (makes_host_wait(op.schema().name())) wait_for_device();
  const InsideDevice inside;
  bring_optional_lists(op, stack);
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("resize_", resize);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Storage", static_cast<at::Tensor& (*)(at::Tensor&, at::Storage)>(at::native::set_));
  m.impl("set_.source_Tensor", at::native::set_tensor_);
  // Views change what a tensor says of its memory, and do not touch that.
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
}

}  // namespace
}  // namespace ivf::test_device
