#include "maintenance/source.h"

#include "index/impl.h"
#include "maintenance/segment_writer.h"

namespace ivf::detail {

SourceIndex::SourceIndex(const std::string& file, const std::string& out, unsigned threads)
    : path(file), snapshot(format::Snapshot::open_beside(file, threads, out)) {
  check_stored_parameters(path, parameters());
  snapshot->verify_checksums(threads);
}

std::vector<RowPart> SourceIndex::parts(idx_t id_offset) const {
  std::vector<RowPart> result;
  for (const format::SegmentView& view : snapshot->segments()) result.push_back({view, id_offset});
  return result;
}

std::unique_ptr<const CentroidSet> SourceIndex::centroids() const {
  if (flat()) return nullptr;
  return std::make_unique<const CentroidSet>(snapshot->centroids(), parameters().nlist, parameters().dim,
                                             is_inner_product(parameters().metric));
}

format::Writer::Options SourceIndex::writer_options(const RewriteOptions& options, const Resources& resources) const {
  format::Writer::Options result;
  result.compress = options.compress.value_or(snapshot->compressed());
  if (snapshot->compressed()) result.level = snapshot->compression_level();
  result.threads = writer_threads(resources);
  return result;
}

std::unique_ptr<format::WriteLock> lock_output(const std::string& out, const RewriteOptions& options) {
  return options.replace ? format::WriteLock::take(out) : nullptr;
}

std::unique_ptr<format::Writer> open_output(const std::string& out, std::unique_ptr<format::WriteLock> lock,
                                            const format::Parameters& parameters, const format::Planes& centroids,
                                            const format::Writer::Options& options) {
  if (lock != nullptr) return format::Writer::replace(std::move(lock), parameters, centroids, options);
  return format::Writer::create(out, parameters, centroids, options, false);
}

}  // namespace ivf::detail
