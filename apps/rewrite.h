#pragma once
/// \file
/// What the commands that write index files anew share.

#include <optional>

#include "ivf/maintenance.hpp"
#include "options.h"

namespace ivf::cli {

/// --compress, --no-compress and --force.
class RewriteSettings {
 public:
  void define(OptionSet& options, bool& force);
  /// For the library. Throws Error(misuse) when options contradict each other.
  RewriteOptions read(const CommonOptions& common, Progress progress) const;

 private:
  const bool* force_ = nullptr;
  bool compress_ = false, no_compress_ = false;
};

/// Refuses a pipe, and a file that exists unless `force`.
void check_index_destination(const std::string& path, bool force);

/// ", 12 removed ones dropped" where there were any.
std::string dropped_text(const RewriteReport& report);

}  // namespace ivf::cli
