#pragma once
/// \file
/// Which LibTorch this is built with: 1.13, or 2.3 and newer.

#include <torch/version.h>

#define IVF_TEST_DEVICE_SINCE(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

#if IVF_TEST_DEVICE_SINCE(2, 3)
#include <optional>
#else
#include <c10/util/Optional.h>
#endif

namespace ivf::test_device {

#if IVF_TEST_DEVICE_SINCE(2, 3)
template <class T>
using optional = std::optional<T>;
#else
template <class T>
using optional = c10::optional<T>;
#endif

}  // namespace ivf::test_device
