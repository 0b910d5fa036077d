#pragma once
/// \file
/// Building the project's exception in one line.

#include <fmt/format.h>

#include <utility>

#include "ivf/error.hpp"

namespace ivf::datasets {

template <class... Args>
Error failed(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::failed, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
Error misuse(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::misuse, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
Error corrupt(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::corrupt, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ivf::datasets
