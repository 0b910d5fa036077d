#include "rewrite.h"

#include "destination.h"

namespace ivf::cli {

void RewriteSettings::define(OptionSet& options, bool& force) {
  options.flag("--compress", compress_, "Store rows as zstd frames: a smaller file, more memory when opened");
  options.flag("--no-compress", no_compress_, "Store rows as they are [default: as the index that is read]");
  options.force(force);
  force_ = &force;
}

RewriteOptions RewriteSettings::read(const CommonOptions& common, Progress progress) const {
  if (compress_ && no_compress_) misuse("--compress and --no-compress contradict each other");
  RewriteOptions result;
  static_cast<RunOptions&>(result) = common.run(std::move(progress));
  if (compress_ || no_compress_) result.compress = compress_;
  result.replace = *force_;
  return result;
}

void check_index_destination(const std::string& path, bool force) {
  if (parse_destination(path).pipe()) misuse("{}: an index is a file that is changed in place; name a file", path);
  check_destination({path, path}, force);
}

std::string dropped_text(const RewriteReport& report) {
  return report.dropped == 0 ? "" : fmt::format(", {} dropped", counted(report.dropped, "removed row"));
}

}  // namespace ivf::cli
