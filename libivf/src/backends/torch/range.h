#pragma once
/// \file
/// Range search on a device.

#include "backends/torch/search.h"

namespace ivf::detail::torch_backend {

/// All rows within `radius` of each query, over the lists that the request names.
RangeHits search_range(const std::shared_ptr<const Runtime>& runtime, DeviceType dtype, const ScanRequest& request,
                       float radius, SearchStats& stats);

}  // namespace ivf::detail::torch_backend
