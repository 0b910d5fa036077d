#include "backends/torch/gpu_rows.h"

#include <algorithm>

#include "backends/torch/gpu_search.h"
#include "backends/torch/held_rows.h"

namespace ivf::detail::torch_backend {

GpuRows::GpuRows(std::shared_ptr<GpuDevice> device, MatrixView rows, unsigned threads, std::uint64_t max_memory)
    : device_(std::move(device)),
      dim_(rows.dim),
      threads_(threads),
      memory_(max_memory == 0 ? std::uint64_t{1} << 30 : max_memory),
      values_(hold_on_device(*device_->runtime(), rows, threads)) {}

gpu::Rows GpuRows::on_device_rows() const {
  return {values_.data_ptr<float>(), static_cast<std::size_t>(values_.size(0)), 0, true};
}

void GpuRows::assign(const Corpus& centroids, std::int32_t* list, float* value) {
  const Runtime& runtime = *device_->runtime();
  const auto placed = gpu_corpus_of(device_, centroids);
  device_->run(threads_, [&](gpu::Engine& engine) {
    const at::Tensor lists = at::empty({values_.size(0)}, runtime.options(at::kInt));
    const at::Tensor values =
        value == nullptr ? at::Tensor() : at::empty({values_.size(0)}, runtime.options(at::kFloat));
    gpu::SearchOptions options;
    options.tuning.workspace = memory_;
    engine.topk(*placed->rows(), on_device_rows(), {}, options,
                {value == nullptr ? nullptr : values.data_ptr<float>(), nullptr, lists.data_ptr<std::int32_t>(), true},
                default_stream);
    SearchStats unused;
    Download download(runtime);
    const at::Tensor found_lists = download.add(lists);
    const at::Tensor found_values = value == nullptr ? values : download.add(values);
    download.finish(unused);
    copy_out(found_lists, list, threads_);
    if (value != nullptr) copy_out(found_values, value, threads_);
  });
}

void GpuRows::update_sums(const FixedPoint& fixed, std::size_t nlist, const std::int32_t*, const std::int32_t* after,
                          std::uint64_t* sums, std::uint64_t* sizes) {
  const Runtime& runtime = *device_->runtime();
  // All rows are added anew: that is faster here than to find those that have moved.
  device_->run(threads_, [&](gpu::Engine& engine) {
    const auto lists = runtime.upload(after, static_cast<std::size_t>(values_.size(0)), at::kInt);
    const auto n = static_cast<std::int64_t>(nlist), d = static_cast<std::int64_t>(dim_);
    const at::Tensor totals = at::zeros({n, d}, runtime.options(at::kLong));
    const at::Tensor counts = at::zeros({n}, runtime.options(at::kLong));
    // Integers modulo 2^64 are the same bits with a sign and without.
    const auto bits = [](const at::Tensor& numbers) { return static_cast<std::uint64_t*>(numbers.data_ptr()); };
    engine.add_to_sums(on_device_rows(), dim_, lists.data_ptr<std::int32_t>(), fixed.magic, bits(totals), bits(counts),
                       default_stream);
    SearchStats unused;
    Download download(runtime);
    const at::Tensor found_totals = download.add(totals), found_counts = download.add(counts);
    download.finish(unused);
    std::copy_n(bits(found_totals), nlist * dim_, sums);
    std::copy_n(bits(found_counts), nlist, sizes);
  });
}

}  // namespace ivf::detail::torch_backend
