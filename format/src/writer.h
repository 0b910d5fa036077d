#pragma once
/// \file
/// Writer's factories with other system calls, for tests of faults.

#include <memory>
#include <string>

#include "file_ops.h"
#include "ivf/format/container.hpp"

namespace ivf::format {

std::unique_ptr<Writer> create_writer(FileOps& ops, const std::string& path, const Parameters& parameters,
                                      const Planes& centroids, const Writer::Options& options, bool replace);
std::unique_ptr<Writer> replace_writer(FileOps& ops, std::unique_ptr<WriteLock> lock, const Parameters& parameters,
                                       const Planes& centroids, const Writer::Options& options);
std::unique_ptr<Writer> append_writer(FileOps& ops, const std::string& path, unsigned threads);

}  // namespace ivf::format
